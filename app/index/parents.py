"""Find or make the Patient, Study and Series of Instances that are about to be added.

The rows of Studies are locked first, in the order of their UIDs, and stay locked until the
transaction ends. So whoever changes a Study waits for its turn here, and what a Series has (its
dictionary above all) is the same for every process that adds to it. A row made here that gets no
Instance is removed again by `remove_empty`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import orjson

from app.dicom.attributes import series_values, split_members, study_values
from app.dicom.scanned import ScannedInstance
from app.index.engine import Session, TryAgain
from app.index.packing import make_dictionary

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

CONFLICTS_KEPT = 20
"""Instances whose disagreement with their Study or Series is kept."""

LOCK_STUDIES = """
SELECT id, study_instance_uid AS uid, document, conflicts::text FROM study
WHERE tenant_id = $1 AND study_instance_uid = ANY($2)
ORDER BY study_instance_uid FOR NO KEY UPDATE
"""

FIND_SERIES = """
SELECT series.id, study_key, series_instance_uid AS uid, document, conflicts::text, metadata_dictionary
FROM unnest($2::bigint[], $3::text[]) AS wanted (study, uid)
JOIN series ON tenant_id = $1 AND study_key = study AND series_instance_uid = uid
"""

ADD_PATIENTS = """
INSERT INTO patient (tenant_id, patient_id, issuer_of_patient_id)
SELECT $1, id, issuer FROM unnest($2::text[], $3::text[]) AS new (id, issuer) ORDER BY id, issuer
ON CONFLICT (tenant_id, patient_id, issuer_of_patient_id) DO NOTHING
"""

FIND_PATIENTS = """
SELECT id, patient_id, issuer_of_patient_id
FROM unnest($2::text[], $3::text[]) AS wanted (patient, issuer)
JOIN patient ON tenant_id = $1 AND patient_id = patient AND issuer_of_patient_id = issuer
"""

COUNT_STUDIES = """
UPDATE patient SET number_of_studies = number_of_studies + added FROM (
    SELECT id, added FROM unnest($1::bigint[], $2::integer[]) AS change (key, added)
    JOIN patient ON id = key ORDER BY id FOR NO KEY UPDATE OF patient
) AS locked WHERE patient.id = locked.id
"""

KEEP_CONFLICTS = {
    "study": "UPDATE study SET conflicts = coalesce(conflicts, '{}') || $2::text::jsonb WHERE id = $1",
    "series": "UPDATE series SET conflicts = coalesce(conflicts, '{}') || $2::text::jsonb WHERE id = $1",
}

REMOVE_EMPTY = {
    "study": "DELETE FROM study WHERE id = ANY($1) AND number_of_instances = 0 RETURNING id",
    "series": "DELETE FROM series WHERE id = ANY($1) AND number_of_instances = 0 RETURNING id",
}

SeriesName: TypeAlias = tuple[str, str]
"""The UIDs of a Study and of a Series in it."""


@dataclass(slots=True)
class Parent:
    """The row of a Study or Series and what is found to disagree with it."""

    key: int
    document: str
    conflicts: int = 0
    dictionary: bytes = b""
    patient_key: int = 0
    created: bool = False
    found: dict[str, list[str]] = field(default_factory=dict)

    def compare(self, sop_instance_uid: str, document: str) -> None:
        """Note which tags of an Instance's document differ from those of the first one stored."""
        if document == self.document or self.conflicts + len(self.found) >= CONFLICTS_KEPT:
            return
        differing = set(split_members(document)) ^ set(split_members(self.document))
        self.found[sop_instance_uid] = sorted({member[1:9] for member in differing})


async def lock_studies(
    session: Session, tenant_id: int, first: Mapping[str, ScannedInstance]
) -> dict[str, Parent]:
    """Return the locked Studies by UID; `first` has the Instance that a new one is made from."""
    uids = sorted(first)
    # The one statement that goes through SQLAlchemy: it opens the transaction.
    rows = (await session.exec_driver_sql(LOCK_STUDIES, (tenant_id, uids))).mappings().all()
    found = {row["uid"]: _parent(row) for row in rows}
    if len(found) < len(uids):
        connection = await driver(session)
        missing = {uid: first[uid] for uid in uids if uid not in found}
        found |= await _create_studies(connection, tenant_id, missing)
    return found


