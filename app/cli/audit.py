"""The commands `audit`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, flags

commands = typer.Typer(
    no_args_is_help=True,
    help="Who searched, saw, took, stored and deleted what. Whoever asks is in it, too.",
    epilog="Times are as 2026-01-31 or 2026-01-31T08:00, UTC if they do not say else.",
)
From = Annotated[str, typer.Option("--from", help="Not before this time.")]
To = Annotated[str, typer.Option("--to", help="Before this time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object on each line.")]


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


@commands.command(name="who-saw")
def who_saw(
    study: Annotated[str, typer.Argument(help="A Study Instance UID.")],
    since: From = "",
    until: To = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print who saw a study, took it away or exported it; the study may be gone by now.

    Examples:

        fileroom audit who-saw 1.2.840.113619.2.1

        fileroom audit who-saw 1.2.840.113619.2.1 --from 2026-01-31 --json
    """
    from app.cli.auditing import run_who_saw  # noqa: PLC0415

    run_who_saw(_settings(data_dir), study, (since, until), as_json=as_json)


@commands.command(name="list")
def list_entries(  # noqa: PLR0913, PLR0917 - one for each option
    study: Annotated[str, typer.Option(help="A Study Instance UID.")] = "",
    principal: Annotated[str, typer.Option(help="Who did it.")] = "",
    action: Annotated[
        list[str] | None, typer.Option(help="Such as viewed or removed; may be repeated.")
    ] = None,
    since: From = "",
    until: To = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print what was read and written, in the order of the log.

    Examples:

        fileroom audit list --principal radiologist-2

        fileroom audit list --action downloaded --from 2026-01-01 --json
    """
    from app.cli.auditing import run_list  # noqa: PLC0415
    from app.index.audit_log import Wanted  # noqa: PLC0415

    wanted = Wanted(study, principal, tuple(action or ()))
    run_list(_settings(data_dir), wanted, (since, until), as_json=as_json)


@commands.command(name="export")
def export_entries(
    to: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")],
    since: From = "",
    until: To = "",
    data_dir: DataDir = None,
) -> None:
    """Write all entries of a time to a file, a JSON object on each line.

    Example:

        fileroom audit export 2026-01.jsonl --from 2026-01-01 --to 2026-02-01
    """
    from app.cli.auditing import run_export  # noqa: PLC0415

    run_export(_settings(data_dir), to, (since, until))


@commands.command(name="verify")
def verify_entries(data_dir: DataDir = None) -> None:
    """Prove that the trail is whole: signatures, chain, and what the index says, in every store.

    Exits with 3 if anything is wrong. What is not a minute old may not be sealed yet.

    Example:

        fileroom audit verify
    """
    from app.cli.auditing import run_verify  # noqa: PLC0415

    raise typer.Exit(run_verify(_settings(data_dir)))
