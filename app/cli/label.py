"""The commands `label`. Light, as `main` is."""

from typing import Annotated

import typer

from app.cli import label_rules
from app.cli.options import DataDir, flags

commands = typer.Typer(
    no_args_is_help=True,
    help="Labels on studies: short words that rules and searches by label go by.",
    epilog=(
        "A LABEL has up to 64 lower-case letters, digits, `-`, `.`, `_` and `:`, and names no "
        "patient: it is kept in the log."
    ),
)
commands.add_typer(label_rules.commands, name="rules")
Studies = Annotated[list[str], typer.Argument(help="Study Instance UIDs.")]
Label = Annotated[str, typer.Argument(help="A word such as research or trial:42.")]


@commands.command(name="add")
def add_label(studies: Studies, label: Label, data_dir: DataDir = None) -> None:
    """Put a label on studies.

    Example:

        fileroom label add 1.2.840.113619.2.1 1.2.840.113619.2.2 teaching
    """
    from app.cli.labelling import run_add  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_add(load_settings(flags(data_dir)), studies, label)


@commands.command(name="remove")
def remove_label(studies: Studies, label: Label, data_dir: DataDir = None) -> None:
    """Take a label off studies.

    Example:

        fileroom label remove 1.2.840.113619.2.1 teaching
    """
    from app.cli.labelling import run_remove  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove(load_settings(flags(data_dir)), studies, label)


@commands.command(name="list")
def list_labels(
    label: Annotated[str | None, typer.Argument(help="Print the studies that bear it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print all labels and how many studies bear each; or the studies that bear one.

    Examples:

        fileroom label list

        fileroom label list teaching
    """
    from app.cli.labelling import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)), label)
