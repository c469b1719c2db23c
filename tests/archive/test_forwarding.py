"""Forwarding: queued with what is stored, claimed by bridges, told done or failed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app.archive import forwarding
from app.archive.context import Archive
from app.archive.forwarding import (
    add_rule,
    claim,
    discard,
    forward,
    let_go,
    list_forwardings,
    list_rules,
    put_destination,
    remove_destination,
    remove_rule,
    renew_claim,
    retry,
    settle_claim,
)
from app.archive.removal import delete
from app.archive.restoring import restore_deleted
from app.dicom.store_report import Outcome
from app.dicom.uids import StudyRef
from app.errors import Conflict, Forbidden, InvalidRequest, InvalidUID, NotFound
from app.index import forwardings as index_forwardings
from app.index.events import Event, Position, read_events
from app.index.forwarding_rules import Address, Rule, Terms
from app.index.forwardings import MOST_TRIES, Claimed, Told, count_forwardings
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import store
from tests.factories import make_dataset, make_part10, make_series, new_uid

ARCHIVE = Address("ARCHIVE", "10.0.0.2", 104)
STATION = Address("STATION", "10.0.0.17", 11112, tls=True)


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody remembers where frames were."""
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)


@pytest.fixture
async def ruled(archive: Archive, principal: Principal) -> Archive:
    """An archive with two destinations, and a rule for one of them: every CT of CT01."""
    for address in (ARCHIVE, STATION):
        assert await put_destination(archive, principal, address)
    await add_rule(archive, principal, Terms("STATION", ("CT01",), ("CT",)))
    return archive


def sent_by(principal: Principal, ae_title: str) -> Principal:
    return replace(principal, calling_ae=ae_title)


async def stored(
    archive: Archive, principal: Principal, source: str = "CT01", **keywords: Any
) -> str:
    """Store an Instance as if an AE had sent it; return its Study's UID."""
    uid = new_uid()
    await store(archive, sent_by(principal, source), make_part10(StudyInstanceUID=uid, **keywords))
    return uid


async def claimed(
    archive: Archive, principal: Principal, ae_title: str | None = None, most: int = 100
) -> tuple[str, Claimed]:
    """Claim what is due; there has to be something."""
    made = await claim(archive, principal, ae_title, most, 60)
    assert made is not None
    return made


async def overdue(archive: Archive) -> None:
    """Let time pass, so that all claims are over and all pauses, too."""
    await archive.index.fetch("UPDATE forwarding SET due_at = now() - interval '1 second'")


async def told(archive: Archive, *kinds: str) -> list[Event]:
    return [one for one in await read_events(archive.index, 1, Position()) if one.kind in kinds]


@pytest.mark.parametrize(
    ("source", "modality", "queued"),
    [("CT01", "CT", 1), ("CT02", "CT", 0), ("CT01", "MR", 0), ("", "CT", 0), ("STATION", "CT", 0)],
)
async def test_what_meets_a_rule_is_queued_when_it_is_stored(
    ruled: Archive, principal: Principal, source: str, modality: str, queued: int
) -> None:
    study = await stored(ruled, principal, source, Modality=modality)
    found = await list_forwardings(ruled, principal, None, None, 0, 10)
    assert [(one.item.study, one.destination, one.state) for one in found] == [
        (study, "STATION", "waiting")
    ] * queued


async def test_a_rule_of_no_values_is_about_all_but_what_came_from_there(
    archive: Archive, principal: Principal
) -> None:
    await put_destination(archive, principal, ARCHIVE)
    for _ in range(2):  # two rules for one destination queue an Instance once
        await add_rule(archive, principal, Terms("ARCHIVE"))
    for source, count in (("", 1), ("CT01", 2), ("ARCHIVE", 2)):
        await stored(archive, principal, source)
        assert len(await list_forwardings(archive, principal, None, None, 0, 10)) == count
    by_class = Terms("ARCHIVE", sop_classes=("1.2.3",))
    await remove_rule(archive, principal, (await list_rules(archive, principal))[0].id)
    await remove_rule(archive, principal, (await list_rules(archive, principal))[0].id)
    await add_rule(archive, principal, by_class)
    await stored(archive, principal)
    await stored(archive, principal, SOPClassUID="1.2.3")
    assert len(await list_forwardings(archive, principal, None, None, 0, 10)) == 3


