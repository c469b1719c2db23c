"""Rules that put labels on Studies as they come in: who may make them, and of what."""

from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.labels import check_label
from app.errors import Forbidden, InvalidRequest
from app.index import ingest_rules
from app.index.ingest_rules import Conditions, LabelRule
from app.rights import Principal

LONGEST_AE_TITLE = 16
LONGEST = 64
"""Of an Institution Name (LO) and of the name of a key or user."""


async def add_label_rule(
    archive: Archive, principal: Principal, label: str, conditions: Conditions
) -> LabelRule:
    """Have a label put on each Study that is made from now on and meets all conditions.

    Raises:
        Conflict: there is the same rule, or there are too many.
        Forbidden: `principal` may not administer all.
        InvalidRequest: it is no label, or there is no condition, or one that nothing can meet.
        Unavailable: the index does not answer.
    """
    _check(principal)
    said = (conditions.calling_ae, conditions.institution, conditions.sender)
    if not any(said):
        raise InvalidRequest("A rule goes by a calling AE, an institution or a sender: name one")
    for words, longest in zip(said, (LONGEST_AE_TITLE, LONGEST, LONGEST), strict=True):
        if words != words.strip() or len(words) > longest or not words.isprintable():
            raise InvalidRequest(
                f"Up to {longest} printable characters, without blanks around them, were expected"
            )
    tenant_id = principal.scope.tenant_id
    return await ingest_rules.add_rule(
        archive.index, tenant_id, principal.name, check_label(label), conditions
    )


async def list_label_rules(archive: Archive, principal: Principal) -> Sequence[LabelRule]:
    """Return all rules, oldest first.

    Raises:
        Forbidden: `principal` may not administer all.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await ingest_rules.list_rules(archive.index, principal.scope.tenant_id)


async def remove_label_rule(archive: Archive, principal: Principal, number: int) -> None:
    """Take a rule away; the labels that it has put on stay.

    Raises:
        Forbidden: `principal` may not administer all.
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    _check(principal)
    await ingest_rules.remove_rule(archive.index, principal.scope.tenant_id, principal.name, number)


def _check(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("Rules for labels are for administrators")
