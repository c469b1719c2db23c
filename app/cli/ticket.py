"""The commands of `fileroom tickets`. Light, as `main` is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import DataDir, flags

MOST_MINUTES = 480

tickets = typer.Typer(
    no_args_is_help=True,
    help="Tickets: links to one study for viewers that can send no header.",
    epilog="They count where callers are asked who they are, as `?ticket=…` or as a bearer.",
)


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


@tickets.command(name="create")
def create_ticket(
    study: Annotated[str, typer.Argument(help="The Study Instance UID.")],
    minutes: Annotated[
        int, typer.Option(min=1, max=MOST_MINUTES, help="Minutes until it is over.")
    ] = 15,
    verb: Annotated[
        list[str] | None,
        typer.Option("--verb", help="search, view or download; may be repeated. [view]"),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a ticket for one study and print it, once. The server may run.

    Example:

        fileroom tickets create 1.2.840.1 --minutes 60 --verb search --verb view
    """
    from app.cli.ticketing import run_create  # noqa: PLC0415

    run_create(_settings(data_dir), study, minutes, verb or ["view"])


@tickets.command(name="list")
def list_tickets(data_dir: DataDir = None) -> None:
    """Print the tickets in force: for which study, by whom and until when. Never the ticket.

    Example:

        fileroom tickets list
    """
    from app.cli.ticketing import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


@tickets.command(name="revoke")
def revoke_ticket(
    number: Annotated[int, typer.Argument(min=1, help="Its number, as the list has it.")],
    data_dir: DataDir = None,
) -> None:
    """Let a ticket open nothing more, in any process, when this has ended.

    Example:

        fileroom tickets revoke 7
    """
    from app.cli.ticketing import run_revoke  # noqa: PLC0415

    run_revoke(_settings(data_dir), number)


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.add_typer(tickets, name="tickets")