async def test_instances_are_queued_however_they_come_in(
    ruled: Archive, principal: Principal
) -> None:
    series = make_series(5)
    sender = sent_by(principal, "CT01")
    await store(ruled, sender, *map(make_part10, series[:3]))  # the Series is new
    await store(ruled, sender, make_part10(series[3]))  # it is known by now
    await store(ruled, sender, make_part10(series[4]), make_part10(series[0]))
    await asyncio.gather(  # in one transaction with those of another sender
        *[stored(ruled, principal, source) for source in ("CT01", "CT02", "CT01", "")]
    )
    _, work = await claimed(ruled, principal)
    mine = [one for one in work.items if one.study == series[0].StudyInstanceUID]
    assert [one.instance for one in mine] == [one.SOPInstanceUID for one in series]
    assert len(work.items) == 7
    assert work.destination == STATION


async def test_a_claim_is_one_bridges_until_it_tells_or_its_time_is_over(
    ruled: Archive, principal: Principal
) -> None:
    await stored(ruled, principal)
    name, work = await claimed(ruled, principal)
    assert await claim(ruled, principal, None, 100, 60) is None
    (one,) = work.items
    assert one.tries == 1
    assert await renew_claim(ruled, principal, name, 600) > work.until.isoformat()
    await overdue(ruled)
    with pytest.raises(NotFound):
        await renew_claim(ruled, principal, name, 60)
    second, work = await claimed(ruled, principal)
    assert [it.tries for it in work.items] == [2]
    assert await settle_claim(ruled, principal, name, [one.id], {}) == Told(0, 0)
    assert await settle_claim(ruled, principal, second, [one.id, 4711], {}) == Told(1, 0)
    assert await list_forwardings(ruled, principal, None, None, 0, 10) == []
    (event,) = await told(ruled, "forwarded")
    assert event.payload == {
        "study": one.study,
        "destination": {"ae_title": "STATION"},
        "instances": [one.instance],
    }


async def test_bridges_that_claim_at_once_share_what_is_due(
    ruled: Archive, principal: Principal
) -> None:
    series = make_series(20)
    await store(ruled, sent_by(principal, "CT01"), *map(make_part10, series))
    made = await asyncio.gather(*[claim(ruled, principal, None, 5, 60) for _ in range(4)])
    numbers = [one.id for work in made if work for one in work[1].items]
    assert len(set(numbers)) == len(numbers)
    while (more := await claim(ruled, principal, None, 5, 60)) is not None:
        numbers += [one.id for one in more[1].items]
    assert len(set(numbers)) == len(numbers) == 20


async def test_what_failed_is_tried_again_later_and_at_last_it_is_dead(
    ruled: Archive, principal: Principal
) -> None:
    study = await stored(ruled, principal)
    for number in range(MOST_TRIES):
        assert await told(ruled, "not-forwarded") == []
        name, work = await claimed(ruled, principal)
        (one,) = work.items
        assert one.tries == number + 1
        assert await settle_claim(ruled, principal, name, [], {one.id: "refused"}) == Told(0, 1)
        assert await claim(ruled, principal, None, 100, 60) is None  # it waits first
        await overdue(ruled)
    assert await claim(ruled, principal, None, 100, 60) is None
    (dead,) = await list_forwardings(ruled, principal, "STATION", "dead", 0, 10)
    assert (dead.state, dead.reason, dead.item.study) == ("dead", "refused", study)
    (event,) = await told(ruled, "not-forwarded")
    assert event.payload["study"] == study
    assert [(one.destination, one.dead) for one in await count_forwardings(ruled.index)] == [
        ("ARCHIVE", 0),
        ("STATION", 1),
    ]
    assert await retry(ruled, principal, [dead.item.id]) == 1
    _, work = await claimed(ruled, principal)
    assert [it.tries for it in work.items] == [1]


