"""Requests of more Instances than are handed to the writer at once."""

from typing import Any

import pytest

from app.archive import conclusion
from app.archive.context import Archive
from app.archive.placed import Placing
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.uids import InstanceRef
from app.errors import Unavailable
from app.index.instances import NewInstance
from app.rights import Principal
from tests.archive.test_store import objects, rows, store
from tests.factories import make_part10, new_uid


async def test_a_long_request_is_written_in_steps_and_reported_in_order(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conclusion, "AT_ONCE", 3)
    uids = [new_uid() for _ in range(8)]
    made = [make_part10(SOPInstanceUID=uid) for uid in uids]
    report = await store(archive, principal, *made[:4], b"no DICOM", *made[4:])
    assert [one.ref.instance for one in report.stored] == uids
    assert report.results[4] is report.failed[0]


async def test_when_the_index_fails_between_steps_no_object_of_the_rest_is_left(
    archive: Archive, principal: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conclusion, "AT_ONCE", 2)
    add, steps = archive.writer.add, iter([True, False])

    async def fails_later(tenant: int, actor: str, new: list[NewInstance], *under: Any) -> Any:
        if next(steps):
            return await add(tenant, actor, new, *under)
        for one in new:
            await archive.objects.delete(one.object_key)
        raise Unavailable("gone")

    monkeypatch.setattr(archive.writer, "add", fails_later)
    with pytest.raises(Unavailable):
        await store(archive, principal, *(make_part10() for _ in range(7)))
    assert await rows(archive) == len(await objects(archive)) == 2


def test_what_waits_is_whole_again_and_shares_its_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.placed.FEW", 1)
    placing, ref = Placing(), InstanceRef("1", "2", "3")
    new = [
        NewInstance(ref, scan(BytesSource(make_part10())), f"t/{n}", 1, b"a", b"b")
        for n in range(3)
    ]
    placed = [placing.place(one, "1.2") for one in new]
    assert [one.instance() for one in placed] == new
    assert [one.object_key for one in placed] == ["t/0", "t/1", "t/2"]
    assert placed[0]._tags == ()
    assert placed[1]._tags is placed[2]._tags
