"""The commands of how long things stay: `deleted`, `hold`, `retention` and `sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import LARGEST, DataDir, flags

Study = Annotated[str, typer.Argument(help="A Study Instance UID.")]
Number = Annotated[
    int, typer.Argument(min=1, max=LARGEST, help="The rule's number, as `list` shows it.")
]
Values = Annotated[list[str] | None, typer.Option(help="Only Series with it; may be repeated.")]
Labels = Annotated[
    list[str] | None, typer.Option(help="Only studies that bear it; may be repeated.")
]


def _settings(data_dir: Path | None) -> Any:
    from app.settings import load_settings  # noqa: PLC0415

    return load_settings(flags(data_dir))


deleted = typer.Typer(
    no_args_is_help=True, help="See what is deleted, and bring it back until it is purged."
)


@deleted.command(name="list")
def list_deleted(data_dir: DataDir = None) -> None:
    """Print what is deleted, and until when it can be brought back.

    Example:

        fileroom deleted list
    """
    from app.cli.deleted import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


@deleted.command(name="restore")
def restore_deleted(
    what: Annotated[
        str,
        typer.Argument(
            help="STUDY, STUDY/SERIES or STUDY/SERIES/INSTANCE by their UIDs, or "
            "CATEGORY/INSTANCE for one of no patient."
        ),
    ],
    data_dir: DataDir = None,
) -> None:
    """Bring back what was deleted: all of it, or nothing if something is in the way.

    Examples:

        fileroom deleted restore 1.2.840.113619.2.1

        fileroom deleted restore hanging-protocols/1.2.840.113619.2.7
    """
    from app.cli.deleted import run_restore  # noqa: PLC0415

    run_restore(_settings(data_dir), what)


hold = typer.Typer(
    no_args_is_help=True,
    help="Legal holds: a study that is neither deleted nor rejected nor purged.",
)


@hold.command(name="add")
def add_hold(
    study: Study,
    reason: Annotated[str, typer.Option(help="Why; no patient's name. It is kept in the log.")],
    data_dir: DataDir = None,
) -> None:
    """Put a study under legal hold, or give its hold another reason.

    What was deleted of it before is not purged any more, either.

    Example:

        fileroom hold add 1.2.840.113619.2.1 --reason "Court of Zug, case 17/2026"
    """
    from app.cli.holding import run_add  # noqa: PLC0415

    run_add(_settings(data_dir), study, reason)


@hold.command(name="remove")
def remove_hold(study: Study, data_dir: DataDir = None) -> None:
    """Take the hold off a study.

    Example:

        fileroom hold remove 1.2.840.113619.2.1
    """
    from app.cli.holding import run_remove  # noqa: PLC0415

    run_remove(_settings(data_dir), study)


@hold.command(name="list")
def list_holds(data_dir: DataDir = None) -> None:
    """Print all holds: the study, since when, by whom, why.

    Example:

        fileroom hold list
    """
    from app.cli.holding import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


retention = typer.Typer(
    no_args_is_help=True,
    help="Rules of how long studies stay: at most (`delete`), and at least (`keep`).",
    epilog="A rule is a draft until it is activated. Look at `preview` before.",
)


@retention.command(name="add")
def add_rule(  # noqa: PLR0913, PLR0917
    name: Annotated[str, typer.Argument(help="What the rule is called; the log names it.")],
    action: Annotated[
        str, typer.Option(help="`delete`: studies that are older; `keep`: refuse it before.")
    ],
    days: Annotated[int, typer.Option(min=1, help="The age.")],
    counted_from: Annotated[
        str, typer.Option(help="`study-date`, or `stored`: since its last instance came.")
    ] = "study-date",
    modality: Values = None,
    station: Values = None,
    institution: Values = None,
    label: Labels = None,
    data_dir: DataDir = None,
) -> None:
    """Make a rule, as a draft.

    A rule that deletes takes a study whole, if each of its series meets the rule, and as DELETE
    does: it can be brought back. One that keeps, keeps each study that has such a series.

    Examples:

        fileroom retention add "old CT" --action delete --days 5475 --modality CT --modality SR

        fileroom retention add "CT ten years" --action keep --days 3653 --modality CT

        fileroom retention add "after the course" --action delete --days 365 --label teaching
    """
    from app.cli.ruling import run_add  # noqa: PLC0415

    lists = {"modalities": modality, "stations": station, "institutions": institution}
    lists["labels"] = label
    run_add(_settings(data_dir), name, (action, days, counted_from), lists)


@retention.command(name="list")
def list_rules(data_dir: DataDir = None) -> None:
    """Print all rules.

    Example:

        fileroom retention list
    """
    from app.cli.ruling import run_list  # noqa: PLC0415

    run_list(_settings(data_dir))


@retention.command(name="preview")
def preview_rule(rule: Number, data_dir: DataDir = None) -> None:
    """Say what a rule would delete now, or what it keeps; nothing is changed.

    Example:

        fileroom retention preview 1
    """
    from app.cli.ruling import run_preview  # noqa: PLC0415

    run_preview(_settings(data_dir), rule)


@retention.command(name="activate")
def activate_rule(rule: Number, data_dir: DataDir = None) -> None:
    """Let a rule act: one that keeps at once, one that deletes once a day, while the server runs.

    Example:

        fileroom retention activate 1
    """
    from app.cli.ruling import run_activate  # noqa: PLC0415

    run_activate(_settings(data_dir), rule)


@retention.command(name="deactivate")
def deactivate_rule(rule: Number, data_dir: DataDir = None) -> None:
    """Let a rule rest: it neither deletes nor keeps until it is activated again.

    Example:

        fileroom retention deactivate 1
    """
    from app.cli.ruling import run_deactivate  # noqa: PLC0415

    run_deactivate(_settings(data_dir), rule)


@retention.command(name="remove")
def remove_rule(rule: Number, data_dir: DataDir = None) -> None:
    """Take a rule away.

    Example:

        fileroom retention remove 1
    """
    from app.cli.ruling import run_remove  # noqa: PLC0415

    run_remove(_settings(data_dir), rule)


def sweep(
    older_than: Annotated[
        float, typer.Option(min=1, max=876_000, help="Hours since the object was made.")
    ] = 24,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else say what would be.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Give back the room of objects that the index does not name, such as those of broken uploads.

    What is being stored is left alone, however long it takes. The server may run meanwhile.
    `fileroom verify` tells of such objects, too.

    Examples:

        fileroom sweep

        fileroom sweep --older-than 48 --yes
    """
    from app.cli.sweeping import run_sweep  # noqa: PLC0415

    run_sweep(_settings(data_dir), older_than, really=yes)


def add_commands(application: typer.Typer) -> None:
    """Add them all."""
    application.add_typer(deleted, name="deleted")
    application.add_typer(hold, name="hold")
    application.add_typer(retention, name="retention")
    application.command()(sweep)
