"""The commands `destinations`, `forwarding-rules` and `forwardings`. Light, as `main` is."""

from typing import Annotated

import typer

from app.cli.options import LARGEST, LARGEST_JOB, DataDir, flags

destinations = typer.Typer(
    no_args_is_help=True, help="The AEs that instances can be sent to, and where they listen."
)
rules = typer.Typer(
    no_args_is_help=True,
    help="Rules of what is sent on when it is stored: every CT of AE X also to AE Y.",
)
queue = typer.Typer(
    no_args_is_help=True,
    help="What is to be sent on. A bridge does it; this shows, fills and empties the queue.",
)
Title = Annotated[str, typer.Argument(help="An AE Title, such as WORKSTATION.")]
Numbers = Annotated[
    list[int] | None, typer.Argument(min=1, max=LARGEST_JOB, help="Numbers that `list` prints.")
]
OfDestination = Annotated[str | None, typer.Option(help="All of this AE Title.")]
Dead = Annotated[bool, typer.Option("--dead", help="Those alone that failed for good.")]


def add_commands(application: typer.Typer) -> None:
    """Add them to `fileroom`."""
    application.add_typer(destinations, name="destinations")
    application.add_typer(rules, name="forwarding-rules")
    application.add_typer(queue, name="forwardings")


@destinations.command(name="set")
def set_destination(
    ae_title: Title,
    host: Annotated[str, typer.Argument(help="A name or an address.")],
    port: Annotated[int, typer.Argument(min=1, max=65_535)] = 104,
    tls: Annotated[bool, typer.Option("--tls", help="It speaks TLS there.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Keep where an AE listens, in the place of what was known of it.

    Examples:

        fileroom destinations set WORKSTATION 10.0.0.17 11112

        fileroom destinations set CLOUD pacs.example.org 2762 --tls
    """
    from app.cli.sending import run_set  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_set(load_settings(flags(data_dir)), ae_title, host, port, tls=tls)


@destinations.command(name="list")
def list_destinations(data_dir: DataDir = None) -> None:
    """Print all destinations.

    Example:

        fileroom destinations list
    """
    from app.cli.sending import run_list_destinations  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list_destinations(load_settings(flags(data_dir)))


@destinations.command(name="remove")
def remove_destination(ae_title: Title, data_dir: DataDir = None) -> None:
    """Forget a destination that no rule names and nothing waits for.

    Example:

        fileroom destinations remove WORKSTATION
    """
    from app.cli.sending import run_remove_destination  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove_destination(load_settings(flags(data_dir)), ae_title)


@rules.command(name="add")
def add_rule(
    destination: Title,
    source: Annotated[
        list[str] | None, typer.Option(help="What came from this AE; may be given again.")
    ] = None,
    modality: Annotated[
        list[str] | None, typer.Option(help="Of this modality; may be given again.")
    ] = None,
    sop_class: Annotated[
        list[str] | None, typer.Option(help="Of this SOP class UID; may be given again.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Send on what is stored from now on; without options all of it.

    Example:

        fileroom forwarding-rules add WORKSTATION --source CT01 --modality CT
    """
    from app.cli.sending import run_add_rule  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    lists = (source or [], modality or [], sop_class or [])
    run_add_rule(load_settings(flags(data_dir)), destination, lists)


@rules.command(name="list")
def list_rules(data_dir: DataDir = None) -> None:
    """Print all rules.

    Example:

        fileroom forwarding-rules list
    """
    from app.cli.sending import run_list_rules  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list_rules(load_settings(flags(data_dir)))


@rules.command(name="remove")
def remove_rule(
    rule: Annotated[int, typer.Argument(min=1, max=LARGEST)], data_dir: DataDir = None
) -> None:
    """Take a rule away; what it has queued is sent all the same.

    Example:

        fileroom forwarding-rules remove 1
    """
    from app.cli.sending import run_remove_rule  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_remove_rule(load_settings(flags(data_dir)), rule)


@queue.command(name="add")
def add_forwarding(
    destination: Title,
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    series: Annotated[str | None, typer.Option(help="This series of it alone.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Queue what is stored already.

    Example:

        fileroom forwardings add WORKSTATION 1.2.840.113619.2.1
    """
    from app.cli.sending import run_add  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_add(load_settings(flags(data_dir)), destination, study, series)


@queue.command(name="list")
def list_forwardings(
    destination: OfDestination = None,
    state: Annotated[str | None, typer.Option(help="`waiting`, `claimed` or `dead`.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Print what is to be sent on, and why what failed did.

    Examples:

        fileroom forwardings list

        fileroom forwardings list --state dead --destination WORKSTATION
    """
    from app.cli.sending import run_list  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_list(load_settings(flags(data_dir)), destination, state)


@queue.command(name="retry")
def retry_forwardings(
    numbers: Numbers = None,
    destination: OfDestination = None,
    dead: Dead = False,
    data_dir: DataDir = None,
) -> None:
    """Let some be sent at once, as if they were new.

    Examples:

        fileroom forwardings retry 17 18

        fileroom forwardings retry --destination WORKSTATION --dead
    """
    from app.cli.sending import run_retry  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_retry(load_settings(flags(data_dir)), numbers or [], destination, dead=dead)


@queue.command(name="discard")
def discard_forwardings(
    numbers: Numbers = None,
    destination: OfDestination = None,
    dead: Dead = False,
    data_dir: DataDir = None,
) -> None:
    """Give some up: they are not sent.

    Example:

        fileroom forwardings discard --destination WORKSTATION --dead
    """
    from app.cli.sending import run_discard  # noqa: PLC0415
    from app.settings import load_settings  # noqa: PLC0415

    run_discard(load_settings(flags(data_dir)), numbers or [], destination, dead=dead)
