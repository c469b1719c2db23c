"""Patients by their Studies: who has a Study that meets a query, in the order of Patient IDs.

A Patient is a Patient ID and its issuer. What is said of one is what the newest of the Studies that
match says; counts are of all its Studies that the caller may see. Studies without a Patient ID are
of one Patient, who has none.
"""

from dataclasses import replace
from typing import NamedTuple

from app.dicom.attributes import Level
from app.dicom.matching import Query
from app.index.conditions import Arguments
from app.index.engine import Index
from app.index.search import Among, matching
from app.rights import Scope

_ORDER = "p.patient_id, p.issuer_of_patient_id"
_NEWEST = "s.study_date DESC, s.study_time DESC, s.study_instance_uid"
_COUNTS = """
SELECT count(*)::bigint AS studies, sum(s.number_of_series)::bigint AS series,
    sum(s.number_of_instances)::bigint AS instances
FROM study s WHERE s.patient_key = p.id AND {visible}
"""


class PatientRow(NamedTuple):
    """A Patient: what is kept of the newest Study that matches, and how much there is."""

    document: str
    extra: str
    studies: int
    series: int
    instances: int


async def find_patients(
    index: Index, scope: Scope, query: Query, most: int, among: Among | None = None
) -> list[PatientRow]:
    """Return up to `most` Patients from the query's offset on; `among` is as in `find_matches`.

    Raises:
        Unavailable: the index does not answer in time.
    """
    arguments = Arguments(scope, query.zone)
    studies = f"{_studies(query, arguments, among)} AND s.patient_key = p.id"
    place = f"OFFSET {arguments.add(query.offset)} LIMIT {arguments.add(most)}"
    # keys first, so that only those of the page are looked into
    page = f"{_having(studies)} ORDER BY {_ORDER} {place}"
    counts = _COUNTS.format(visible=arguments.visible("s"))
    newest = f"SELECT s.document, s.extra FROM {studies} ORDER BY {_NEWEST} LIMIT 1"  # noqa: S608
    statement = (
        f"SELECT said.document, said.extra, counted.* FROM patient p"  # noqa: S608
        f" CROSS JOIN LATERAL ({newest}) AS said CROSS JOIN LATERAL ({counts}) AS counted"
        f" WHERE p.id IN (SELECT p.id {page}) ORDER BY {_ORDER}"
    )
    return [PatientRow(*row) for row in await index.search(statement, *arguments)]


async def count_patients(
    index: Index, scope: Scope, query: Query, skip: int, most: int, among: Among | None = None
) -> int:
    """Return how many Patients match after the first `skip`, counted up to `most`.

    Raises:
        Unavailable: the index does not answer in time.
    """
    arguments = Arguments(scope, query.zone)
    studies = f"{_studies(query, arguments, among)} AND s.patient_key = p.id"
    place = f"OFFSET {arguments.add(skip)} LIMIT {arguments.add(most)}"
    found = f"SELECT {_having(studies)} {place}"
    rows = await index.search(f"SELECT count(*) FROM ({found}) AS found", *arguments)  # noqa: S608
    return int(rows[0][0])


def _studies(query: Query, arguments: Arguments, among: Among | None) -> str:
    return matching(replace(query, level=Level.STUDY), arguments, among)


def _having(studies: str) -> str:
    return f"FROM patient p WHERE p.tenant_id = $1 AND EXISTS (SELECT FROM {studies})"
