"""The queue of forwarding: claimed by bridges for a time, told done or failed, tried again.

A bridge claims what is due for one destination, under a name of the claim, until a moment; what it
has told nothing of by then is due again for whoever asks. So a bridge keeps nothing, and one that
died loses nothing. A claim counts as a try, so that what kills each bridge does not go round for
ever; after the last one it is dead. An Instance that was deleted meanwhile is not forwarded.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from app.errors import NotFound
from app.index.access import visible_arguments, visible_as
from app.index.engine import Index, fetch_at
from app.index.events import log_event
from app.index.forwarding_rules import Address
from app.index.pool import Connection
from app.rights import Scope

DONE_KIND, DEAD_KIND = "forwarded", "not-forwarded"
PAUSES = (10.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, *[21_600.0] * 11)
"""Seconds after each try that failed: three days in all."""
MOST_TRIES = len(PAUSES) + 1
UNANSWERED = "a bridge claimed it again and again, and never said what became of it"
MOST_REASON = 500

_DUE = "NOT f.dead AND f.due_at <= now()"
_SEEN = f"""
LEFT JOIN instance i ON i.id = f.instance_key LEFT JOIN study s ON s.id = i.study_key
WHERE f.destination_id = {{destination}} AND {_DUE}
    AND (i.id IS NULL OR ({visible_as("s")})) ORDER BY f.due_at, f.id
"""
"""What the scope covers of what is due; what is gone is anybody's, to be thrown away."""
_BELOW = f"""
JOIN instance i ON i.id = f.instance_key JOIN series e ON e.id = i.series_key
JOIN study s ON s.id = i.study_key AND {visible_as("s")}
"""
NEXT_DESTINATION = f"""
SELECT destination.id, ae_title, host, port, tls FROM destination
CROSS JOIN LATERAL (
    SELECT f.due_at FROM forwarding f {_SEEN.format(destination="destination.id")} LIMIT 1
) AS oldest
CROSS JOIN LATERAL (
    SELECT count(*) FROM forwarding f
    WHERE f.destination_id = destination.id AND f.claim <> '' AND f.due_at > now()
) AS claimed
WHERE destination.tenant_id = $1 AND ($3::text IS NULL OR ae_title = $3)
ORDER BY claimed.count, oldest.due_at LIMIT 1
"""  # noqa: S608
"""The one that fewest are on the way to: one that is down or far keeps no other waiting."""
CLAIM = f"""
WITH picked AS (
    SELECT f.id FROM forwarding f {_SEEN.format(destination="$3")} LIMIT $4
    FOR UPDATE OF f SKIP LOCKED
)
UPDATE forwarding SET claim = $5, tries = tries + 1,
    due_at = now() + make_interval(secs => $6)
FROM picked WHERE forwarding.id = picked.id
RETURNING forwarding.id, forwarding.due_at, tries
"""  # noqa: S608
_ITEM = """
f.id, s.study_instance_uid AS study, e.series_instance_uid AS series,
i.sop_instance_uid AS instance, i.sop_class_uid AS sop_class,
i.transfer_syntax_uid AS transfer_syntax, i.size, f.tries
"""
ITEMS = f"""
SELECT {_ITEM} FROM forwarding f {_BELOW} WHERE f.id = ANY($3)
ORDER BY study, series, i.instance_number, instance
"""  # noqa: S608
_HELD = "tenant_id = $1 AND claim = $2 AND due_at > now()"
RENEW = f"""
UPDATE forwarding SET due_at = now() + make_interval(secs => $3) WHERE {_HELD} RETURNING due_at
"""  # noqa: S608
LET_GO = f"""
UPDATE forwarding SET due_at = now(), claim = '', tries = tries - 1 WHERE {_HELD} RETURNING id
"""  # noqa: S608
LOCK = f"SELECT id, tries FROM forwarding WHERE {_HELD} AND id = ANY($3) ORDER BY id FOR UPDATE"  # noqa: S608
NAMES = """
SELECT f.id, destination.ae_title AS destination, s.study_instance_uid AS study,
    i.sop_instance_uid AS instance
FROM forwarding f JOIN destination ON destination.id = f.destination_id
JOIN instance i ON i.id = f.instance_key JOIN study s ON s.id = i.study_key
WHERE f.id = ANY($1) ORDER BY destination, study, instance
"""
FORGET = "DELETE FROM forwarding WHERE id = ANY($1)"
GIVE_UP = "UPDATE forwarding SET dead = true, claim = '', reason = $2 WHERE id = ANY($1)"
FAIL = """
UPDATE forwarding SET claim = '', due_at = now() + make_interval(secs => pause),
    dead = told.dead, reason = told.reason
FROM unnest($1::bigint[], $2::float8[], $3::boolean[], $4::text[]) AS told (id, pause, dead, reason)
WHERE forwarding.id = told.id
"""
ADD = f"""
INSERT INTO forwarding AS old (tenant_id, destination_id, instance_key)
SELECT $1, destination.id, i.id FROM destination
CROSS JOIN instance i JOIN series e ON e.id = i.series_key
JOIN study s ON s.id = i.study_key AND {visible_as("s")}
WHERE destination.tenant_id = $1 AND ae_title = $3 AND s.study_instance_uid = $4
    AND ($5::text IS NULL OR e.series_instance_uid = $5)
    AND ($6::text IS NULL OR i.sop_instance_uid = $6)
ON CONFLICT (destination_id, instance_key) DO UPDATE
    SET dead = false, tries = 0, reason = '', due_at = now() WHERE old.dead
RETURNING id
"""  # noqa: S608
LIST = f"""
SELECT {_ITEM}, destination.ae_title AS destination, f.dead, f.claim, f.reason, f.made_at, f.due_at,
    f.claim <> '' AND f.due_at > now() AS claimed
FROM forwarding f JOIN destination ON destination.id = f.destination_id {_BELOW}
WHERE f.tenant_id = $1 AND f.id > $3 AND ($4::text IS NULL OR destination.ae_title = $4)
    AND ($5::text IS NULL OR $5 = CASE WHEN f.dead THEN 'dead'
        WHEN f.claim <> '' AND f.due_at > now() THEN 'claimed' ELSE 'waiting' END)
ORDER BY f.id LIMIT $6
"""  # noqa: S608
_WHICH = """
tenant_id = $1 AND (dead OR NOT $4) AND (id = ANY($2) OR destination_id = (
    SELECT id FROM destination WHERE tenant_id = $1 AND ae_title = $3))
"""
RETRY = f"""
UPDATE forwarding SET dead = false, tries = 0, due_at = now(), claim = ''
WHERE {_WHICH} AND NOT (claim <> '' AND due_at > now()) RETURNING id
"""  # noqa: S608
DISCARD = f"DELETE FROM forwarding WHERE {_WHICH} RETURNING id"  # noqa: S608
COUNT = """
SELECT ae_title, count(f.id) FILTER (WHERE NOT dead AND NOT (claim <> '' AND due_at > now())),
    count(f.id) FILTER (WHERE NOT dead AND claim <> '' AND due_at > now()),
    count(f.id) FILTER (WHERE dead),
    coalesce(extract(epoch FROM now() - min(f.made_at) FILTER (WHERE NOT dead)), 0)::float8
FROM destination LEFT JOIN forwarding f ON f.destination_id = destination.id
GROUP BY destination.id, ae_title ORDER BY ae_title
"""


