"""Find or make the Patient, Study and Series of Instances that are about to be added.

The rows of Studies are locked first, in the order of their UIDs, and stay locked until the
transaction ends. So whoever changes a Study waits for its turn here, and what a Series has (its
dictionary above all) is the same for every process that adds to it. A row made here that gets no
Instance is removed again by `settle_parents`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from app.dicom.attributes import series_values, split_members, study_values
from app.dicom.scanned import ScannedInstance
from app.index.engine import Index
from app.index.faults import TryAgain
from app.index.packing import make_dictionary
from app.index.pool import Connection

MOST_KNOWN = 64
"""Series that are remembered between batches."""
CONFLICTS_KEPT = 20
"""Instances whose disagreement with their Study or Series is kept."""

LOCK_STUDIES = """
SELECT study.id, study_instance_uid, study.document, study.conflicts::text,
    series.id AS series_key, series_instance_uid, series.document AS series_document,
    series.conflicts::text AS series_conflicts, metadata_dictionary
FROM study LEFT JOIN series
    ON series.tenant_id = $1 AND study_key = study.id AND series_instance_uid = ANY($3)
WHERE study.tenant_id = $1 AND study_instance_uid = ANY($2)
ORDER BY study_instance_uid FOR NO KEY UPDATE OF study
"""

FIND_SERIES = """
SELECT id, document, conflicts::text, metadata_dictionary FROM series
WHERE tenant_id = $1 AND study_key = $2 AND series_instance_uid = $3
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
    "study": "UPDATE study SET conflicts = coalesce(conflicts, '{}') || $2::text::jsonb"
    " WHERE id = $1",
    "series": "UPDATE series SET conflicts = coalesce(conflicts, '{}') || $2::text::jsonb"
    " WHERE id = $1",
}

