"""The log by Study, principal, action and time."""

from datetime import timedelta

import pytest

from app.index import audit_log
from app.index.audit_log import Wanted, search_log
from app.index.engine import Index
from app.index.events import Position
from app.index.reads import Read, append_reads

DAY = timedelta(days=1)


async def fill(index: Index) -> None:
    """Twelve reads: of three principals in turn, of four Studies, one a day."""
    reads = [
        Read(
            tenant_id=1,
            kind="viewed" if number % 2 else "downloaded",
            actor=f"reader-{number % 3}",
            payload={"study": f"1.{number % 4}", "number": number},
        )
        for number in range(12)
    ]
    for one in reads:
        await append_reads(index, [one])
    await index.fetch(
        "UPDATE event SET at = at - (11 - (payload->>'number')::int) * interval '1 day'"
    )


async def numbers(index: Index, wanted: Wanted, limit: int = 100) -> list[int]:
    """Return what is found, page by page."""
    found: list[int] = []
    after, more = Position(), True
    while more:
        page = await search_log(index, 1, wanted, after, limit)
        assert len(page.events) <= limit
        found += [event.payload["number"] for event in page.events]
        after, more = page.following, page.more
    return found


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("step", [1, 4, 5000])
async def test_each_criterion_narrows_and_no_entry_comes_twice(
    index: Index, monkeypatch: pytest.MonkeyPatch, limit: int, step: int
) -> None:
    monkeypatch.setattr(audit_log, "_STEP", audit_log._STEP.replace("5000", str(step)))
    await fill(index)
    assert await numbers(index, Wanted(), limit) == list(range(12))
    assert await numbers(index, Wanted(study="1.2"), limit) == [2, 6, 10]
    assert await numbers(index, Wanted(principal="reader-1"), limit) == [1, 4, 7, 10]
    assert await numbers(index, Wanted(kinds=("viewed",)), limit) == [1, 3, 5, 7, 9, 11]
    both = Wanted(study="1.2", principal="reader-1", kinds=("viewed", "downloaded"))
    assert await numbers(index, both, limit) == [10]
    assert await numbers(index, Wanted(study="1.9"), limit) == []


async def test_times_bound_what_is_found(index: Index) -> None:
    await fill(index)
    row = await index.fetchrow("SELECT min(at) AS first FROM event")
    assert row is not None
    first = row["first"] - timedelta(minutes=1)
    for study, some in (("", range(12)), ("1.1", (1, 5, 9))):
        within = Wanted(study=study, since=first + 2 * DAY, until=first + 6 * DAY)
        assert await numbers(index, within) == [one for one in some if 2 <= one < 6]
        assert await numbers(index, Wanted(study=study, since=first + 20 * DAY)) == []
        assert await numbers(index, Wanted(study=study, until=first)) == []


async def test_another_tenants_trail_is_not_seen(index: Index) -> None:
    await index.fetch("INSERT INTO tenant (id, name) VALUES (2, 'two')")
    await append_reads(index, [Read(2, "viewed", "other", {"study": "1.1", "number": 0})])
    assert await numbers(index, Wanted()) == []
    assert await numbers(index, Wanted(study="1.1")) == []
    assert len((await search_log(index, 2, Wanted(), Position(), 9)).events) == 1


async def test_who_saw_a_study_is_found_by_an_index(index: Index) -> None:
    await fill(index)
    arguments = audit_log._arguments(1, Wanted(study="1.1"), Position(), 100)
    async with index.searches.use() as connection:
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch("EXPLAIN " + audit_log._OF_STUDY, *arguments)
    assert "event_of_study" in "\n".join(row[0] for row in plan)
