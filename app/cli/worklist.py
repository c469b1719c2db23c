"""The commands `worklist`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.options import DataDir, flags

commands = typer.Typer(
    no_args_is_help=True,
    help="The modality worklist: steps that are scheduled. An order system feeds it over HTTP.",
)


@commands.command(name="import")
def import_steps(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Files of DCMTK's `wlmscpfs`, or folders with `.wl` files."),
    ],
    data_dir: DataDir = None,
) -> None:
    """Put the worklist files of DCMTK on the worklist.

    May be run again: a step takes the place of the one of its study and ID. What is no step is
    refused with the reason, and the exit code is then 3. The server may run meanwhile.

    Example:

        fileroom worklist import /var/lib/worklist
    """
    from app.cli.worklist_files import run_import  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    raise typer.Exit(run_import(load_settings(flags(data_dir)), paths))


@commands.command(name="list")
def list_steps(
    every: Annotated[bool, typer.Option("--all", help="Also steps that are over.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the steps that are to be done, the next to begin first; no patient's name.

    Example:

        fileroom worklist list
    """
    from app.cli.worklist_files import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)), every=every)


@commands.command(name="remove")
def remove_step(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    step: Annotated[str, typer.Argument(help="Scheduled Procedure Step ID.")],
    data_dir: DataDir = None,
) -> None:
    """Take one step off the worklist.

    Example:

        fileroom worklist remove 1.2.840.113619.2.1 S1
    """
    from app.cli.worklist_files import run_remove  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove(load_settings(flags(data_dir)), study, step)


@commands.command(name="forget")
def forget_steps(
    before: Annotated[str, typer.Option(help="A day: 20260131.")], data_dir: DataDir = None
) -> None:
    """Take all steps that were to begin before a day off the worklist, over or not.

    Example:

        fileroom worklist forget --before 20260101
    """
    from app.cli.worklist_files import run_forget  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_forget(load_settings(flags(data_dir)), before)
