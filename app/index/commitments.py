"""Storage commitments: who works on which, what is verified of it, and its result.

A process that works on one holds it by a lease, as in `upkeep`; when the process dies another one
goes on where it was. What is done twice is safe: verifying changes nothing, and a commitment is
finished once, in a transaction that finds each object that was verified still in its row.
"""

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.dicom.commitment import COMMITTED, Reference, result_json
from app.errors import Conflict, NotFound, Unavailable
from app.index.access import NON_PATIENT, VISIBLE, WITHIN, scope_of, visible_arguments
from app.index.engine import Index
from app.index.events import log_event
from app.index.kept import KeptObject
from app.index.pool import Connection
from app.rights import Scope

KIND = "committed"
"""Of the event in the log."""
LEASE_SECONDS = 20.0
MOST_WORKING = 100
"""Commitments of a tenant that are worked on; who asks for more has to wait."""

_OLD = "finished_at < now() - make_interval(secs => {0})"
FORGET_OLD_ONE = f"""
DELETE FROM commitment WHERE tenant_id = $1 AND transaction_uid = $2 AND {_OLD.format("$3")}
"""  # noqa: S608 - our own text, as below
FORGET_OLD = f"DELETE FROM commitment WHERE {_OLD.format('$1')}"  # noqa: S608
COUNT_WORKING = "SELECT count(*) FROM commitment WHERE finished_at IS NULL AND tenant_id = $1"
ADD = """
INSERT INTO commitment (tenant_id, scope, transaction_uid, asked_by, holder, held_until, ae_title)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7)
ON CONFLICT (tenant_id, transaction_uid) DO NOTHING RETURNING id
"""
ADD_ITEMS = """
INSERT INTO commitment_item (commitment_id, number, sop_class_uid, sop_instance_uid,
    study_instance_uid, series_instance_uid)
SELECT $1, number, of_class, instance, study, series
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS new (of_class, instance, study, series, number)
"""
RESULT = f"""
SELECT finished_at IS NOT NULL AS finished, result FROM commitment
WHERE tenant_id = $1 AND {WITHIN.format(scope="commitment.scope")} AND transaction_uid = $3
    AND NOT coalesce({_OLD.format("$4")}, false)
"""  # noqa: S608
WAITING = """
SELECT id FROM commitment WHERE finished_at IS NULL AND held_until < now()
ORDER BY held_until LIMIT $1
"""
LAG = """
SELECT coalesce(extract(epoch FROM now() - min(requested_at)), 0)::float8 AS lag FROM commitment
WHERE finished_at IS NULL
"""
TAKE = """
UPDATE commitment SET holder = $2, held_until = now() + make_interval(secs => $3)
WHERE id = $1 AND finished_at IS NULL AND (held_until < now() OR holder = $2)
RETURNING id, tenant_id, scope, asked_by, transaction_uid, tries,
    extract(epoch FROM now() - requested_at)::float8 AS age
"""
RENEW = """
UPDATE commitment SET held_until = now() + make_interval(secs => $3)
WHERE id = $1 AND holder = $2 AND finished_at IS NULL RETURNING true
"""
PUT_OFF = """
UPDATE commitment SET holder = '', held_until = now() + make_interval(secs => $3), tries = tries + 1
WHERE id = $1 AND holder = $2 AND finished_at IS NULL
"""
LET_GO = """
UPDATE commitment SET holder = '', held_until = now() WHERE holder = $1 AND finished_at IS NULL
"""
_ITEM = "number, sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid"
NEXT = f"""
SELECT {_ITEM} FROM commitment_item WHERE commitment_id = $1 AND number > $2 AND reason IS NULL
ORDER BY number LIMIT $3
"""  # noqa: S608
SAVE = """
UPDATE commitment_item SET reason = new.reason, object_key = new.object_key
FROM unnest($2::integer[], $3::smallint[], $4::text[]) AS new (number, reason, object_key)
WHERE commitment_id = $1 AND commitment_item.number = new.number
"""
GIVE_UP = """
UPDATE commitment_item SET reason = $2
WHERE commitment_id = $1 AND coalesce(reason, 0) = 0
"""
REOPEN = f"""
UPDATE commitment_item SET reason = NULL
WHERE commitment_id = $1 AND reason = {COMMITTED} AND NOT EXISTS (
    SELECT FROM instance WHERE instance.tenant_id = $2
        AND instance.sop_instance_uid = commitment_item.sop_instance_uid
        AND instance.object_key = commitment_item.object_key
    UNION ALL
    SELECT FROM non_patient_instance WHERE non_patient_instance.tenant_id = $2
        AND non_patient_instance.sop_instance_uid = commitment_item.sop_instance_uid
        AND non_patient_instance.object_key = commitment_item.object_key)
RETURNING true
"""  # noqa: S608
ITEMS = f"""
SELECT {_ITEM}, reason FROM commitment_item WHERE commitment_id = $1 ORDER BY number
"""  # noqa: S608
FINISH = "UPDATE commitment SET finished_at = now(), holder = '', result = $2 WHERE id = $1"
FORGET_ITEMS = "DELETE FROM commitment_item WHERE commitment_id = $1"
_KEPT = """
sop_instance_uid, object_key, base_offset, {0}.size, sha256, derived_version, {0}.tenant_id
"""
FIND_HELD = f"""
SELECT study_instance_uid, {_KEPT.format("instance")}, sop_class_uid, series_instance_uid
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = instance.study_key
WHERE {VISIBLE} AND instance.tenant_id = $1 AND sop_instance_uid = ANY($3)
UNION ALL
SELECT '', {_KEPT.format("non_patient_instance")}, sop_class_uid, '' FROM non_patient_instance
WHERE {NON_PATIENT} AND sop_instance_uid = ANY($3)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what is named, by whom, and what that caller may see.

    `ae_title` is the AE that a bridge asks for, and is to tell the result.
    """

    scope: Scope
    asked_by: str
    transaction_uid: str
    references: Sequence[Reference]
    ae_title: str = ""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A commitment that a process holds; `age` in seconds since it was asked for."""

    id: int
    scope: Scope
    asked_by: str
    transaction_uid: str
    tries: int
    age: float


@dataclass(frozen=True, slots=True)
class Item:
    """A reference that is not verified yet; `number` counts from 1."""

    number: int
    reference: Reference


@dataclass(frozen=True, slots=True)
class Held:
    """A live Instance: its object, and what a reference to it has to say."""

    kept: KeptObject
    sop_class_uid: str
    series: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about an item: `COMMITTED`, and the object that was read, or why not."""

    number: int
    reason: int
    object_key: str = ""