async def find_series(
    session: Session,
    tenant_id: int,
    first: Mapping[SeriesName, ScannedInstance],
    studies: Mapping[str, Parent],
) -> dict[SeriesName, Parent]:
    """Return the Series of locked Studies; those that are missing are made from `first`."""
    connection = await driver(session)
    uids = {study.key: uid for uid, study in studies.items()}
    keys = [studies[study].key for study, _ in first]
    rows = await connection.fetch(FIND_SERIES, tenant_id, keys, [uid for _, uid in first])
    found = {(uids[row["study_key"]], row["uid"]): _parent(row) for row in rows}
    for name in sorted(first.keys() - found.keys()):
        parents = {
            "tenant_id": tenant_id,
            "study_key": studies[name[0]].key,
            "series_instance_uid": name[1],
        }
        found[name] = await _create_series(connection, parents, first[name])
    return found


async def settle_parents(
    session: Session, studies: Iterable[Parent], series: Iterable[Parent]
) -> None:
    """Keep the conflicts that were found, count new Studies, remove what stayed empty."""
    connection = await driver(session)
    for table, parents in (("series", list(series)), ("study", list(studies))):
        for parent in parents:
            if parent.found:
                kept = orjson.dumps(parent.found).decode()
                await connection.execute(KEEP_CONFLICTS[table], parent.key, kept)
        created = {parent.key: parent for parent in parents if parent.created}
        if created:
            for row in await connection.fetch(REMOVE_EMPTY[table], list(created)):
                del created[row["id"]]
        studied = Counter(parent.patient_key for parent in created.values() if parent.patient_key)
        if studied:
            await connection.execute(COUNT_STUDIES, list(studied), list(studied.values()))


async def driver(session: Session) -> "Connection":
    """Return the asyncpg connection that carries the Session's transaction."""
    adapted = await session.get_raw_connection()
    return cast("Connection", adapted.driver_connection)


async def _create_studies(
    connection: "Connection", tenant_id: int, first: Mapping[str, ScannedInstance]
) -> dict[str, Parent]:
    values = {uid: study_values(scanned.fragments) for uid, scanned in first.items()}
    patients = await _find_patients(connection, tenant_id, map(_patient, values.values()))
    made: dict[str, Parent] = {}
    for uid, columns in values.items():
        patient_key = patients[_patient(columns)]
        parents = {"tenant_id": tenant_id, "patient_key": patient_key, "study_instance_uid": uid}
        key = await _insert(connection, "study", {**parents, **columns})
        if key is not None:
            document = str(columns["document"])
            made[uid] = Parent(key, document, patient_key=patient_key, created=True)
    if len(made) < len(first):  # another process was faster
        others = [uid for uid in first if uid not in made]
        rows = await connection.fetch(LOCK_STUDIES, tenant_id, others)
        made |= {row["uid"]: _parent(row) for row in rows}
    if len(made) < len(first):
        raise TryAgain("a Study was removed while Instances were added to it")
    return made


async def _find_patients(
    connection: "Connection", tenant_id: int, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    names = sorted(set(wanted))
    columns = [list(column) for column in zip(*names, strict=True)]
    await connection.execute(ADD_PATIENTS, tenant_id, *columns)
    rows = await connection.fetch(FIND_PATIENTS, tenant_id, *columns)
    if len(rows) < len(names):
        raise TryAgain("a Patient was removed while a Study was added to it")
    return {(row["patient_id"], row["issuer_of_patient_id"]): row["id"] for row in rows}


async def _create_series(
    connection: "Connection",
    parents: Mapping[str, object],
    scanned: ScannedInstance,
) -> Parent:
    columns = series_values(scanned.fragments)
    dictionary = make_dictionary(scanned.metadata)
    values = {**parents, **columns, "metadata_dictionary": dictionary}
    key = await _insert(connection, "series", values)
    if key is None:
        raise TryAgain("a Series was made by a process that did not lock its Study")
    return Parent(key, str(columns["document"]), dictionary=dictionary, created=True)


async def _insert(connection: "Connection", table: str, values: Mapping[str, object]) -> int | None:
    """Return the new row's key, None if its unique key is taken."""
    names = ", ".join(values)
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    statement = (
        f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 - our own names
        " ON CONFLICT DO NOTHING RETURNING id"
    )
    key: int | None = await connection.fetchval(statement, *values.values())
    return key


def _patient(columns: Mapping[str, Any]) -> tuple[str, str]:
    return columns["patient_id"], columns["issuer_of_patient_id"]


def _parent(row: Any) -> Parent:
    conflicts = orjson.loads(row["conflicts"] or "{}")
    dictionary = row.get("metadata_dictionary", b"")
    return Parent(row["id"], row["document"], len(conflicts), dictionary)