@dataclass(frozen=True, slots=True)
class Item:
    """An Instance that is to be sent; `tries` counts this claim, too."""

    id: int
    study: str
    series: str
    instance: str
    sop_class: str
    transfer_syntax: str
    size: int
    tries: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a bridge has claimed until a moment, all for one destination."""

    destination: Address
    until: datetime
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Listed:
    """One of the queue as it is shown; its state is `waiting`, `claimed` or `dead`."""

    item: Item
    destination: str
    state: str
    reason: str
    made_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """How much of a claim was heeded; the rest was somebody else's by then."""

    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits for one destination, and how long the oldest of it has."""

    destination: str
    waiting: int
    claimed: int
    dead: int
    oldest_seconds: float


async def claim_next(
    index: Index, scope: Scope, claim: str, ae_title: str | None, most: int, seconds: float
) -> Claimed | None:
    """Claim up to `most` that are due, for a destination or for any; None if nothing is.

    Raises:
        Unavailable: the index does not answer.
    """
    seen = visible_arguments(scope)

    async def work(connection: Connection) -> Claimed | None:
        while True:
            where = await connection.fetchrow(NEXT_DESTINATION, *seen, ae_title)
            if where is None:
                return None
            rows = await connection.fetch(CLAIM, *seen, where["id"], most, claim, seconds)
            if not rows:  # others were quicker
                return None
            items = await _claimed(connection, scope, rows)
            if items:
                names = ("ae_title", "host", "port", "tls")
                return Claimed(Address(*(where[it] for it in names)), rows[0]["due_at"], items)

    return await index.retrying(work)


async def _claimed(connection: Connection, scope: Scope, rows: Sequence[Any]) -> Sequence[Item]:
    """Return what of a claim is to be sent: not what is gone, nor what was tried too often."""
    often = [row["id"] for row in rows if row["tries"] > MOST_TRIES]
    await connection.execute(GIVE_UP, often, UNANSWERED)
    await _log(connection, scope.tenant_id, "fileroom", DEAD_KIND, often)
    numbers = {row["id"] for row in rows} - set(often)
    found = await connection.fetch(ITEMS, *visible_arguments(scope), list(numbers))
    await connection.execute(FORGET, list(numbers - {row["id"] for row in found}))
    return [Item(*row) for row in found]


async def renew_claim(index: Index, tenant_id: int, claim: str, seconds: float) -> datetime:
    """Hold what is left of a claim for so many seconds from now; return until when.

    Raises:
        NotFound: nothing of it is left.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(RENEW, tenant_id, claim, seconds)
    if row is None:
        raise NotFound("Claim", claim)
    until: datetime = row["due_at"]
    return until


