"""Objects that no row names: which of them nobody can name any more, so that they may be deleted.

A Store puts an object first and its row second, and may take long between the two. So an object is
condemned in a transaction that waits for all who write rows and keeps others from it for a moment:
what a row names by then stays, and the keys of the rest go into `swept_object`. Who adds a row
looks there (`add_rows.ADD_ROWS`): a Store that comes later with such a key is refused.

Stores that take long tell of it in `running_store`, and what they may have put is left alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.index.clock import SEEN
from app.index.engine import Index
from app.index.events import log_event
from app.index.kept import NAMED
from app.index.pool import Connection

TOLD_SECONDS = 1200.0
"""How long a process that stores is believed without telling of it again."""
REMEMBERED_DAYS = 90

PATIENCE = "SET LOCAL lock_timeout = '5s'"
"""Stores wait behind us: a removal that takes long must not hold all of them up."""
LOCK = """
LOCK TABLE instance, removed_instance, non_patient_instance, removed_non_patient_instance
IN SHARE MODE
"""
CONDEMN = """
INSERT INTO swept_object (tenant_id, object_key, sop_instance_uid)
SELECT $1, key, uid FROM unnest($2::text[], $3::text[]) AS swept (key, uid)
ON CONFLICT (object_key) DO NOTHING
"""
FORGET = f"DELETE FROM swept_object WHERE swept_at < {SEEN} - make_interval(days => $1)"  # noqa: S608
SINCE = """
SELECT min(since) AS since FROM running_store WHERE told_at > now() - make_interval(secs => $1)
"""
TELL = """
INSERT INTO running_store (process, since) VALUES ($1, $2)
ON CONFLICT (process) DO UPDATE SET since = excluded.since, told_at = now()
"""
WITHDRAW = """
DELETE FROM running_store WHERE process = $1 OR told_at < now() - make_interval(secs => $2)
"""


@dataclass(frozen=True, slots=True)
class Unnamed:
    """An object that no row seems to name; `study` is '' for an Instance of no Patient."""

    object_key: str
    study: str
    instance: str


async def condemn(
    index: Index, tenant_id: int, page: Sequence[Unnamed], actor: str
) -> list[Unnamed]:
    """Return those of some objects that no row names, nor will name from now on; log it.

    Raises:
        Unavailable: the index does not answer, or others write without a pause.
    """
    return await index.retrying(lambda it: condemn_within(it, tenant_id, page, actor))


async def condemn_within(
    connection: Connection, tenant_id: int, page: Sequence[Unnamed], actor: str
) -> list[Unnamed]:
    """Do as `condemn`, in the caller's transaction."""
    await connection.execute(PATIENCE)
    await connection.execute(LOCK)
    uids, studies = [one.instance for one in page], sorted({one.study for one in page})
    rows = await connection.fetch(NAMED, tenant_id, uids, studies)
    named = {row["object_key"] for row in rows}
    swept = [one for one in page if one.object_key not in named]
    keys, of = [one.object_key for one in swept], [one.instance for one in swept]
    await connection.execute(CONDEMN, tenant_id, keys, of)
    logged: dict[str, list[str]] = defaultdict(list)
    for one in swept:
        logged[one.study].append(one.instance)
    for study, instances in logged.items():
        payload = {**({"study": study} if study else {}), "instances": instances}
        await log_event(connection, tenant_id, "swept", actor, payload)
    return swept


async def forget_swept(index: Index) -> None:
    """Forget keys that were swept so long ago that no Store can come with them.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.retrying(lambda it: it.execute(FORGET, REMEMBERED_DAYS))


async def oldest_store(index: Index) -> datetime | None:
    """Return since when the oldest Store that is known to take long has been running.

    Raises:
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(SINCE, TOLD_SECONDS)
    return None if row is None else row["since"]


async def tell_of_store(index: Index, process: str, since: datetime | None) -> None:
    """Say since when a process has been storing; None: nothing that takes long.

    Raises:
        Unavailable: the index does not answer.
    """
    if since is None:
        await index.fetch(WITHDRAW, process, TOLD_SECONDS)
    else:
        await index.fetch(TELL, process, since)
