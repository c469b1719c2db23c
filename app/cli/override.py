"""The commands of `fileroom overrides`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, Tenant, flags

overrides = typer.Typer(
    no_args_is_help=True,
    help="Studies that somebody has opened in an emergency, beyond what they may see.",
    epilog="Who has the role `emergency` opens one by `POST /api/v1/overrides`, with a reason.",
)


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


@overrides.command(name="list")
def list_overrides(tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Print what is open: which study, by whom, until when and why.

    Example:

        fileroom overrides list
    """
    from app.cli.overriding import run_list  # noqa: PLC0415

    run_list(_settings(data_dir), tenant)


@overrides.command(name="end")
def end_override(
    number: Annotated[int, typer.Argument(min=1, help="Its number, as the list has it.")],
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Close a study to who has opened it, in every process, when this has ended.

    Example:

        fileroom overrides end 3
    """
    from app.cli.overriding import run_end  # noqa: PLC0415

    run_end(_settings(data_dir), number, tenant)


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.add_typer(overrides, name="overrides")
