"""The Search transaction (PS3.18 §10.6)."""

import asyncio
from dataclasses import dataclass, replace

from app.archive.context import Archive
from app.archive.looked_into import narrow
from app.archive.search_answers import Answers
from app.dicom.matching import Query
from app.errors import Forbidden, TooLarge
from app.index.search import Among, Found, count_matches, find_matches
from app.rights import Principal, Scope, Verb

_WITHIN_STUDY = 20
"""A search within one Study may return so many times more: viewers ask for it whole."""
_METADATA_ROWS = 100
_MANY = 1000
"""Matches of all Studies that a viewer's list does not have on one page."""
_MOST_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Matches as JSON objects, how many more there are, and what of the request was not heeded.

    `remaining` is counted up to a limit of the archive; 0 if there are no more.
    """

    rows: list[str]
    remaining: int
    warnings: tuple[str, ...]
    at_least: bool = False
    """Whether there may be more than `remaining`."""


async def search(
    archive: Archive, principal: Principal, query: Query, base_url: str
) -> SearchResult:
    """Return what matches `query` and `principal` may see, newest Studies first.

    `base_url` is the DICOMweb base, absolute, for Retrieve URLs. There is always an end to what one
    answer holds, asked for or not; `remaining` tells what is beyond it.

    Raises:
        Forbidden: `principal` may not search.
        TooLarge: what is asked for would not fit in one answer, or a key is not in the index and
            the others leave too much to look into.
        Busy: it needs much, and so do too many others.
    """
    if Verb.SEARCH not in principal.verbs:
        raise Forbidden("searching is not allowed")
    most = archive.limits.search_results * (_WITHIN_STUDY if query.study else 1)
    limit = most if query.limit is None else min(query.limit, most)
    if not _is_wide(query, limit):
        return await _search(archive, principal, query, base_url, limit)
    async with archive.budgets.searches.turn():
        return await _search(archive, principal, query, base_url, limit)


def _is_wide(query: Query, limit: int) -> bool:
    """Say whether a search takes more than columns of the index, or returns very much."""
    everywhere = query.study is None and limit > _MANY
    return everywhere or query.include_all or query.wants_metadata() or bool(query.unindexed)


async def _search(
    archive: Archive, principal: Principal, query: Query, base_url: str, limit: int
) -> SearchResult:
    query, among = await narrow(archive, principal.scope, query)
    answers = Answers(query, base_url)
    rows = await _rows(archive, principal.scope, query, among, answers, limit + 1)
    remaining = 0
    if len(rows) > limit:
        remaining = await count_matches(
            archive.index,
            principal.scope,
            query,
            query.offset + limit,
            archive.limits.counted_matches,
            among,
        )
    at_least = remaining >= archive.limits.counted_matches
    return SearchResult(rows[:limit], remaining, query.warnings, at_least)


async def _rows(
    archive: Archive,
    scope: Scope,
    query: Query,
    among: Among | None,
    answers: Answers,
    most: int,
) -> list[str]:
    """Return up to `most` answers, those with Metadata in steps, so that their size is known."""
    step = _METADATA_ROWS if query.wants_metadata() else most
    rows: list[str] = []
    size = 0
    while len(rows) < most:
        page = replace(query, offset=query.offset + len(rows))
        asked = min(step, most - len(rows))
        found = await find_matches(archive.index, scope, page, asked, among)
        made = await _render(answers, found, query)
        size += sum(map(len, made))
        if size > _MOST_BYTES:
            raise TooLarge("the answer would be too large: ask for fewer matches with limit")
        rows += made
        if len(found) < asked:
            break
    return rows


async def _render(answers: Answers, found: list[Found], query: Query) -> list[str]:
    if query.wants_metadata():
        return await asyncio.to_thread(lambda: [answers.render(row) for row in found])
    return [answers.render(row) for row in found]
