"""`fileroom label rules`: which labels Studies get as they come in."""

import sys

from app.archive.context import Archive
from app.archive.ingest_labels import add_label_rule, list_label_rules, remove_label_rule
from app.archive.tenants import operator_of
from app.cli.importing import OPERATOR
from app.cli.opening import check_there, with_archive
from app.index.ingest_rules import Conditions, LabelRule
from app.settings import Settings

_NOTE = "fileroom label rules"


def run_add(
    settings: Settings,
    label: str,
    calling_ae: str,
    institution: str,
    sender: str,
    tenant: str | None = None,
) -> None:
    """Make a rule; it counts from now on.

    Raises:
        Conflict: there is the same one.
        InvalidRequest: it is no label, or a condition is none.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        conditions = Conditions(calling_ae, institution, sender)
        rule = await add_label_rule(archive, operator, label, conditions)
        sys.stdout.write(_described(rule))

    with_archive(settings, _NOTE, work)


def run_list(settings: Settings, tenant: str | None = None) -> None:
    """Print all rules, one on a line.

    Raises:
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        rules = await list_label_rules(archive, operator)
        sys.stdout.write("".join(map(_described, rules)) or "there is no rule for labels\n")

    with_archive(settings, _NOTE, work)


def run_remove(settings: Settings, number: int, tenant: str | None = None) -> None:
    """Take a rule away.

    Raises:
        NotFound: there is no such rule.
        Refusal: there is no archive.
    """
    check_there(settings)

    async def work(archive: Archive) -> None:
        operator = await operator_of(archive, OPERATOR, tenant)
        await remove_label_rule(archive, operator, number)
        sys.stdout.write(f"rule {number} is gone; the labels that it has put on stay\n")

    with_archive(settings, _NOTE, work)


def _described(rule: LabelRule) -> str:
    conditions = rule.conditions
    said = {
        "calling AE": conditions.calling_ae,
        "institution": conditions.institution,
        "sender": conditions.sender,
    }
    words = " and ".join(f"{kind} {value!r}" for kind, value in said.items() if value)
    return f"{rule.id}: {rule.label} where {words}\n"
