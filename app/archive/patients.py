"""Search for Patients, which DICOMweb has no resource for and DIMSE's Patient Root has a level.

A Patient matches that has a Study which meets all keys, whatever level they are of.
"""

from dataclasses import replace

from app.archive.context import Archive
from app.archive.looked_into import narrow
from app.archive.search import SearchResult
from app.dicom.attributes import Level
from app.dicom.matching import Query, is_returned, name_path
from app.dicom.patient_level import PATIENT_ATTRIBUTES, patient_answer
from app.errors import Forbidden
from app.index.patients import PatientRow, count_patients, find_patients
from app.rights import Principal, Verb


async def search_patients(archive: Archive, principal: Principal, query: Query) -> SearchResult:
    """Return the Patients of whom `principal` may see a Study that matches, by Patient ID.

    Raises:
        Forbidden: `principal` may not search.
        TooLarge: a key is not in the index and the others leave too much to look into.
        Unavailable: the index does not answer in time.
    """
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("searching is not allowed")
    index, scope = archive.index, principal.scope
    most, counted = archive.limits.search_results, archive.limits.counted_matches
    limit = most if query.limit is None else min(query.limit, most)
    warnings = (*query.warnings, *_ignored(query))
    query, among = await narrow(archive, scope, replace(query, level=Level.STUDY))
    found = await find_patients(index, scope, query, limit + 1, among)
    remaining = 0
    if len(found) > limit:
        skip = query.offset + limit
        remaining = await count_patients(index, scope, query, skip, counted, among)
    rows = [_answer(one, query) for one in found[:limit]]
    return SearchResult(rows, remaining, warnings, remaining >= counted)


def _answer(row: PatientRow, query: Query) -> str:
    counts = (row.studies, row.series, row.instances)
    return patient_answer(row.document, row.extra, counts, query.include, every=query.include_all)


def _ignored(query: Query) -> list[str]:
    """Say what was asked for that is no Patient's; of levels below Studies the query says it."""
    keys = {match.attribute.path[0] for match in query.matches}
    return [
        f"The includefield {name_path((tag,))} is not returned in a search for Patients and has"
        " been ignored."
        for tag in sorted(query.include - PATIENT_ATTRIBUTES - keys)
        if is_returned(tag, Level.STUDY)
    ]
