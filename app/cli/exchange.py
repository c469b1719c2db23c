"""The commands that exchange Studies by DIMSE: `dimse`, `send`, `fetch`. Light, as `main`."""

import datetime
from typing import Annotated

import typer

from app.cli.options import flags

Url = Annotated[
    str | None,
    typer.Option(help="The archive's address [FILEROOM_DIMSE__ARCHIVE_URL; this machine's]."),
]
Day = Annotated[
    datetime.datetime | None,
    typer.Option(formats=["%Y-%m-%d", "%Y%m%d"], help="A day, such as 2020-01-31."),
]
AT_PEER = "An AE title of FILEROOM_DIMSE__PEERS, or AE@host:port."


def dimse(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on [FILEROOM_DIMSE__HOST; 127.0.0.1].")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Port to listen on [FILEROOM_DIMSE__PORT; 11112]."),
    ] = None,
    archive_url: Url = None,
) -> None:
    """Let modalities and workstations that speak DICOM's own protocol use the archive.

    It speaks to the archive by HTTP alone, and so may run anywhere: at the hospital's edge, with
    the archive far away. `serve` starts one, too, where FILEROOM_DIMSE__PORT is set. Who may call
    stands in FILEROOM_DIMSE__PEERS; docs/dimse.md shows how to connect a modality.

    Examples:

        fileroom dimse --port 104 --host 0.0.0.0

        FILEROOM_DIMSE__KEY_FILE=key fileroom dimse --archive-url https://pacs.example.org
    """
    from app.cli.bridging import run_bridge  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    given = {"host": host, "port": port, "archive_url": archive_url}
    run_bridge(load_settings(flags(None, dimse=given)))


def send(
    studies: Annotated[list[str], typer.Argument(help="Study Instance UIDs.")],
    to: Annotated[str, typer.Option(help=AT_PEER)],
    archive_url: Url = None,
) -> None:
    """Send studies of the archive to another AE (C-STORE), as they are stored if it takes that.

    The exit code is 3 if anything could not be sent.

    Example:

        fileroom send 1.2.840.113619.2.1 --to WORKSTATION@10.0.0.9:104
    """
    from app.cli.exchanging import run_send  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    settings = load_settings(flags(None, dimse={"archive_url": archive_url}))
    raise typer.Exit(run_send(settings, studies, to))


def fetch(  # noqa: PLR0913, PLR0917 - one of each option
    source: Annotated[str, typer.Option("--from", help=AT_PEER)],
    studies: Annotated[list[str] | None, typer.Argument(help="Study Instance UIDs.")] = None,
    since: Day = None,
    until: Day = None,
    rate: Annotated[
        float, typer.Option(min=0, help="Instances a second at most; 0: as fast as it goes.")
    ] = 0,
    move_to: Annotated[
        str | None,
        typer.Option(
            metavar="AE_TITLE",
            help="Have it send to this AE by C-MOVE: a running bridge of this archive, which it "
            "knows by that title [none: C-GET].",
        ),
    ] = None,
    archive_url: Url = None,
) -> None:
    """Bring studies of another archive over (C-FIND, C-GET), by their dates or UIDs, and verify.

    May be interrupted and run again: what is there already is not asked for. In the end each
    instance that the other archive names is looked for; if any is missing, the exit code is 3.

    For an archive without C-GET, or that does not send all by it, there is C-MOVE: --move-to names
    a bridge of this archive (`fileroom dimse`, or what `serve` starts) that the other one knows
    by that AE title, address and port, and that lets it store. A study that is not there at all
    comes in one go then, so --rate only bounds when the next one is asked for.

    Examples:

        fileroom fetch --from OLDPACS@10.0.0.7:104 --since 2015-01-01 --until 2015-12-31

        fileroom fetch --from OLDPACS@10.0.0.7:104 1.2.840.113619.2.1 --rate 20

        fileroom fetch --from OLDPACS@10.0.0.7:104 1.2.840.113619.2.1 --move-to FILEROOM
    """
    if (since is None) != (until is None) or not (since or studies):
        raise typer.BadParameter("give --since and --until, or Study Instance UIDs")
    if since and until and since > until:
        raise typer.BadParameter("--since is after --until")
    from app.cli.exchanging import run_fetch  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    days = (since.date(), until.date()) if since and until else None
    settings = load_settings(flags(None, dimse={"archive_url": archive_url}))
    raise typer.Exit(run_fetch(settings, source, days, studies or [], rate, move_to or ""))


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    for command in (dimse, send, fetch):
        application.command()(command)