async def test_what_kills_every_bridge_does_not_go_round_for_ever(
    ruled: Archive, principal: Principal
) -> None:
    await stored(ruled, principal)
    for _ in range(MOST_TRIES):
        await claimed(ruled, principal)
        await overdue(ruled)
    assert await claim(ruled, principal, None, 100, 60) is None
    (dead,) = await list_forwardings(ruled, principal, None, "dead", 0, 10)
    assert "again and again" in dead.reason
    assert len(await told(ruled, "not-forwarded")) == 1


async def test_the_rest_of_a_claim_is_let_go_without_a_try(
    ruled: Archive, principal: Principal
) -> None:
    await store(ruled, sent_by(principal, "CT01"), *map(make_part10, make_series(3)))
    name, work = await claimed(ruled, principal)
    done, *rest = (one.id for one in work.items)
    await settle_claim(ruled, principal, name, [done], {})
    await let_go(ruled, principal, name)
    with pytest.raises(NotFound):
        await let_go(ruled, principal, name)
    _, work = await claimed(ruled, principal)
    assert [(one.id, one.tries) for one in work.items] == [(number, 1) for number in rest]


async def test_a_destination_that_is_down_keeps_no_other_waiting(
    ruled: Archive, principal: Principal
) -> None:
    await add_rule(ruled, principal, Terms("ARCHIVE"))
    await store(ruled, sent_by(principal, "CT01"), *map(make_part10, make_series(4)))
    _, first = await claimed(ruled, principal, most=2)
    _, second = await claimed(ruled, principal, most=2)
    assert {first.destination, second.destination} == {ARCHIVE, STATION}
    _, named = await claimed(ruled, principal, "STATION ", most=2)
    assert named.destination == STATION
    with pytest.raises(NotFound):
        await claim(ruled, principal, "NOWHERE", 2, 60)


async def test_what_was_deleted_is_not_sent_nor_queued_anew_when_it_comes_back(
    ruled: Archive, principal: Principal
) -> None:
    gone, stays = [await stored(ruled, principal) for _ in range(2)]
    await delete(ruled, principal, StudyRef(gone))
    _, work = await claimed(ruled, principal)
    assert [one.study for one in work.items] == [stays]
    await restore_deleted(ruled, principal, StudyRef(gone))
    assert await claim(ruled, principal, None, 100, 60) is None
    assert await forward(ruled, principal, "STATION", gone) == 1


async def test_what_is_stored_already_is_queued_by_hand(
    ruled: Archive, principal: Principal
) -> None:
    series = make_series(2)
    other = make_dataset(StudyInstanceUID=series[0].StudyInstanceUID)
    await store(ruled, principal, *map(make_part10, [*series, other]))
    study, of = str(other.StudyInstanceUID), str(other.SeriesInstanceUID)
    instance = str(series[0].SOPInstanceUID)
    assert await forward(ruled, principal, "ARCHIVE", study, of) == 1
    assert await forward(ruled, principal, "ARCHIVE", study, None, instance) == 1
    assert await forward(ruled, principal, "ARCHIVE", study) == 1  # the others are queued
    assert await forward(ruled, principal, "ARCHIVE", new_uid()) == 0
    with pytest.raises(NotFound):
        await forward(ruled, principal, "NOWHERE", study)
    with pytest.raises(InvalidUID):
        await forward(ruled, principal, "ARCHIVE", "1..2")
    assert await discard(ruled, principal, [], "ARCHIVE", dead=True) == 0
    assert await discard(ruled, principal, [], "ARCHIVE") == 3


async def test_destinations_are_kept_once_and_as_long_as_they_are_needed(
    ruled: Archive, principal: Principal
) -> None:
    moved = replace(STATION, host="station.example.org")
    assert await put_destination(ruled, principal, moved) is False
    assert await put_destination(ruled, principal, moved) is False
    assert len(await told(ruled, "destination-set")) == 3
    with pytest.raises(Conflict):
        await remove_destination(ruled, principal, "STATION")
    study = await stored(ruled, principal)
    (rule,) = await list_rules(ruled, principal)
    await remove_rule(ruled, principal, rule.id)
    with pytest.raises(NotFound):
        await remove_rule(ruled, principal, rule.id)
    with pytest.raises(Conflict):  # something waits
        await remove_destination(ruled, principal, "STATION")
    await discard(ruled, principal, [], "STATION")
    await remove_destination(ruled, principal, "STATION")
    with pytest.raises(NotFound):
        await remove_destination(ruled, principal, "STATION")
    with pytest.raises(NotFound):
        await forward(ruled, principal, "STATION", study)


