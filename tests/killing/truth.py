"""What the archive holds, read past all of its own code that serves: rows, objects, counters, log.

Each check returns sentences about what is wrong; no sentence means that it is right.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import orjson

from app.errors import ArchiveError
from app.index.packing import unpack_metadata
from app.index.pool import Connection
from app.objects.base import ObjectStore
from tests.killing.ledger import Expected, Promise, Sent

CONNECT_SECONDS = 60
_CANNOT_CONNECT = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)

INSTANCES = """
SELECT study_instance_uid, series_instance_uid, sop_instance_uid, instance.sha256, instance.size,
    object_key, metadata, metadata_dictionary
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = instance.study_key
    AND study.id = series.study_key
"""

COUNTED = {
    "the Instances and the size of Study": """
        SELECT study_instance_uid FROM study LEFT JOIN (
            SELECT study_key, count(*) AS rows, sum(size) AS bytes FROM instance GROUP BY 1
        ) AS counted ON study_key = study.id
        WHERE rows IS NULL OR number_of_instances <> rows OR study.size <> bytes""",
    "the Series and modalities of Study": """
        SELECT study_instance_uid FROM study LEFT JOIN (
            SELECT study_key, count(*) AS rows,
                array_agg(DISTINCT modality ORDER BY modality) FILTER (WHERE modality <> '') AS seen
            FROM series GROUP BY 1
        ) AS counted ON study_key = study.id
        WHERE rows IS NULL OR number_of_series <> rows
            OR modalities <> coalesce(seen, '{}')""",
    "the Instances and SOP Classes of Series": """
        SELECT series_instance_uid FROM series LEFT JOIN (
            SELECT series_key, count(*) AS rows,
                array_agg(DISTINCT sop_class_uid ORDER BY sop_class_uid) AS seen
            FROM instance GROUP BY 1
        ) AS counted ON series_key = series.id
        WHERE rows IS NULL OR number_of_instances <> rows OR sop_classes <> seen""",
    "the Studies of Patient": """
        SELECT patient_id FROM patient WHERE number_of_studies <>
            (SELECT count(*) FROM study WHERE patient_key = patient.id)""",
    "the sums of the whole archive": """
        SELECT 'tally' FROM (
            SELECT coalesce(sum(studies), 0) AS studies, coalesce(sum(series), 0) AS series,
                coalesce(sum(instances), 0) AS instances, coalesce(sum(bytes), 0) AS bytes
            FROM tally
        ) AS kept WHERE studies <> (SELECT count(*) FROM study)
            OR series <> (SELECT count(*) FROM series)
            OR instances <> (SELECT count(*) FROM instance)
            OR bytes <> (SELECT coalesce(sum(size), 0) FROM instance)""",
}
"""What ingest and removal count, beside the truth: each query returns what is counted wrongly."""

EVENTS = "SELECT kind, payload::text FROM event ORDER BY id"
"""Who changes an Instance holds its Study's row, so what is about one Study is in this order."""

UNDER_WAY = """
SELECT count(*) FROM pg_stat_activity
WHERE xact_start < $1 AND pid <> pg_backend_pid() AND application_name = 'fileroom'
"""


