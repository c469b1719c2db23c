"""Several writers at once, on connections of their own, as processes have them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace

import orjson
import pytest

from app.errors import InvalidDataset, Unavailable
from app.index.engine import Index, connect, open_index
from app.index.instances import NewInstance, add_each_instance
from app.index.packing import unpack_metadata
from app.index.present import Present
from tests.factories import make_series, new_uid
from tests.index_factories import make_new_instance

Results = list[Present | InvalidDataset | None]

SUMS = """
SELECT
    (SELECT count(*) FROM study) AS studies,
    (SELECT count(*) FROM series) AS series,
    (SELECT count(*) FROM instance) AS instances,
    (SELECT coalesce(sum(size), 0) FROM instance) AS bytes
"""

KILL_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND backend_type = 'client backend' AND xact_start IS NOT NULL
ORDER BY random() LIMIT 1
"""

WRONG = """
SELECT 'study', study.id FROM study WHERE
    number_of_instances <> (SELECT count(*) FROM instance WHERE study_key = study.id)
    OR number_of_series <> (SELECT count(*) FROM series WHERE study_key = study.id)
    OR size <> (SELECT sum(size) FROM instance WHERE study_key = study.id)
    OR sop_classes <> ARRAY(SELECT DISTINCT sop_class_uid FROM instance
        WHERE study_key = study.id ORDER BY 1)
    OR modalities <> ARRAY(SELECT DISTINCT modality FROM series
        WHERE study_key = study.id AND modality <> '' ORDER BY 1)
UNION ALL SELECT 'series', series.id FROM series WHERE
    number_of_instances <> (SELECT count(*) FROM instance WHERE series_key = series.id)
UNION ALL SELECT 'patient', patient.id FROM patient WHERE
    number_of_studies <> (SELECT count(*) FROM study WHERE patient_key = patient.id)
"""


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[list[Index]]:
    """Four indexes on one database."""
    opened = [await open_index(database_url, pool_size=1) for _ in range(4)]
    yield opened
    for each in opened:
        await each.close()


async def add(index: Index, new: Sequence[NewInstance]) -> Results:
    return await add_each_instance(index, 1, "tester", new)


async def add_singly(index: Index, new: Sequence[NewInstance]) -> Results:
    return [result for one in new for result in await add(index, [one])]


async def check_sums(index: Index, instances: int) -> None:
    """All that is counted equals what is there, and each Instance was logged once."""
    assert await index.fetch(WRONG) == []
    (there,) = await index.fetch(SUMS)
    (tally,) = await index.fetch(
        "SELECT sum(studies), sum(series), sum(instances), sum(bytes) FROM tally"
    )
    assert tuple(tally) == tuple(there)
    assert there["instances"] == instances
    logged = [
        uid
        for (payload,) in await index.fetch("SELECT payload FROM event")
        for series in orjson.loads(payload)["series"].values()
        for uid in series
    ]
    rows = await index.fetch("SELECT sop_instance_uid FROM instance")
    assert sorted(logged) == sorted(row[0] for row in rows)


@pytest.mark.slow
async def test_one_new_series_from_several_writers_has_one_dictionary(
    writers: list[Index],
) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(40)]
    shares = [new[n::4] for n in range(4)]
    results = await asyncio.gather(*map(add_singly, writers, shares))
    assert [result for share in results for result in share] == [None] * 40
    rows = await writers[0].fetch(
        "SELECT sop_instance_uid, metadata, metadata_dictionary FROM instance"
        " JOIN series ON series.id = series_key"
    )
    unpacked = {row[0]: unpack_metadata(row[2], row[1]) for row in rows}
    assert unpacked == {one.ref.instance: one.scanned.metadata for one in new}
    await check_sums(writers[0], 40)


async def test_the_same_instances_from_several_writers_are_added_once(
    writers: list[Index],
) -> None:
    new = [make_new_instance(dataset) for dataset in make_series(20)]
    orders = [new, new[::-1], new[10:] + new[:10], new]
    ways = [add_singly, add_singly, add, add]
    results = await asyncio.gather(
        *(way(index, order) for way, index, order in zip(ways, writers, orders, strict=True))
    )
    flat = [result for share in results for result in share]
    assert sum(result is None for result in flat) == 20
    assert sum(isinstance(result, Present) for result in flat) == 60
    await check_sums(writers[0], 20)


async def test_many_studies_in_every_order_end_without_loss(writers: list[Index]) -> None:
    studies = [new_uid() for _ in range(12)]
    shares = [
        [make_new_instance(StudyInstanceUID=study, PatientID=f"P{n % 3}") for study in order]
        for n, order in enumerate((studies, studies[::-1], studies[6:] + studies[:6], studies))
    ]
    halves = [[share[:6], share[6:]] for share in shares]

    async def work(index: Index, batches: list[list[NewInstance]]) -> Results:
        return [result for batch in batches for result in await add(index, batch)]

    results = await asyncio.gather(*map(work, writers, halves))
    assert [result for share in results for result in share] == [None] * 48
    await check_sums(writers[0], 48)


async def test_one_uid_in_several_studies_at_once_is_added_to_one(writers: list[Index]) -> None:
    uids = [new_uid() for _ in range(10)]
    shares = [
        [make_new_instance(SOPInstanceUID=uid, PatientID=f"P{n}") for uid in uids] for n in range(4)
    ]
    results = await asyncio.gather(*map(add_singly, writers, shares))
    for each in zip(*results, strict=True):
        assert sum(result is None for result in each) == 1
    await check_sums(writers[0], 10)


async def test_killed_backends_lose_nothing_and_count_nothing_twice(
    writers: list[Index], database_url: str
) -> None:
    shares = [[make_new_instance(dataset) for dataset in make_series(15)] for _ in range(4)]
    shares[1] = [
        make_new_instance(StudyInstanceUID=one.ref.study, SeriesInstanceUID=one.ref.series)
        for one in shares[0]
    ]
    lost = 0

    async def kill() -> None:
        connection = await connect(database_url)
        killed = 0
        while killed < 25:
            killed += len(await connection.fetch(KILL_ONE))
            await asyncio.sleep(0.001)
        await connection.close()

    async def persist(index: Index, share: Sequence[NewInstance]) -> None:
        nonlocal lost
        for one in share:
            while True:
                with suppress(Unavailable):
                    assert not isinstance((await add(index, [one]))[0], InvalidDataset)
                    break
                lost += 1

    killing = asyncio.create_task(kill())
    await asyncio.gather(*map(persist, writers, shares))
    killing.cancel()
    with suppress(asyncio.CancelledError):
        await killing
    assert lost > 0
    await check_sums(writers[0], 60)


@pytest.mark.slow
async def test_a_bad_instance_among_those_of_several_writers_fails_alone(
    writers: list[Index], caplog: pytest.LogCaptureFixture
) -> None:
    *new, bad = [make_new_instance(dataset) for dataset in make_series(33)]
    bad = replace(bad, object_key="\0")
    shares = [[*new[n::4], bad] for n in range(4)]
    results = await asyncio.gather(*map(add, writers, shares))
    assert [type(share[-1]) for share in results] == [InvalidDataset] * 4
    assert [result for share in results for result in share[:-1]] == [None] * 32
    assert bad.ref.instance in caplog.text
    await check_sums(writers[0], 32)
