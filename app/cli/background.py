"""The commands of what is done beside requests: `worker`, `jobs`, `webhooks`. Light, as `main`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import LARGEST, LARGEST_JOB, DataDir, flags

Number = Annotated[
    int, typer.Argument(min=1, max=LARGEST, help="The webhook's number, as `list` shows it.")
]


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


def worker(data_dir: DataDir = None) -> None:
    """Do what the archive does by itself, until Ctrl-C: purge, rules, scrubber, copies, webhooks.

    `serve` does it too, unless FILEROOM_JOBS__INSIDE_SERVE is false. Start as many as you like,
    where the index and the objects can be reached; without FILEROOM_DATABASE__URL that is beside
    `serve`, on its machine. Stopping lets what is under way end, or gives it back to the others.

    Examples:

        fileroom worker

        FILEROOM_DATABASE__URL=postgresql://fileroom@db/fileroom fileroom worker
    """
    from app.cli.working import run_worker  # noqa: PLC0415

    run_worker(_settings(data_dir))


jobs = typer.Typer(
    no_args_is_help=True, help="The queue: what is to be done yet, and what failed for good."
)


@jobs.command(name="list")
def list_jobs(
    dead: Annotated[bool, typer.Option("--dead", help="Only what failed for good.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the jobs in the queue, and why they failed the last time.

    Examples:

        fileroom jobs list

        fileroom jobs list --dead --json
    """
    from app.cli.queued import run_list  # noqa: PLC0415

    run_list(_settings(data_dir), dead=dead, as_json=as_json)


@jobs.command(name="retry")
def retry_jobs(
    numbers: Annotated[
        list[int] | None, typer.Argument(min=1, max=LARGEST_JOB, help="Numbers, as `list` shows.")
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="All that failed for good.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Have jobs done now: those that failed for good, or that wait for their next try.

    Examples:

        fileroom jobs retry 17

        fileroom jobs retry --all-dead
    """
    if bool(numbers) == all_dead:
        raise typer.BadParameter("give numbers of jobs, or --all-dead")
    from app.cli.queued import run_retry  # noqa: PLC0415

    run_retry(_settings(data_dir), None if all_dead else numbers)


@jobs.command(name="discard")
def discard_job(
    number: Annotated[
        int, typer.Argument(min=1, max=LARGEST_JOB, help="Its number, as `list --dead` shows it.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Give up a job that failed for good.

    Example:

        fileroom jobs discard 17
    """
    from app.cli.queued import run_discard  # noqa: PLC0415

    run_discard(_settings(data_dir), number)


webhooks = typer.Typer(
    no_args_is_help=True,
    help="Who is told by HTTP what was stored, deleted, held …: see docs/webhooks.md.",
)


@webhooks.command(name="add")
def add_webhook(
    url: Annotated[str, typer.Argument(help="The receiver's address, of http or https.")],
    kinds: Annotated[
        str | None,
        typer.Option(help="Kinds of events, by commas, such as accepted,removed; else all."),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="A file with the secret (whsec_…); else one is made.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Tell a receiver of what comes from now on. Its secret is printed once.

    Examples:

        fileroom webhooks add https://ris.example.org/fileroom

        fileroom webhooks add https://ris.example.org/fileroom --kinds accepted,removed
    """
    if kinds is not None and not kinds.replace(",", " ").split():
        raise typer.BadParameter("--kinds takes one kind of events or more; leave it out for all")
    from app.cli.webhooks import run_add  # noqa: PLC0415

    run_add(_settings(data_dir), url, kinds or "", secret_file)


@webhooks.command(name="list")
def list_webhooks(data_dir: DataDir = None) -> None:
    """Print who is told of what, and how far behind each is.

    Example:

        fileroom webhooks list
    """
    from app.cli.webhooks import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


@webhooks.command(name="enable")
def enable_webhook(number: Number, data_dir: DataDir = None) -> None:
    """Go on with a webhook whose receiver said that it is gone (410), where it was left.

    Example:

        fileroom webhooks enable 1
    """
    from app.cli.webhooks import run_enable  # noqa: PLC0415

    run_enable(_settings(data_dir), number)


@webhooks.command(name="remove")
def remove_webhook(number: Number, data_dir: DataDir = None) -> None:
    """Tell a receiver nothing any more. What waits for it is forgotten.

    Example:

        fileroom webhooks remove 1
    """
    from app.cli.webhooks import run_remove  # noqa: PLC0415

    run_remove(_settings(data_dir), number)


@webhooks.command(name="test")
def try_webhook(number: Number, data_dir: DataDir = None) -> None:
    """Send a receiver a signed message that tells of nothing, and print what it answers.

    Example:

        fileroom webhooks test 1
    """
    from app.cli.webhooks import run_test  # noqa: PLC0415

    raise typer.Exit(run_test(_settings(data_dir), number))


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.command()(worker)
    application.add_typer(jobs, name="jobs")
    application.add_typer(webhooks, name="webhooks")
