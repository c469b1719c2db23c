"""Retention rules: made as drafts, looked at, activated, and acted by."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from app.archive.context import Archive
from app.archive.labels import check_label
from app.errors import Changed, Conflict, Forbidden, InvalidRequest
from app.index import due, retention_rules
from app.index.due import Preview
from app.index.retention_rules import Action, Rule, Terms
from app.rights import Principal

PAGE = 50
"""Studies that are looked for at once."""
PAUSE_SECONDS = 0.05
"""Between two Studies: nobody waits for it, and others do for the index."""
MOST_DAYS = 36_500
_LONGEST = 64
_MOST_VALUES = 100


async def add_rule(archive: Archive, principal: Principal, terms: Terms) -> Rule:
    """Make a rule. It is a draft: it does nothing until it is activated.

    Raises:
        Conflict: there is one of this name.
        Forbidden: `principal` may not administer.
        InvalidRequest: the terms are none.
        Unavailable: the index does not answer.
    """
    _check(principal)
    _check_terms(terms)
    tenant = principal.scope.tenant_id
    return await retention_rules.add_rule(archive.index, tenant, principal.name, terms)


async def list_rules(archive: Archive, principal: Principal) -> Sequence[Rule]:
    """Return all rules, oldest first.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await retention_rules.list_rules(archive.index, principal.scope.tenant_id)


async def preview_rule(archive: Archive, principal: Principal, key: int) -> Preview:
    """Count what a rule takes now, or what it keeps; it need not be active.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is no such rule.
        Unavailable: the index does not answer in time.
    """
    _check(principal)
    tenant = principal.scope.tenant_id
    rule = await retention_rules.find_rule(archive.index, tenant, key)
    return await due.preview_rule(archive.index, tenant, rule)


async def activate_rule(archive: Archive, principal: Principal, key: int) -> Rule:
    """Let a rule act from now on: one that keeps at once, one that deletes once a day.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    _check(principal)
    tenant = principal.scope.tenant_id
    return await retention_rules.activate_rule(archive.index, tenant, principal.name, key)


async def deactivate_rule(archive: Archive, principal: Principal, key: int) -> Rule:
    """Let a rule rest, as a draft again.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    _check(principal)
    tenant = principal.scope.tenant_id
    return await retention_rules.deactivate_rule(archive.index, tenant, principal.name, key)


async def remove_rule(archive: Archive, principal: Principal, key: int) -> None:
    """Take a rule away; nothing is deleted or kept by it any more.

    Raises:
        Forbidden: `principal` may not administer.
        NotFound: there is no such rule.
        Unavailable: the index does not answer.
    """
    _check(principal)
    tenant = principal.scope.tenant_id
    await retention_rules.remove_rule(archive.index, tenant, principal.name, key)


async def act_by_all_rules(archive: Archive, go_on: Callable[[], Awaitable[bool]]) -> int:
    """Do as `act_by_rules`, tenant by tenant.

    Raises:
        Unavailable: the index does not answer.
    """
    count = 0
    for tenant_id in await retention_rules.tenants_that_delete(archive.index):
        count += await act_by_rules(archive, tenant_id, go_on)
    return count


async def act_by_rules(
    archive: Archive, tenant_id: int, go_on: Callable[[], Awaitable[bool]]
) -> int:
    """Delete what active rules take now; return how many Studies. `go_on` is asked for each page.

    A Study that has changed meanwhile, or is held or kept by now, is passed over.

    Raises:
        Unavailable: the index does not answer.
    """
    count = 0
    for rule in await retention_rules.list_rules(archive.index, tenant_id):
        if rule.terms.action is not Action.DELETE or rule.activated_at is None:
            continue
        after = 0
        while await go_on():
            page = await due.list_due(archive.index, tenant_id, rule, after, PAGE)
            if not page:
                break
            after = page[-1].key
            count += await _act(archive, tenant_id, rule, page)
    return count


async def _act(archive: Archive, tenant_id: int, rule: Rule, page: Sequence[due.Due]) -> int:
    """Delete some Studies by a rule, which the event names; return how many."""
    actor, count = f"retention rule {rule.id}: {rule.terms.name}", 0
    for one in page:
        try:
            count += bool(await due.remove_due(archive.index, tenant_id, rule, one, actor))
        except (Changed, Conflict):
            continue
        await asyncio.sleep(PAUSE_SECONDS)
    return count


def _check(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("Retention rules are for administrators")


def _check_terms(terms: Terms) -> None:
    lists = retention_rules.lists_of(terms)
    words = [terms.name, *(value for values in lists for value in values)]
    if not all(0 < len(word.strip()) <= _LONGEST and word.isprintable() for word in words):
        raise InvalidRequest(f"Names and values of 1 to {_LONGEST} printable characters, please")
    if any(len(values) > _MOST_VALUES for values in lists):
        raise InvalidRequest(f"A rule names up to {_MOST_VALUES} values of a kind")
    for label in terms.labels:
        check_label(label)
    if not 1 <= terms.days <= MOST_DAYS:
        raise InvalidRequest(f"An age of 1 to {MOST_DAYS} days was expected")