async def add_commitment(index: Index, asked: Asked, holder: str, kept_seconds: float) -> int:
    """Note a request, which `holder` is to work on; return its number.

    Raises:
        Conflict: the Transaction UID is in use.
        Unavailable: too many are being worked on, or the index does not answer.
    """
    named = [_texts(one) for one in asked.references]
    tenant_id, uid = asked.scope.tenant_id, asked.transaction_uid

    async def work(connection: Connection) -> int:
        await connection.execute(FORGET_OLD_ONE, tenant_id, uid, kept_seconds)
        if await connection.fetchval(COUNT_WORKING, tenant_id) >= MOST_WORKING:
            raise Unavailable("Too many storage commitments are being worked on; ask again later")
        about = (*visible_arguments(asked.scope), uid, asked.asked_by, holder, LEASE_SECONDS)
        number: int | None = await connection.fetchval(ADD, *about, asked.ae_title)
        if number is None:
            raise Conflict(f"The Transaction UID {uid} is in use; take another one")
        await connection.execute(ADD_ITEMS, number, *map(list, zip(*named, strict=True)))
        return number

    return await index.retrying(work)


def _texts(one: Reference) -> tuple[str, str, str, str]:
    return one.sop_class_uid, one.sop_instance_uid, one.study, one.series


async def find_result(
    index: Index, scope: Scope, transaction_uid: str, kept_seconds: float
) -> bytes | None:
    """Return the result of a request as DICOM JSON, None while it is worked on.

    Raises:
        NotFound: there is no such request, or it was of one who may see what `scope` does not
            cover, or its result is older than `kept_seconds`.
        Unavailable: the index does not answer.
    """
    about = (*visible_arguments(scope), transaction_uid, kept_seconds)
    row = await index.fetchrow(RESULT, *about)
    if row is None:
        raise NotFound("Storage commitment request", transaction_uid)
    return row["result"].encode() if row["finished"] else None