async def let_go(index: Index, tenant_id: int, claim: str) -> int:
    """Leave what is left of a claim to whoever asks next; it was no try. Return how many.

    Raises:
        Unavailable: the index does not answer.
    """
    return len(await index.fetch(LET_GO, tenant_id, claim))


async def settle_claim(
    index: Index,
    tenant_id: int,
    actor: str,
    claim: str,
    done: Collection[int],
    failed: Mapping[int, str],
) -> Told:
    """Take in what became of those of a claim that are held still; failures have their reasons.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> Told:
        rows = await connection.fetch(LOCK, tenant_id, claim, [*done, *failed])
        held = {row["id"]: row["tries"] for row in rows}
        sent = [number for number in done if number in held]
        await _log(connection, tenant_id, actor, DONE_KIND, sent)
        await connection.execute(FORGET, sent)
        lost = {number: tries for number, tries in held.items() if number not in set(sent)}
        dead = [number for number, tries in lost.items() if tries >= MOST_TRIES]
        pauses = [PAUSES[min(tries, len(PAUSES)) - 1] for tries in lost.values()]
        ends = [number in dead for number in lost]
        reasons = [failed[number][:MOST_REASON] for number in lost]
        await connection.execute(FAIL, list(lost), pauses, ends, reasons)
        await _log(connection, tenant_id, actor, DEAD_KIND, dead)
        return Told(len(sent), len(lost))

    return await index.retrying(work)


async def _log(
    connection: Connection, tenant_id: int, actor: str, kind: str, numbers: Iterable[int]
) -> None:
    """Log what became of some, Study by Study."""
    listed = list(numbers)
    if not listed:
        return
    rows = await connection.fetch(NAMES, listed)
    for (destination, study), those in groupby(rows, lambda row: (row[1], row[2])):
        uids = [row["instance"] for row in those]
        payload = {"study": study, "destination": {"ae_title": destination}, "instances": uids}
        await log_event(connection, tenant_id, kind, actor, payload)


async def add_forwardings(
    index: Index, scope: Scope, ae_title: str, names: tuple[str, str | None, str | None]
) -> int:
    """Queue a Study, one of its Series or Instances by hand; return how many Instances are new.

    What is queued already stays where it is; what is dead is tried again.

    Raises:
        Unavailable: the index does not answer.
    """
    arguments = (*visible_arguments(scope), ae_title, *names)
    return len(await index.retrying(lambda it: it.fetch(ADD, *arguments)))


async def list_forwardings(
    index: Index, scope: Scope, ae_title: str | None, state: str | None, after: int, most: int
) -> list[Listed]:
    """Return up to `most` of the queue after a number, in order.

    Raises:
        Unavailable: the index does not answer in time.
    """
    arguments = (*visible_arguments(scope), after, ae_title, state, most)
    return [_listed(row) for row in await index.search(LIST, *arguments)]


def _listed(row: Any) -> Listed:
    state = "dead" if row["dead"] else "claimed" if row["claimed"] else "waiting"
    said = (row["destination"], state, row["reason"], row["made_at"], row["due_at"])
    return Listed(Item(*tuple(row)[:8]), *said)


async def retry_forwardings(
    index: Index, tenant_id: int, numbers: Sequence[int], ae_title: str | None, *, dead: bool
) -> int:
    """Let some be due at once, as if they were new: by number, or all of a destination.

    `dead` takes those alone that failed for good. Return how many.

    Raises:
        Unavailable: the index does not answer.
    """
    return len(await index.fetch(RETRY, tenant_id, list(numbers), ae_title, dead))


async def discard_forwardings(
    index: Index, tenant_id: int, numbers: Sequence[int], ae_title: str | None, *, dead: bool
) -> int:
    """Give some up, as `retry_forwardings` has them. Return how many.

    Raises:
        Unavailable: the index does not answer.
    """
    return len(await index.fetch(DISCARD, tenant_id, list(numbers), ae_title, dead))


async def count_forwardings(index: Index) -> list[Queue]:
    """Return what waits for each destination of all tenants.

    Raises:
        Unavailable: the index does not answer.
    """
    return [Queue(*row) for row in await index.fetch(COUNT)]


def count_forwardings_at(url: str) -> list[Queue]:
    """Return what waits for each destination, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """
    return [Queue(*row) for row in fetch_at(url, COUNT)]