@dataclass(frozen=True, slots=True)
class Found:
    """One row of an Instance."""

    study: str
    series: str
    instance: str
    sha256: bytes
    size: int
    object_key: str
    metadata: bytes

    def wrong(self, sent: Sent) -> Iterable[str]:
        """Say where this is not what was sent."""
        if self.sha256 != sent.sha256 or self.size != sent.size:
            yield f"the row of {self.instance} is about other bytes"
        if (self.study, self.series) != (sent.study, sent.series):
            yield f"{self.instance} is in another Series"
        told = orjson.loads(self.metadata)
        named = [told[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018")]
        if named != [sent.study, sent.series, sent.instance]:
            yield f"the Metadata of {self.instance} is another's"


@asynccontextmanager
async def looking(url: str) -> AsyncIterator[Connection]:
    """Give a connection that sees one moment, after all that a killed client had under way."""
    connection = await _connected(url)
    try:
        now = await connection.fetchval("SELECT clock_timestamp()")
        while await connection.fetchval(UNDER_WAY, now):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def _connected(url: str) -> Connection:
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return await asyncpg.connect(url, timeout=10)
        except _CANNOT_CONNECT:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.1)


async def find_instances(connection: Connection) -> dict[str, Found]:
    """Return all rows by SOP Instance UID; a row without its parents is not among them."""
    return {
        row["sop_instance_uid"]: Found(
            row["study_instance_uid"],
            row["series_instance_uid"],
            row["sop_instance_uid"],
            row["sha256"],
            row["size"],
            row["object_key"],
            unpack_metadata(row["metadata_dictionary"], row["metadata"]),
        )
        for row in await connection.fetch(INSTANCES)
    }


async def lost_parents(connection: Connection, found: Collection[str]) -> Sequence[str]:
    """Say if there are rows that no Study and Series of one another have."""
    count = await connection.fetchval("SELECT count(*) FROM instance")
    return [f"{count - len(found)} rows are in no Study"] if count != len(found) else []


async def miscounted(connection: Connection) -> list[str]:
    """Say which counters are not what they count."""
    return [
        f"{what} {row[0]} are counted wrongly"
        for what, query in COUNTED.items()
        for row in await connection.fetch(query)
    ]


async def mislogged(connection: Connection, found: Mapping[str, Found]) -> list[str]:
    """Say where the log, read from its beginning, leads to other Instances than there are."""
    live: dict[str, str] = {}
    for row in await connection.fetch(EVENTS):
        payload = orjson.loads(row["payload"])
        for instances in payload.get("series", {}).values():
            for uid, digests in instances.items():
                if row["kind"] == "accepted":
                    live[uid] = digests[0]
                else:
                    live.pop(uid, None)
    kept = {uid: one.sha256.hex() for uid, one in found.items()}
    return [
        f"the log says that {uid} is {live.get(uid, 'not there')}, and it is {kept.get(uid)}"
        for uid in live.keys() | kept.keys()
        if live.get(uid) != kept.get(uid)
    ]


async def damaged(objects: ObjectStore, found: Mapping[str, Found]) -> list[str]:
    """Read every object, and say which are not what was stored."""
    said = []
    for one in found.values():
        digest = hashlib.sha256()
        try:
            async for chunk in await objects.stream(one.object_key):
                digest.update(chunk)
        except ArchiveError as error:
            said.append(f"the object of {one.instance} cannot be read: {error}")
            continue
        if digest.digest() != one.sha256:
            said.append(f"the object of {one.instance} is damaged")
    return said


def unlike(
    sent: Mapping[str, Sent], promises: Iterable[Promise], found: Mapping[str, Found]
) -> list[str]:
    """Compare what is there with what clients were told."""
    said = [f"{uid} was sent by nobody" for uid in found.keys() - sent.keys()]
    for uid, one in sent.items():
        if one.expected is Expected.PRESENT and uid not in found:
            said.append(f"{uid} was acknowledged and is lost")
        elif one.expected is Expected.ABSENT and uid in found:
            said.append(f"{uid} was removed or refused and is there")
        elif uid in found:
            said += found[uid].wrong(one)
    for promise in promises:
        there = len(promise.instances & found.keys())
        if there < promise.least:
            said.append(f"{promise.least} were counted as stored, and {there} are there")
    return said


async def look(
    url: str, objects: ObjectStore, sent: Mapping[str, Sent], promises: Iterable[Promise] = ()
) -> tuple[dict[str, Found], list[str]]:
    """Return all that is there, and all that is wrong with it."""
    async with looking(url) as connection:
        found = await find_instances(connection)
        said = unlike(sent, promises, found)
        said += await lost_parents(connection, found)
        said += await miscounted(connection)
        said += await mislogged(connection, found)
    return found, said + await damaged(objects, found)