async def commitment_lag(index: Index) -> float:
    """Return the age of the oldest request that has no result yet, in seconds; 0 for none.

    Raises:
        Unavailable: the index does not answer.
    """
    lag: float = (await index.fetch(LAG))[0]["lag"]
    return lag


async def list_waiting(index: Index, most: int) -> list[int]:
    """Return commitments that nobody works on.

    Raises:
        Unavailable: the index does not answer.
    """
    return [row["id"] for row in await index.fetch(WAITING, most)]


async def take_commitment(index: Index, number: int, holder: str) -> Commitment | None:
    """Hold a commitment for `LEASE_SECONDS`; None if another one has it, or it is finished.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(TAKE, number, holder, LEASE_SECONDS)
    if row is None:
        return None
    scope = scope_of(row["tenant_id"], row["scope"])
    said = row["asked_by"], row["transaction_uid"], row["tries"], row["age"]
    return Commitment(row["id"], scope, *said)


async def renew_commitment(index: Index, number: int, holder: str) -> bool:
    """Go on to hold a commitment; say whether `holder` has it still.

    Raises:
        Unavailable: the index does not answer.
    """
    return await index.fetchrow(RENEW, number, holder, LEASE_SECONDS) is not None


async def put_off(index: Index, number: int, holder: str, seconds: float) -> None:
    """Leave a commitment to whoever looks after so many seconds.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(PUT_OFF, number, holder, seconds)


async def let_go(index: Index, holder: str) -> None:
    """Leave all that `holder` has to whoever looks next.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(LET_GO, holder)


async def next_items(index: Index, number: int, after: int, most: int) -> list[Item]:
    """Return what is not verified yet of a commitment, in order, after one of its items.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_item(row) for row in await index.fetch(NEXT, number, after, most)]


def _item(row: Any) -> Item:
    return Item(row[0], Reference(*row[1:5]))


async def find_held(index: Index, scope: Scope, uids: Collection[str]) -> Mapping[str, Held]:
    """Return what has these SOP Instance UIDs, as far as the scope covers it.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(FIND_HELD, *visible_arguments(scope), list(uids))
    return {row["sop_instance_uid"]: Held(KeptObject(*row[:8]), row[8], row[9]) for row in rows}


async def save_verdicts(
    index: Index, number: int, holder: str, verdicts: Sequence[Verdict]
) -> bool:
    """Note what was found out; say whether `holder` has the commitment still.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = [(one.number, one.reason, one.object_key) for one in verdicts]

    async def work(connection: Connection) -> bool:
        if not await connection.fetchval(RENEW, number, holder, LEASE_SECONDS):
            return False
        await connection.execute(SAVE, number, *map(list, zip(*rows, strict=True)))
        return True

    return await index.retrying(work)


async def give_up(index: Index, number: int, reason: int) -> None:
    """Let all that has not failed yet fail for a reason.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(GIVE_UP, number, reason)


async def finish_commitment(index: Index, one: Commitment, holder: str) -> bool:
    """Make the result and log it, if each Instance still has the object that was verified.

    Otherwise those Instances have to be verified again, and nothing is finished: then False. True
    also where somebody else works on it by now.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        if not await connection.fetchval(RENEW, one.id, holder, LEASE_SECONDS):
            return True
        if await connection.fetch(REOPEN, one.id, one.scope.tenant_id):
            return False
        rows = await connection.fetch(ITEMS, one.id)
        if any(row["reason"] is None for row in rows):
            return False
        results = [(_item(row).reference, row["reason"]) for row in rows]
        document = await asyncio.to_thread(result_json, results)
        good = sum(reason == COMMITTED for _, reason in results)
        payload = {
            "transaction": one.transaction_uid,
            "committed": good,
            "failed": len(results) - good,
            "sha256": hashlib.sha256(document).hexdigest(),
        }
        await log_event(connection, one.scope.tenant_id, KIND, one.asked_by, payload)
        await connection.execute(FINISH, one.id, document.decode())
        await connection.execute(FORGET_ITEMS, one.id)
        return True

    return await index.retrying(work)


async def forget_commitments(index: Index, kept_seconds: float) -> None:
    """Forget results that are older than so many seconds.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(FORGET_OLD, kept_seconds)
