"""The commands of `fileroom tenants`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, flags

tenants = typer.Typer(
    no_args_is_help=True,
    help="Tenants: institutions on one server, which know nothing of each other.",
    epilog="The first one, `default`, is always there, and is meant where no `--tenant` is given.",
)


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


@tenants.command(name="add")
def add_tenant(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and `-`.")],
    data_dir: DataDir = None,
) -> None:
    """Make a tenant, in which there is nothing and which lets nobody in. The server may run.

    Examples:

        fileroom tenants add north

        fileroom keys create chief --admin --tenant north
    """
    from app.cli.tenants import run_add  # noqa: PLC0415

    run_add(_settings(data_dir), name)


@tenants.command(name="list")
def list_tenants(data_dir: DataDir = None) -> None:
    """Print all tenants: number, name, and how many studies, keys and users each has.

    Example:

        fileroom tenants list
    """
    from app.cli.tenants import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.add_typer(tenants, name="tenants")
