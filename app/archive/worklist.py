"""The modality worklist: steps are scheduled, searched and taken off (PS3.18 chapter 14).

A step that the modality has done or given up is on the list no more; a search that asks for
statuses finds it. Steps are the order system's: the archive keeps them, and shows how far they are.
"""

import asyncio
from collections.abc import Sequence

from app.archive.context import Archive
from app.archive.search import SearchResult
from app.dicom.any_attribute import meets
from app.dicom.folding import clean_date, clean_text
from app.dicom.matching import Query
from app.dicom.rules import Match
from app.dicom.scheduled_step import ScheduledStep, step_answer, step_dataset
from app.dicom.uids import check_uid
from app.errors import Forbidden, InvalidAttribute, InvalidRequest, TooLarge
from app.index import worklist as index_worklist
from app.index.access import covered_studies
from app.index.worklist import StepRow, count_steps, find_steps, is_indexed
from app.rights import Principal, Verb

MOST = 1_000
"""Steps of one request."""
_PORTION = 200
_MOST_BYTES = 128 * 2**20
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
    studies = {one.study_instance_uid for one in steps}
    if hidden := studies - await covered_studies(archive.index, principal.scope, studies):
        raise Forbidden(f"Study {min(hidden)} is not yours")
    tenant_id = principal.scope.tenant_id
    return await index_worklist.put_steps(archive.index, tenant_id, principal.signature, steps)


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
    scope, name = principal.scope, principal.signature
    named = check_uid(study), clean_text(step_id)
    await index_worklist.remove_step(archive.index, scope, name, *named)


async def forget_steps(archive: Archive, principal: Principal, before: str) -> int:
    """Take all steps that were to begin before a day (YYYYMMDD), over or not, off the worklist.

    Return how many there were.

    Raises:
        Forbidden: `principal` may not administer.
        InvalidRequest: it is no day.
        Unavailable: the index does not answer.
    """
    if not principal.administers_all:
        raise Forbidden("Forgetting steps is for administrators")
    day = clean_date(before)
    if not day:
        raise InvalidRequest(f"A day such as 20260131 was expected, not {before[:20]!r}")
    tenant_id, gone = principal.scope.tenant_id, 0
    while some := await index_worklist.forget_steps(
        archive.index, tenant_id, principal.signature, day, MOST
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
    named = check_uid(study), clean_text(step_id)
    found = await index_worklist.find_step(archive.index, principal.scope, *named)
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
    texts, count = await _found(archive, principal, query, limit)
    counted = archive.limits.counted_matches
    remaining = min(max(count - limit, 0), counted)
    if remaining and all(map(is_indexed, query.matches)):
        skip = query.offset + limit
        scope = principal.scope
        remaining = await count_steps(archive.index, scope, query.matches, skip, counted)
    return SearchResult(texts, remaining, warnings, remaining >= counted)


async def _found(
    archive: Archive, principal: Principal, query: Query, limit: int
) -> tuple[list[str], int]:
    """Return the answers of a page, and how many steps match from its first on, as far as seen.

    Where the index answers for all keys it skips what is before the page; else each step that it
    leaves is looked into. Either way they are read in portions.
    """
    looked = [match for match in query.matches if not is_indexed(match)]
    most = archive.limits.looked_into if looked else limit
    start, wanted = (0, query.offset) if looked else (query.offset, 0)
    texts: list[str] = []
    seen = count = 0
    while seen <= most:
        asked = min(_PORTION, most + 1 - seen)
        rows = await find_steps(archive.index, principal.scope, query.matches, start + seen, asked)
        seen += len(rows)
        if looked and seen > most:
            raise TooLarge(_too_many(looked, most))
        page = range(wanted - count, wanted - count + limit)
        matched, made = await asyncio.to_thread(_answers, rows, query, looked, page)
        count += matched
        texts += made
        if sum(map(len, texts)) > _MOST_BYTES:
            raise TooLarge("the answer would be too large: ask for fewer matches with limit")
        if len(rows) < asked:
            break
    return texts, count - wanted


def _answers(
    rows: Sequence[StepRow], query: Query, looked: Sequence[Match], page: range
) -> tuple[int, list[str]]:
    """Return how many steps meet what is looked into, and the answers of those in the page."""
    creators = dict(query.creators)
    count, texts = 0, []
    for row in rows:
        dataset = step_dataset(row.document, row.status)
        if all(meets(dataset, match, creators) for match in looked):
            if count in page:
                texts.append(step_answer(dataset, query.include, every=query.include_all))
            count += 1
    return count, texts


def _too_many(looked: Sequence[Match], most: int) -> str:
    words = ", ".join(match.attribute.keyword for match in looked)
    return (
        f"{words} is not in the index, and this search leaves more than {most} steps to look into: "
        "give a date, a station or another key"
    )


def _check_search(principal: Principal) -> None:
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("Searching is not allowed to you")
