"""Lost objects are repaired from a copy, and what no store has is never given out as good."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import obstore
import pytest

from app.archive import repair
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.findings import list_findings
from app.archive.noted import Noted
from app.archive.originals import read_stored
from app.archive.receipts import give_receipt
from app.archive.removal import delete
from app.archive.render import RenderRequest
from app.archive.repair import repair_object
from app.archive.retrieve import retrieve_instances
from app.archive.stores import stores_of
from app.archive.thumbnails import plan_thumbnail
from app.archive.verify import Wanted
from app.dicom.store_report import Stored
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import Damaged, Forbidden, Unavailable
from app.index.copies import list_queues
from app.index.events import Position, read_events
from app.index.kept import KeptObject
from app.index.places import locate_instance
from app.mime.media_types import Form
from app.objects.base import ObjectStore
from app.objects.local import LocalStore
from app.objects.remote import RemoteStore
from app.objects.replicated import ReplicatedStore
from app.objects.staged import Staged
from app.rights import Principal, Scope, Verb
from tests.archive.test_purge import purge
from tests.archive.test_store import store
from tests.archive.test_verify import found
from tests.factories import make_dataset, make_part10

FORM = Form("application/dicom", multipart=False, transfer_syntaxes=("*",))
PICTURE = RenderRequest([Form("image/*", multipart=False)])
REPAIRING = Wanted(repair=True)
LOSSES = ["bit", "cut", "gone"]


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "LEASE_SECONDS", 0.0)


@pytest.fixture
def data() -> bytes:
    return make_part10(Rows=64, Columns=64)


async def stored(archive: Archive, principal: Principal, data: bytes) -> InstanceRef:
    (result,) = (await store(archive, principal, data)).results
    assert isinstance(result, Stored)
    assert isinstance(result.ref, InstanceRef)
    return result.ref


async def key_of(archive: Archive, ref: InstanceRef) -> str:
    return (await locate_instance(archive.index, Scope(), ref)).object_key


async def lose(archive: Archive, name: str, key: str, loss: str) -> None:
    """Damage an object in one store, behind its back."""
    opened = stores_of(archive.objects)[name]
    opened.forget(key)
    await asyncio.to_thread(_lose, opened, key, loss)


def _lose(opened: ObjectStore, key: str, loss: str) -> None:
    if isinstance(opened, LocalStore):
        path = Path(opened._root, key)
        data = bytearray(path.read_bytes())
        path.unlink()
        write: Callable[[bytes], object] = path.write_bytes
    else:
        assert isinstance(opened, RemoteStore)
        data = bytearray(obstore.get(opened.library, key).bytes().to_bytes())
        obstore.delete(opened.library, key)
        write = partial(obstore.put, opened.library, key)
    data[-1] ^= 1
    if loss != "gone":
        write(bytes(data if loss == "bit" else data[:200]))


async def read(archive: Archive, principal: Principal, ref: InstanceRef) -> bytes:
    answer = await retrieve_instances(archive, principal, ref, [FORM])
    (body,) = answer.bodies  # type: ignore[misc]
    return b"".join([chunk async for chunk in body.chunks])


async def holdings(archive: Archive, name: str) -> dict[str, bytes]:
    opened = stores_of(archive.objects)[name]
    keys = [key async for key in opened.keys("t/")]
    return {key: await opened.read(key, 0, await opened.size(key)) for key in keys}


async def kinds(archive: Archive) -> list[str]:
    return [event.kind for event in await read_events(archive.index, 1, Position())]


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("loss", LOSSES)
async def test_what_one_store_lost_is_read_and_repaired_from_the_other(
    replicated: Archive, principal: Principal, data: bytes, name: str, loss: str
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    await lose(replicated, name, key, loss)
    assert await read(replicated, principal, ref) == data
    assert set(await found(replicated, REPAIRING)) == {State.REPAIRED}
    again = await key_of(replicated, ref)
    assert (again == key) == (loss == "gone")  # a damaged object is never overwritten
    for each in ("first", "second"):
        assert await holdings(replicated, each) == {again: data}
    assert set(await found(replicated)) == {State.WHOLE}
    assert await kinds(replicated) == ["accepted", *(["mended"] if loss != "gone" else [])]
    assert await list_findings(replicated, principal, 0, 10) == []


async def test_the_last_good_object_stays_until_all_stores_have_what_replaces_it(
    replicated: Archive, principal: Principal, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    await lose(replicated, "first", key, "bit")
    real = LocalStore.put

    async def failing_disk(self: LocalStore, key: str, staged: Staged) -> None:
        await real(self, key, staged)
        if self is stores_of(replicated.objects)["first"]:
            await asyncio.to_thread(_lose, self, key, "bit")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put", failing_disk)
        assert set(await found(replicated, REPAIRING)) == {State.REPAIRED}
    again = await key_of(replicated, ref)
    assert await holdings(replicated, "second") == {key: data, again: data}
    assert await read(replicated, principal, ref) == data
    assert set(await found(replicated, REPAIRING)) == {State.REPAIRED}
    assert (await holdings(replicated, "first"))[await key_of(replicated, ref)] == data


async def test_one_that_cannot_be_repaired_keeps_no_other_from_it(
    replicated: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    for _ in range(2):
        ref = await stored(replicated, principal, make_part10())
        keys.append(await key_of(replicated, ref))
        await lose(replicated, "first", keys[-1], "bit")
    real = repair._move

    async def failing(archive: Archive, kept: KeptObject, staged: Staged) -> None:
        if kept.key == keys[0]:
            raise Unavailable("the disk is bad")
        await real(archive, kept, staged)

    monkeypatch.setattr(repair, "_move", failing)
    told = await found(replicated, REPAIRING)
    assert set(told) == {State.DAMAGED, State.REPAIRED}
    assert "not repaired: the disk is bad" in told[State.DAMAGED][0].detail
    assert len(await list_findings(replicated, principal, 0, 10)) == 1


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_read_that_falls_back_queues_the_repair(
    replicated: Archive, principal: Principal, data: bytes, loss: str
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    await lose(replicated, "first", key, loss)
    assert await read(replicated, principal, ref) == data
    assert isinstance(replicated.objects, ReplicatedStore)
    noted = replicated.objects._notes
    assert isinstance(noted, Noted)
    await noted.flush()
    (queue,) = await list_queues(replicated.index)
    assert (queue.store, queue.waiting) == ("first", 1)


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_frame_that_the_first_store_lost_comes_from_the_copy(
    replicated: Archive, principal: Principal, data: bytes, loss: str
) -> None:
    ref = await stored(replicated, principal, data)
    place = await locate_instance(replicated.index, Scope(), ref)
    await lose(replicated, "first", place.object_key, loss)
    assert await read_stored(replicated, place, 1000, 500) == data[1000:1500]


async def test_a_receipt_names_the_stores_that_have_the_object(
    replicated: Archive, principal: Principal, data: bytes
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    (receipt,) = (await give_receipt(replicated, principal, ref)).receipts
    assert receipt.stores == ("first", "second")
    for name in receipt.stores:
        await lose(replicated, name, key, "gone")
    await found(replicated, REPAIRING)
    (receipt,) = (await give_receipt(replicated, principal, ref)).receipts
    assert receipt.stores == ()


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_no_store_has_is_quarantined_and_comes_back_when_it_is_sent_again(
    replicated: Archive, principal: Principal, data: bytes, loss: str
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    await lose(replicated, "first", key, loss)
    await lose(replicated, "second", key, "bit")
    assert set(await found(replicated, REPAIRING)) == {State.QUARANTINED}
    with pytest.raises(Damaged):
        await read(replicated, principal, ref)
    place = await locate_instance(replicated.index, Scope(), ref)
    with pytest.raises(Damaged):
        await read_stored(replicated, place, 0, 10)
    (fault,) = await list_findings(replicated, principal, 0, 10)
    assert (fault.object_key, fault.instance, fault.state) == (key, ref.instance, "quarantined")
    assert "second: its SHA-256" in fault.detail
    assert set(await found(replicated)) == {State.QUARANTINED}
    assert await stored(replicated, principal, data) == ref
    assert await read(replicated, principal, ref) == data
    assert await list_findings(replicated, principal, 0, 10) == []
    assert await kinds(replicated) == ["accepted", "quarantined", "mended"]


async def test_pictures_that_may_show_damage_are_made_anew(
    replicated: Archive, principal: Principal
) -> None:
    dataset = make_dataset()
    ref = await stored(replicated, principal, make_part10(dataset))
    await lose(replicated, "first", await key_of(replicated, ref), "bit")
    series = SeriesRef(ref.study, ref.series)
    rendering = await plan_thumbnail(replicated, principal, series, PICTURE, None)
    await rendering.open()
    assert list(replicated.cache.directory.glob("rendered-*"))
    await found(replicated, REPAIRING)
    assert list(replicated.cache.directory.glob("rendered-*")) == []


async def test_without_a_copy_damage_is_quarantined(
    archive: Archive, principal: Principal, data: bytes
) -> None:
    ref = await stored(archive, principal, data)
    await lose(archive, "first", await key_of(archive, ref), "bit")
    assert set(await found(archive, REPAIRING)) == {State.QUARANTINED}
    with pytest.raises(Damaged):
        await read(archive, principal, ref)


async def test_what_is_whole_after_all_leaves_quarantine(
    archive: Archive, principal: Principal, data: bytes, tmp_path: Path
) -> None:
    ref = await stored(archive, principal, data)
    key = await key_of(archive, ref)
    await lose(archive, "first", key, "gone")
    assert await repair_object(archive, key) is State.QUARANTINED
    assert await repair_object(archive, key) is State.QUARANTINED  # still
    (tmp_path / "objects" / key).write_bytes(data)
    assert await repair_object(archive, key) is State.WHOLE
    assert await key_of(archive, ref) == key
    assert await read(archive, principal, ref) == data
    assert await kinds(archive) == ["accepted", "quarantined", "recovered"]
    assert await list_findings(archive, principal, 0, 10) == []


async def test_bytes_in_quarantine_are_not_taken_for_nobodys(
    archive: Archive, principal: Principal, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.verify.GRACE_SECONDS", -60)
    ref = await stored(archive, principal, data)
    await lose(archive, "first", await key_of(archive, ref), "bit")
    await found(archive, REPAIRING)
    assert set(await found(archive)) == {State.QUARANTINED}


async def test_deleted_instances_are_repaired_quarantined_and_purged_as_well(
    replicated: Archive, principal: Principal
) -> None:
    dataset = make_dataset()
    made = [make_part10(dataset), make_part10(StudyInstanceUID=dataset.StudyInstanceUID)]
    refs = [await stored(replicated, principal, data) for data in made]
    keys = [await key_of(replicated, ref) for ref in refs]
    await delete(replicated, principal, StudyRef(dataset.StudyInstanceUID))
    await lose(replicated, "first", keys[0], "bit")
    for name in ("first", "second"):
        await lose(replicated, name, keys[1], "bit")
    told = await found(replicated, REPAIRING)
    assert {state: len(all_) for state, all_ in told.items()} == {
        State.REPAIRED: 1,
        State.QUARANTINED: 1,
    }
    assert len(await purge(replicated, principal)) == 2
    for name in ("first", "second"):
        assert await holdings(replicated, name) == {}
    assert await repair_object(replicated, keys[1]) is None
    assert await list_findings(replicated, principal, 0, 10) == []


async def test_nothing_is_decided_while_a_store_does_not_answer(
    replicated: Archive, principal: Principal, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = await stored(replicated, principal, data)
    key = await key_of(replicated, ref)
    await lose(replicated, "first", key, "bit")

    async def silent(*_: object) -> None:
        raise Unavailable("no answer")

    second = stores_of(replicated.objects)["second"]
    monkeypatch.setattr(second, "stream", silent)
    monkeypatch.setattr(second, "check", silent)
    with pytest.raises(Unavailable):
        await repair_object(replicated, key)
    assert await key_of(replicated, ref) == key
    assert await list_findings(replicated, principal, 0, 10) == []


async def test_findings_are_for_administrators(archive: Archive) -> None:
    reader = Principal("reader", verbs=frozenset({Verb.VIEW}))
    with pytest.raises(Forbidden):
        await list_findings(archive, reader, 0, 10)
