"""Non-patient Instances against a real PostgreSQL."""

import asyncio
from dataclasses import replace
from hashlib import sha256

import pytest
from pydicom.uid import ColorPaletteStorage, HangingProtocolStorage

from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.uids import InstanceRef
from app.errors import Gone, NotFound, Unavailable
from app.index import engine, non_patient
from app.index.engine import Index
from app.index.instances import NewInstance
from app.index.non_patient import (
    add_non_patient,
    list_non_patient,
    load_non_patient,
    load_non_patient_rows,
    remove_non_patient,
)
from app.index.present import Present
from app.objects.base import non_patient_key
from app.rights import Scope
from tests.factories import make_non_patient, make_part10

KIND, CLASSES = "hanging-protocols", [HangingProtocolStorage]
EVERYTHING = Scope()


def make_new(**keywords: str) -> NewInstance:
    dataset = make_non_patient(HangingProtocolStorage, **keywords)
    data, uid = make_part10(dataset), str(dataset.SOPInstanceUID)
    scanned = scan(BytesSource(data))
    digest = sha256(data).digest()
    key = non_patient_key(1, KIND, uid, "0" * 26)
    return NewInstance(InstanceRef("", "", uid), scanned, key, len(data), digest, digest)


async def add(index: Index, *new: NewInstance) -> list[object]:
    return [*await add_non_patient(index, 1, "tester", KIND, new)]


async def test_the_first_under_a_uid_is_added_and_the_others_find_it(index: Index) -> None:
    first, other = make_new(), make_new()
    second = replace(first, object_key="another", sha256=b"another")
    results = await add(index, first, second, other)
    assert [type(one) for one in results] == [type(None), Present, type(None)]
    (found,) = [one for one in results if isinstance(one, Present)]
    assert (found.object_key, found.metadata) == (first.object_key, first.scanned.metadata)
    assert len(await index.fetch("SELECT 1 FROM event")) == 1
    assert not [one for one in await add(index, first, other) if one is None]
    assert len(await index.fetch("SELECT 1 FROM event")) == 1  # nothing new


async def test_one_that_is_removed_at_that_moment_is_tried_again(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make_new()
    await add(index, one)
    monkeypatch.setattr(engine, "ATTEMPTS", 2)
    gone = non_patient.FIND_PRESENT.replace("WHERE", "WHERE false AND")
    monkeypatch.setattr(non_patient, "FIND_PRESENT", gone)
    with pytest.raises(Unavailable):
        await add(index, one)


async def test_writers_that_meet_add_each_once(index: Index) -> None:
    new = [make_new() for _ in range(10)]
    turned = [*reversed(new)]
    results = await asyncio.gather(*[add(index, *batch) for batch in (new, turned, new)])
    assert sum(one is None for batch in results for one in batch) == len(new)


async def test_newest_come_first_and_pages_hold_together(index: Index) -> None:
    new = [make_new() for _ in range(5)]
    for one in new:
        await add(index, one)
    sizes = await list_non_patient(index, EVERYTHING, CLASSES, None, 3)
    sizes |= await list_non_patient(index, EVERYTHING, CLASSES, None, 3, 3)
    assert 5 * 50 < sum(sizes.values()) < 5 * 500
    keys = list(sizes)
    rows = await load_non_patient_rows(index, keys)
    assert [row.sop_instance_uid for row in rows] == [one.ref.instance for one in reversed(new)]
    uid = new[2].ref.instance
    (key,) = await list_non_patient(index, EVERYTHING, CLASSES, [uid], 3)
    assert key == keys[2]
    assert await list_non_patient(index, EVERYTHING, [ColorPaletteStorage], None, 3) == {}


@pytest.mark.parametrize(
    "scope", [Scope(studies=frozenset()), Scope(studies=frozenset({"1.2"})), Scope(tenant_id=2)]
)
async def test_who_sees_named_studies_or_another_tenant_sees_none(
    index: Index, scope: Scope
) -> None:
    one = make_new()
    await add(index, one)
    uid = one.ref.instance
    assert await list_non_patient(index, scope, CLASSES, None, 3) == {}
    with pytest.raises(NotFound):
        await load_non_patient(index, scope, CLASSES, uid)
    with pytest.raises(NotFound):
        await remove_non_patient(index, scope, "tester", KIND, CLASSES, uid)
    assert (await load_non_patient(index, EVERYTHING, CLASSES, uid)).place.ref == one.ref


async def test_what_is_removed_is_kept_beside_and_may_come_again(index: Index) -> None:
    one = make_new(HangingProtocolName="CHEST")
    await add(index, one)
    uid = one.ref.instance
    for _ in range(2):
        await remove_non_patient(index, EVERYTHING, "tester", KIND, CLASSES, uid)
        with pytest.raises(Gone):
            await load_non_patient(index, EVERYTHING, CLASSES, uid)
        with pytest.raises(NotFound):
            await load_non_patient(index, Scope(studies=frozenset({"1.2"})), CLASSES, uid)
        assert await add(index, one) == [None]
    rows = await index.fetch("SELECT * FROM removed_non_patient_instance")
    assert [(row["object_key"], row["sha256"]) for row in rows] == [
        (one.object_key, one.sha256)
    ] * 2
    events = {row["id"]: row["kind"] for row in await index.fetch("SELECT * FROM event")}
    assert [events[row["event_id"]] for row in rows] == ["removed", "removed"]
    assert b"CHEST" in (await load_non_patient(index, EVERYTHING, CLASSES, uid)).metadata
