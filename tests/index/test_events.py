"""The one log: order is that of commits."""

from app.index.engine import Index
from app.index.events import Event, Position, append_event, read_events
from app.index.instances import add_each_instance
from tests.index_factories import make_new_instance


async def append(index: Index, *kinds: str) -> None:
    async with index.transaction() as session:
        for kind in kinds:
            await append_event(session, 1, "tester", kind, {"study": "1.2"})


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


async def test_events_come_back_as_they_were_appended(index: Index) -> None:
    await append(index, "deleted", "labelled")
    first, second = await read_events(index, 1, Position())
    assert (first.kind, first.actor, first.payload) == ("deleted", "tester", {"study": "1.2"})
    assert second.kind == "labelled"
    assert first.position < second.position
    assert first.at == second.at
    assert await read_events(index, 2, Position()) == []


async def test_a_reader_goes_on_where_it_stopped(index: Index) -> None:
    await append(index, "a", "b")
    await append(index, "c")
    first = await read_events(index, 1, Position(), limit=2)
    assert kinds(first) == ["a", "b"]
    assert kinds(await read_events(index, 1, first[-1].position)) == ["c"]
    assert kinds(await read_events(index, 1, first[0].position, limit=1)) == ["b"]


async def test_what_a_slower_transaction_appended_first_is_not_missed(index: Index) -> None:
    async with index.transaction() as slow:
        await append_event(slow, 1, "tester", "slow", {})
        await append(index, "fast")
        # "fast" is committed, but "slow" will stand before it: nothing is final yet
        assert await read_events(index, 1, Position()) == []
    events = await read_events(index, 1, Position())
    assert kinds(events) == ["slow", "fast"]


async def test_the_order_is_that_of_numbers_not_of_their_digits(index: Index) -> None:
    await append(index, "ninth")
    await append(index, "tenth")
    for kind, xid in (("ninth", 9), ("tenth", 10)):
        await index.fetch("UPDATE event SET xid = $1::text::xid8 WHERE kind = $2", str(xid), kind)
    events = await read_events(index, 1, Position(), limit=1)
    assert kinds(events) == ["ninth"]
    assert kinds(await read_events(index, 1, events[-1].position)) == ["tenth"]


async def test_what_is_rolled_back_never_happened(index: Index) -> None:
    try:
        async with index.transaction() as session:
            await append_event(session, 1, "tester", "undone", {})
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert await read_events(index, 1, Position()) == []


async def test_what_is_stored_can_be_read_in_the_log(index: Index) -> None:
    one = make_new_instance()
    await add_each_instance(index, 1, "modality 7", [one])
    (event,) = await read_events(index, 1, Position())
    assert (event.kind, event.actor) == ("accepted", "modality 7")
    attempt = one.object_key.rpartition(f"/{one.ref.instance}.")[2]
    assert event.payload == {
        "study": one.ref.study,
        "series": {one.ref.series: {one.ref.instance: [one.sha256.hex(), attempt]}},
    }


async def test_order_is_that_of_numbers_not_of_their_digits(index: Index) -> None:
    await append(index, "later", "earlier", "earliest")
    for kind, xid in (("later", "700"), ("earlier", "99"), ("earliest", "8")):
        update = "UPDATE event SET xid = $2::text::xid8 WHERE kind = $1"
        await index.fetch(update, kind, xid)
    assert kinds(await read_events(index, 1, Position())) == ["earliest", "earlier", "later"]
    assert kinds(await read_events(index, 1, Position(), limit=1)) == ["earliest"]
