"""The use case of searching: who may, how much, and what is told of the rest."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.archive import search as search_module
from app.archive.context import Archive
from app.archive.search import SearchResult, search
from app.dicom.attributes import Level
from app.dicom.limits import Limits
from app.dicom.matching import Query
from app.dicomweb.query import read_query
from app.errors import Forbidden, TooLarge
from app.index.instances import add_instances
from app.rights import Principal, Scope, Verb
from tests.factories import make_series, new_uid
from tests.index_factories import make_new_instance

BASE = "https://archive.example/dicom-web"


async def fill(archive: Archive, *studies: str, count: int = 1) -> None:
    """Store one Series of `count` Instances in each Study."""
    new = [
        make_new_instance(dataset)
        for study in studies
        for dataset in make_series(count, StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
    ]
    async with archive.index.writing() as connection:
        await add_instances(connection, 1, "test", new)


async def ask(
    archive: Archive,
    query: Query,
    principal: Principal = Principal("test"),  # noqa: B008
) -> SearchResult:
    return await search(archive, principal, query, BASE)


def keys(result: SearchResult, tag: str) -> list[Any]:
    return [orjson.loads(row)[tag]["Value"][0] for row in result.rows]


def limited(archive: Archive, **limits: int) -> Archive:
    return replace(archive, limits=replace(Limits(), **limits))


async def test_who_may_not_search_is_refused(archive: Archive) -> None:
    viewer = Principal("viewer", verbs=frozenset({Verb.VIEW}))
    with pytest.raises(Forbidden):
        await ask(archive, Query(Level.STUDY), viewer)


async def test_nobody_learns_of_studies_outside_their_scope(archive: Archive) -> None:
    one, other = new_uid(), new_uid()
    await fill(archive, one, other)
    caller = Principal("caller", Scope(studies=frozenset({one})))
    result = await ask(archive, Query(Level.STUDY, limit=0), caller)
    assert (result.rows, result.remaining) == ([], 1)
    assert keys(await ask(archive, Query(Level.INSTANCE), caller), "0020000D") == [one]


async def test_an_answer_has_an_end_that_is_told(archive: Archive) -> None:
    await fill(archive, *(new_uid() for _ in range(5)))
    small = limited(archive, search_results=2)
    assert [
        len((await ask(small, query)).rows)
        for query in (
            Query(Level.STUDY),
            Query(Level.STUDY, limit=1),
            Query(Level.STUDY, limit=100),
            Query(Level.STUDY, offset=4),
        )
    ] == [2, 1, 2, 1]
    assert (await ask(small, Query(Level.STUDY))).remaining == 3
    assert (await ask(small, Query(Level.STUDY, offset=3))).remaining == 0
    bounded = limited(archive, search_results=2, counted_matches=2)
    assert (await ask(bounded, Query(Level.STUDY))).remaining == 2


async def test_a_study_is_given_whole_to_those_who_name_no_limit(archive: Archive) -> None:
    study = new_uid()
    await fill(archive, study, count=5)
    result = await ask(limited(archive, search_results=2), Query(Level.INSTANCE, study=study))
    assert len(result.rows) == 5


async def test_answers_with_metadata_are_made_in_steps(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_uid()
    await fill(archive, study, count=7)
    monkeypatch.setattr(search_module, "_METADATA_ROWS", 3)
    query = Query(Level.INSTANCE, study=study, include_all=True, offset=1)
    result = await ask(archive, query)
    assert keys(result, "00200013") == [2, 3, 4, 5, 6, 7]
    assert keys(result, "00201041") == [5.0, 7.5, 10.0, 12.5, 15.0, 17.5]
    result = await ask(archive, replace(query, limit=4))
    assert (len(result.rows), result.remaining) == (4, 2)


async def test_an_answer_that_would_be_too_large_is_refused(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_uid()
    await fill(archive, study, count=3)
    monkeypatch.setattr(search_module, "_MOST_BYTES", 5000)
    with pytest.raises(TooLarge, match="limit"):
        await ask(archive, Query(Level.INSTANCE, study=study, include_all=True))


async def test_counters_follow_what_is_stored(archive: Archive) -> None:
    study = new_uid()
    await fill(archive, study)
    assert keys(await ask(archive, Query(Level.STUDY)), "00201208") == [1]
    await fill(archive, study, count=2)
    assert keys(await ask(archive, Query(Level.STUDY)), "00201208") == [3]


@pytest.mark.parametrize("level", Level)
async def test_addresses_begin_with_the_base_that_was_given(archive: Archive, level: Level) -> None:
    study = new_uid()
    await fill(archive, study)
    (url,) = keys(await ask(archive, Query(level)), "00081190")
    assert url.startswith(f"{BASE}/studies/{study}")


async def test_warnings_of_the_request_come_back(archive: Archive) -> None:
    query = read_query(b"colour=blue", Level.STUDY)
    assert (await ask(archive, query)).warnings == query.warnings != ()


async def test_every_row_is_json_in_tag_order_whatever_is_asked_for(archive: Archive) -> None:
    study = new_uid()
    await fill(archive, study, count=2)
    for text in ("", "includefield=all", "includefield=PatientAge,ProtocolName,KVP,00201200"):
        for level in Level:
            for row in (await ask(archive, read_query(text.encode(), level))).rows:
                tags = list(orjson.loads(row))
                assert tags == sorted(set(tags)), (text, level)
