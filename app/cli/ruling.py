"""`fileroom retention`: rules of how long Studies stay."""

import sys
from collections.abc import Mapping, Sequence

from app.archive.context import Archive
from app.archive.retention import (
    activate_rule,
    add_rule,
    deactivate_rule,
    list_rules,
    preview_rule,
    remove_rule,
)
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.cli.refusal import Refusal
from app.index.retention_rules import Action, CountedFrom, Rule, Terms
from app.settings import Settings

_NOTE = "fileroom retention"
_FROM = {CountedFrom.STUDY_DATE: "by Study Date", CountedFrom.STORED: "since it was stored"}


def run_add(
    settings: Settings,
    name: str,
    said: tuple[str, int, str],
    lists: Mapping[str, Sequence[str] | None],
) -> None:
    """Make a rule, as a draft; `said` are its action, its days, and what they are counted from.

    Raises:
        Conflict: there is one of this name.
        InvalidRequest: a value is too long, or none.
        Refusal: there is no archive, or the action or what to count from is none.
    """
    action, days, counted_from = said
    try:
        words = Action(action), CountedFrom(counted_from)
    except ValueError:
        raise Refusal(
            "--action takes delete or keep, --counted-from study-date or stored."
        ) from None
    values = {key: tuple(given or ()) for key, given in lists.items()}
    terms = Terms(name, words[0], days, words[1], **values)
    check_there(settings)

    async def work(archive: Archive) -> None:
        rule = await add_rule(archive, OPERATOR, terms)
        sys.stdout.write(f"{describe(rule)}\nLook at `fileroom retention preview {rule.id}`.\n")

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings) -> None:
    """Print all rules, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        lines = [describe(rule) for rule in await list_rules(archive, OPERATOR)]
        sys.stdout.write("\n".join(lines or ["there is no retention rule"]) + "\n")

    with_archive(settings, _NOTE, work)


def run_preview(settings: Settings, key: int) -> None:
    """Print what a rule takes now, or what it keeps.

    Raises:
        NotFound: there is no such rule.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        found = await preview_rule(archive, OPERATOR, key)
        rules = {rule.id: rule.terms for rule in await list_rules(archive, OPERATOR)}
        keeps = key in rules and rules[key].action is Action.KEEP
        does = "keeps" if keeps else "would delete now"
        sys.stdout.write(
            f"Rule {key} {does}: {found.studies:,} Studies with {found.instances:,} Instances "
            f"({found.bytes / 1e6:,.1f} MB)\n"
        )
        if found.held or found.kept:
            sys.stdout.write(
                f"It leaves alone: {found.held:,} under legal hold, {found.kept:,} that another "
                "rule keeps\n"
            )
        if not keeps:
            sys.stdout.write("A Study that changed within the last 24 hours is not taken yet\n")
        sys.stdout.write("".join(f"  {uid}\n" for uid in found.sample))

    with_archive(settings, _NOTE, work)


def run_activate(settings: Settings, key: int) -> None:
    """Let a rule act from now on.

    Raises:
        NotFound: there is no such rule.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        sys.stdout.write(f"{describe(await activate_rule(archive, OPERATOR, key))}\n")

    with_archive(settings, _NOTE, work)


def run_deactivate(settings: Settings, key: int) -> None:
    """Let a rule rest.

    Raises:
        NotFound: there is no such rule.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        sys.stdout.write(f"{describe(await deactivate_rule(archive, OPERATOR, key))}\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, key: int) -> None:
    """Take a rule away.

    Raises:
        NotFound: there is no such rule.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        await remove_rule(archive, OPERATOR, key)
        sys.stdout.write(f"There is no rule {key} any more\n")

    with_archive(settings, _NOTE, work)


def describe(rule: Rule) -> str:
    """Say in one line what a rule does, and whether it does it."""
    terms = rule.terms
    of = [
        f"{kind} {' or '.join(values)}"
        for kind, values in (
            ("modality", terms.modalities),
            ("station", terms.stations),
            ("institution", terms.institutions),
        )
        if values
    ]
    which = " and ".join(of) or "any Series"
    labelled = f" labelled {' or '.join(terms.labels)}" if terms.labels else ""
    age = "are older than" if terms.action is Action.DELETE else "are not yet"
    state = "active" if rule.activated_at else "draft"
    return (
        f"{rule.id}. {terms.name} ({state}): {terms.action} Studies{labelled} of {which} that "
        f"{age} {terms.days:,} days {_FROM[terms.counted_from]}"
    )