REMOVE_EMPTY = {
    "study": "DELETE FROM study WHERE id = ANY($1) AND number_of_instances = 0",
    "series": "DELETE FROM series WHERE id = ANY($1) AND number_of_instances = 0",
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
    gained: bool = False
    """Whether Instances were added to it now."""
    found: dict[str, list[str]] = field(default_factory=dict)

    def gain(self, sop_instance_uid: str, document: str) -> None:
        """Note that an Instance was added, and which tags it has otherwise than the first one."""
        self.gained = True
        if document == self.document or self.conflicts + len(self.found) >= CONFLICTS_KEPT:
            return
        differing = set(split_members(document)) ^ set(split_members(self.document))
        self.found[sop_instance_uid] = sorted({member[1:9] for member in differing})


@dataclass(slots=True)
class Parents:
    """The Studies of a batch by UID, and its Series.

    `written`: values of chosen attributes were added with their Instances.
    """

    studies: dict[str, Parent]
    series: dict[SeriesName, Parent]
    written: bool = False


async def find_parents(
    connection: Connection, tenant_id: int, first: Mapping[SeriesName, ScannedInstance]
) -> Parents:
    """Lock the Studies of a batch and return them with its Series.

    What is missing is made from the Instance that `first` has for each Series; a Study's is that
    of the first Series in it.
    """
    parents = await _lock(connection, tenant_id, first)
    missing = {
        study: scanned
        for (study, _), scanned in reversed(list(first.items()))
        if study not in parents.studies
    }
    if missing:
        parents.studies.update(await _create_studies(connection, tenant_id, missing))
    for name in sorted(first.keys() - parents.series.keys()):
        keys = (tenant_id, parents.studies[name[0]].key, name[1])
        parents.series[name] = await _create_series(connection, keys, first[name])
    return parents


async def settle_parents(connection: Connection, parents: Parents) -> None:
    """Keep the conflicts that were found, remove what was made in vain, count new Studies."""
    await _settle(connection, "series", parents.series.values())
    created = await _settle(connection, "study", parents.studies.values())
    if created:
        studied = Counter(parent.patient_key for parent in created)
        await connection.execute(COUNT_STUDIES, list(studied), list(studied.values()))


async def _settle(connection: Connection, table: str, parents: Iterable[Parent]) -> list[Parent]:
    """Return those that are new."""
    created, in_vain = [], []
    for parent in parents:
        if parent.found:
            found = orjson.dumps(parent.found).decode()
            await connection.execute(KEEP_CONFLICTS[table], parent.key, found)
        if parent.created and parent.gained:
            created.append(parent)
        elif parent.created:
            in_vain.append(parent.key)
    if in_vain:
        await connection.execute(REMOVE_EMPTY[table], in_vain)
    return created


async def _lock(connection: Connection, tenant_id: int, names: Iterable[SeriesName]) -> Parents:
    wanted = list(names)
    studies, series = ({name[level] for name in wanted} for level in (0, 1))
    rows = await connection.fetch(LOCK_STUDIES, tenant_id, list(studies), list(series))
    parents = Parents({}, {})
    for row in rows:
        uid = row["study_instance_uid"]
        parents.studies[uid] = _parent(row["id"], row["document"], row["conflicts"])
        if row["series_key"] is not None:
            parents.series[uid, row["series_instance_uid"]] = _parent(
                row["series_key"],
                row["series_document"],
                row["series_conflicts"],
                row["metadata_dictionary"],
            )
    return parents


async def _create_studies(
    connection: Connection, tenant_id: int, first: Mapping[str, ScannedInstance]
) -> dict[str, Parent]:
    values = {uid: study_values(scanned.fragments) for uid, scanned in sorted(first.items())}
    patients = await find_patients(connection, tenant_id, map(_patient, values.values()))
    made: dict[str, Parent] = {}
    for uid, columns in values.items():
        patient_key = patients[_patient(columns)]
        keys = {"tenant_id": tenant_id, "patient_key": patient_key, "study_instance_uid": uid}
        searched = _searched(first[uid])
        key = await _insert(connection, "study", {**keys, **columns, **searched})
        if key is not None:
            document = str(columns["document"])
            made[uid] = Parent(key, document, patient_key=patient_key, created=True)
    others = first.keys() - made.keys()
    if others:  # another process was faster
        made |= (await _lock(connection, tenant_id, ((uid, "") for uid in others))).studies
    if len(made) < len(first):
        raise TryAgain("a Study was removed while Instances were added to it")
    return made


def _searched(scanned: ScannedInstance) -> dict[str, list[str]]:
    """Return the first values of columns that grow later.

    They are in indexes: a new Study that had none would be indexed twice.
    """
    modality = str(series_values(scanned.fragments)["modality"])
    return {"modalities": [modality] if modality else []}


async def find_patients(
    connection: Connection, tenant_id: int, wanted: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the keys of Patients by ID and issuer; those that are not there are made."""
    names = sorted(set(wanted))
    columns = [list(column) for column in zip(*names, strict=True)]
    rows = await connection.fetch(FIND_PATIENTS, tenant_id, *columns)
    if len(rows) < len(names):
        await connection.execute(ADD_PATIENTS, tenant_id, *columns)
        rows = await connection.fetch(FIND_PATIENTS, tenant_id, *columns)
    if len(rows) < len(names):
        raise TryAgain("a Patient was removed while a Study was added to it")
    return {(row["patient_id"], row["issuer_of_patient_id"]): row["id"] for row in rows}


async def _create_series(
    connection: Connection, keys: tuple[int, int, str], scanned: ScannedInstance
) -> Parent:
    columns, dictionary = series_values(scanned.fragments), make_dictionary(scanned.metadata)
    values = {
        **dict(zip(("tenant_id", "study_key", "series_instance_uid"), keys, strict=True)),
        **columns,
        "metadata_dictionary": dictionary,
    }
    key = await _insert(connection, "series", values)
    if key is not None:
        return Parent(key, str(columns["document"]), dictionary=dictionary, created=True)
    # made by a process that held the lock on the Study before us
    row = await connection.fetchrow(FIND_SERIES, *keys)
    if row is None:
        raise TryAgain("a Series was removed while Instances were added to it")
    return _parent(*row.values())


async def _insert(connection: Connection, table: str, values: Mapping[str, object]) -> int | None:
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


def _parent(key: int, document: str, conflicts: str | None, dictionary: bytes = b"") -> Parent:
    return Parent(key, document, len(orjson.loads(conflicts or "{}")), dictionary)


def remember(index: Index, tenant_id: int, parents: Parents) -> None:
    """Remember the Series that got Instances, with their keys, for the batches that follow."""
    if parents.written:
        return
    for name, series in parents.series.items():
        if series.gained:
            studies = {name[0]: parents.studies[name[0]]}
            index.known[tenant_id, *name] = Parents(studies, {name: series})
    while len(index.known) > MOST_KNOWN:
        index.known.popitem(last=False)
