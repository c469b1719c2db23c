"""The commands `label rules`. Light, as `main` is."""

from typing import Annotated

import typer

from app.cli.options import DataDir, Tenant, flags

commands = typer.Typer(
    no_args_is_help=True,
    help="Labels that studies get as they come in, by where they come from.",
    epilog="A rule counts for studies that are new from then on; for others there is `label add`.",
)


@commands.command(name="add")
def add_rule(
    label: Annotated[str, typer.Argument(help="A word such as research or trial:42.")],
    calling_ae: Annotated[
        str, typer.Option(help="The AE that a bridge says it sends for (Fileroom-Calling-AE).")
    ] = "",
    institution: Annotated[str, typer.Option(help="Institution Name, as it stands.")] = "",
    sender: Annotated[str, typer.Option(help="The name of the key or user that stores.")] = "",
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Put a label on each study that comes in so; where several are said, all have to be met.

    Examples:

        fileroom label rules add cardiology --calling-ae ECHO1

        fileroom label rules add trial:42 --institution "Site 7" --sender trial-gateway
    """
    from app.cli.label_ruling import run_add  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_add(load_settings(flags(data_dir)), label, calling_ae, institution, sender, tenant=tenant)


@commands.command(name="list")
def list_rules(tenant: Tenant = None, data_dir: DataDir = None) -> None:
    """Print all rules.

    Example:

        fileroom label rules list
    """
    from app.cli.label_ruling import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)), tenant=tenant)


@commands.command(name="remove")
def remove_rule(
    number: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="As `list` prints it.")],
    tenant: Tenant = None,
    data_dir: DataDir = None,
) -> None:
    """Take a rule away; the labels that it has put on stay.

    Example:

        fileroom label rules remove 3
    """
    from app.cli.label_ruling import run_remove  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove(load_settings(flags(data_dir)), number, tenant=tenant)
