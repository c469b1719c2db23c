"""The modality worklist: steps are scheduled, searched and taken off (PS3.18 chapter 14).

A step that the modality has done or given up is on the list no more; a search that asks for
statuses finds it. Steps are the order system's: the archive keeps them, and shows how far they are.
"""

import asyncio
from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.search import SearchResult
from app.dicom.any_attribute import meets
from app.dicom.folding import clean_date
from app.dicom.matching import Query
from app.dicom.rules import Match
from app.dicom.scheduled_step import ScheduledStep, step_answer, step_dataset
from app.dicom.uids import check_uid
from app.errors import Forbidden, InvalidAttribute, InvalidRequest, TooLarge
from app.index import worklist as index_worklist
from app.index.worklist import StepRow, count_steps, find_steps, is_indexed
from app.rights import Principal, Verb

MOST = 1_000
"""Steps of one request."""
_ZONE = "TimezoneOffsetFromUTC is not heeded: dates and times of steps are taken as they are."


async def schedule_steps(
    archive: Archive, principal: Principal, steps: Sequence[ScheduledStep]
) -> list[bool]:
    """Put steps on the worklist, all of them or none; say of each whether it is new.

    Raises:
        Forbidden: `principal` may not store, or may not see a Study.
        InvalidAttribute: there are too many, or one stands twice.
        Unavailable: the index does not answer.
    """
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Scheduling is for those who may store")
    if len(steps) > MOST:
        raise InvalidAttribute(f"Up to {MOST} steps at once were expected")
    if len({(one.study_instance_uid, one.step_id) for one in steps}) < len(steps):
        raise InvalidAttribute("A step stands twice in one request")
    for one in steps:
        if not principal.scope.covers(one.study_instance_uid):
            raise Forbidden(f"Study {one.study_instance_uid} is not yours")
    tenant_id = principal.scope.tenant_id
    return await index_worklist.put_steps(archive.index, tenant_id, principal.name, steps)


async def unschedule_step(archive: Archive, principal: Principal, study: str, step_id: str) -> None:
    """Take a step off the worklist.

    Raises:
        Forbidden: `principal` may not store.
        InvalidUID: `study` is none.
        NotFound: there is no such step, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Scheduling is for those who may store")
    scope, name = principal.scope, principal.name
    await index_worklist.remove_step(archive.index, scope, name, check_uid(study), step_id)


async def forget_steps(archive: Archive, principal: Principal, before: str) -> int:
    """Take all steps that were to begin before a day (YYYYMMDD), over or not, off the worklist.

    Return how many there were.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: it is no day.
        Unavailable: the index does not answer.
    """
    if Verb.ADMINISTER not in principal.verbs:
        raise Forbidden("Forgetting steps is for administrators")
    day = clean_date(before)
    if not day:
        raise InvalidRequest(f"A day such as 20260131 was expected, not {before[:20]!r}")
    tenant_id, gone = principal.scope.tenant_id, 0
    while some := await index_worklist.forget_steps(
        archive.index, tenant_id, principal.name, day, MOST
    ):
        gone += some
    return gone


async def find_step(archive: Archive, principal: Principal, study: str, step_id: str) -> str:
    """Return one step as DICOM JSON, all of it.

    Raises:
        Forbidden: `principal` may not search.
        InvalidUID: `study` is none.
        NotFound: there is no such step, or `principal` may not see it.
        Unavailable: the index does not answer.
    """
    _check_search(principal)
    found = await index_worklist.find_step(
        archive.index, principal.scope, check_uid(study), step_id
    )
    return step_answer(step_dataset(found.document, found.status), frozenset(), every=True)


async def search_steps(archive: Archive, principal: Principal, query: Query) -> SearchResult:
    """Return the steps that match, the next to begin first.

    Raises:
        Forbidden: `principal` may not search.
        TooLarge: a key is not in the index, and the others leave too many steps to look into.
        Unavailable: the index does not answer in time.
    """
    _check_search(principal)
    most = archive.limits.search_results
    limit = most if query.limit is None else min(query.limit, most)
    warnings = query.warnings if query.zone is None else (*query.warnings, _ZONE)
    looked = [match for match in query.matches if not is_indexed(match)]
    index, scope, counted = archive.index, principal.scope, archive.limits.counted_matches
    if looked:
        found = await _look(archive, principal, query, looked)
        rows = found[query.offset : query.offset + limit]
        remaining = min(max(len(found) - query.offset - limit, 0), counted)
    else:
        rows = await find_steps(index, scope, query.matches, query.offset, limit + 1)
        remaining = 0
        if len(rows) > limit:
            skip = query.offset + limit
            remaining = await count_steps(index, scope, query.matches, skip, counted)
    texts = await asyncio.to_thread(_answers, rows[:limit], query)
    return SearchResult(texts, remaining, warnings, remaining >= counted)


async def _look(
    archive: Archive, principal: Principal, query: Query, looked: Sequence[Match]
) -> list[StepRow]:
    """Return the steps that meet all matches, those without a column by their Data Sets."""
    most = archive.limits.looked_into
    rows = await find_steps(archive.index, principal.scope, query.matches, 0, most + 1)
    if len(rows) > most:
        words = ", ".join(match.attribute.keyword for match in looked)
        raise TooLarge(
            f"{words} is not in the index, and this search leaves more than {most} steps to look "
            "into: give a date, a station or another key"
        )
    creators = dict(query.creators)

    def met() -> list[StepRow]:
        return [
            row
            for row in rows
            if all(
                meets(step_dataset(row.document, row.status), match, creators) for match in looked
            )
        ]

    return await asyncio.to_thread(met)


def _answers(rows: Sequence[StepRow], query: Query) -> list[str]:
    every, asked = query.include_all, query.include
    return [step_answer(step_dataset(row.document, row.status), asked, every=every) for row in rows]


def _check_search(principal: Principal) -> None:
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")