@pytest.mark.parametrize(
    "address",
    [
        replace(ARCHIVE, ae_title=""),
        replace(ARCHIVE, ae_title="A" * 17),
        replace(ARCHIVE, ae_title="A\\B"),
        replace(ARCHIVE, ae_title="Ä"),
        replace(ARCHIVE, host=""),
        replace(ARCHIVE, host="a/b"),
        replace(ARCHIVE, port=0),
        replace(ARCHIVE, port=65_536),
    ],
)
async def test_what_is_no_address_is_refused(
    archive: Archive, principal: Principal, address: Address
) -> None:
    with pytest.raises(InvalidRequest):
        await put_destination(archive, principal, address)


@pytest.mark.parametrize(
    "terms",
    [
        Terms("STATION", sources=("A" * 17,)),
        Terms("STATION", modalities=("ct",)),
        Terms("STATION", sop_classes=("1..2",)),
        Terms("STATION", modalities=("CT",) * 101),
    ],
)
async def test_what_is_no_rule_is_refused(
    ruled: Archive, principal: Principal, terms: Terms
) -> None:
    with pytest.raises(InvalidRequest):
        await add_rule(ruled, principal, terms)
    with pytest.raises(NotFound):
        await add_rule(ruled, principal, Terms("NOWHERE"))


async def test_a_bridge_sends_only_what_it_may_see(ruled: Archive, principal: Principal) -> None:
    seen, hidden = [await stored(ruled, principal) for _ in range(2)]
    mine = Principal("mine", Scope(studies=frozenset({seen})))
    _, work = await claimed(ruled, mine)
    assert [one.study for one in work.items] == [seen]
    assert await claim(ruled, mine, None, 100, 60) is None
    assert [one.item.study for one in await list_forwardings(ruled, mine, None, None, 0, 9)] == [
        seen
    ]
    assert await forward(ruled, mine, "ARCHIVE", hidden) == 0


async def test_a_bridge_claims_and_the_rest_is_for_administrators(ruled: Archive) -> None:
    verbs = frozenset({Verb.SEARCH, Verb.VIEW, Verb.STORE})
    viewer, bridge = Principal("viewer", verbs=verbs), Principal("b", verbs=verbs, kind="service")
    assert len(await forwarding.list_destinations(ruled, bridge)) == 2
    assert await claim(ruled, bridge, None, 1, 60) is None
    for refused in (
        forwarding.list_destinations(ruled, viewer),
        claim(ruled, viewer, None, 1, 60),
        list_forwardings(ruled, bridge, None, None, 0, 1),
        list_rules(ruled, bridge),
        put_destination(ruled, bridge, ARCHIVE),
        forward(ruled, bridge, "ARCHIVE", new_uid()),
    ):
        with pytest.raises(Forbidden):
            await refused


async def test_a_failed_store_queues_nothing(
    ruled: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of Instances and what is to be forwarded are of one transaction."""

    async def fails(*_: object, **__: object) -> None:
        raise InvalidRequest("no")

    monkeypatch.setattr("app.index.instances.settle_parents", fails)
    report = await store(ruled, sent_by(principal, "CT01"), make_part10())
    assert report.outcome is Outcome.NONE_STORED
    rows = await ruled.index.fetch("SELECT FROM forwarding")
    assert rows == []


async def test_rules_say_who_made_them(ruled: Archive, principal: Principal) -> None:
    (rule,) = await list_rules(ruled, principal)
    assert isinstance(rule, Rule)
    assert (rule.made_by, rule.terms.modalities) == (principal.name, ("CT",))
    (event,) = await told(ruled, "forwarding-rule-added")
    assert event.payload["rule"]["sources"] == ["CT01"]
    assert index_forwardings.PAUSES[0] < index_forwardings.PAUSES[-1]
