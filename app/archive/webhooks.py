"""Who is told of events by HTTP, and how operators look after it: add, list, enable, remove, try.

Deliveries are made by `deliveries`.
"""

import difflib
import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import orjson

from app.archive.context import Archive
from app.archive.deliveries import entrypoint
from app.archive.webhook_calls import calling, check_url, make_secret, read_secret
from app.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.index.webhooks import (
    Webhook,
    add_webhook,
    enable_webhook,
    find_webhook,
    list_webhooks,
    remove_webhook,
)
from app.jobs.queue import clear
from app.rights import Principal

KINDS = (
    "accepted",
    "removed",
    "rejected",
    "restored",
    "purged",
    "refused",
    "held",
    "released",
    "labelled",
    "unlabelled",
    "label-rule-added",
    "label-rule-removed",
    "committed",
    "mended",
    "quarantined",
    "recovered",
    "swept",
    "rule-added",
    "rule-activated",
    "rule-deactivated",
    "rule-removed",
    "tag-chosen",
    "tag-dropped",
    "step-scheduled",
    "step-unscheduled",
    "step-performed",
    "destination-set",
    "destination-removed",
    "forwarding-rule-added",
    "forwarding-rule-removed",
    "forwarded",
    "not-forwarded",
    "rekeyed",
    "ticket-made",
    "ticket-revoked",
    "key-created",
    "key-revoked",
    "broke-glass",
    "override-ended",
    "tenant-added",
    "user-added",
    "user-changed",
    "user-removed",
    "user-disabled",
    "user-enabled",
    "user-password-set",
)
"""Kinds of events."""


async def add(
    archive: Archive,
    principal: Principal,
    url: str,
    kinds: Collection[str],
    secret: str | None = None,
) -> Webhook:
    """Have a URL told of events of these kinds, or of all, from now on.

    Raises:
        InvalidRequest: the URL, a kind or the secret is none.
        Conflict: this URL is told already.
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    for kind in kinds:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; they are {', '.join(KINDS)}"
            raise InvalidRequest(f"{kind} is no kind of event{hint}")
    key = make_secret() if secret is None else read_secret(secret)
    words = sorted(set(kinds))
    tenant = principal.scope.tenant_id
    made = await add_webhook(archive.index, tenant, check_url(url), words, key, principal.name)
    if made is None:
        raise Conflict(f"{url} is a webhook already")
    return made


async def list_all(archive: Archive, principal: Principal) -> Sequence[Webhook]:
    """Return all webhooks.

    Raises:
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await list_webhooks(archive.index, principal.scope.tenant_id)


async def enable(archive: Archive, principal: Principal, number: int) -> None:
    """Go on with a webhook that was disabled, with the events that it was not told of.

    Raises:
        NotFound: there is none of this number.
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    if not await enable_webhook(archive.index, principal.scope.tenant_id, number):
        raise NotFound("Webhook", str(number))


async def remove(archive: Archive, principal: Principal, number: int) -> None:
    """Tell a webhook nothing any more; its dead letters go with it.

    Raises:
        NotFound: there is none of this number.
        Forbidden: `principal` may not administer.
        Unavailable: the index does not answer.
    """
    _check(principal)
    async with archive.index.writing() as connection:
        await clear(connection, entrypoint(number))  # jobs first, as at the end of a delivery
        if not await remove_webhook(connection, principal.scope.tenant_id, number):
            raise NotFound("Webhook", str(number))


async def try_out(archive: Archive, principal: Principal, number: int) -> int:
    """Send a webhook a message that tells of nothing, at once; return the status of the answer.

    Raises:
        NotFound: there is none of this number.
        Forbidden: `principal` may not administer.
        Unavailable: nobody answers, or the index does not.
    """
    _check(principal)
    webhook = await find_webhook(archive.index, number)
    if webhook is None or webhook.tenant_id != principal.scope.tenant_id:
        raise NotFound("Webhook", str(number))
    body = {"type": "test", "timestamp": datetime.now(UTC).isoformat(), "data": {}}
    async with calling() as caller:
        return await caller.call(webhook, f"msg_{secrets.token_hex(16)}", orjson.dumps(body))


def _check(principal: Principal) -> None:
    if not principal.administers_all:
        raise Forbidden("Webhooks are for administrators")
