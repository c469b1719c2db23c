"""What verify finds lost is known to all who ask for findings, until it is sound again."""

from pathlib import Path

import pytest

from app.archive import repair
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.findings import count_safety, list_findings
from app.archive.removal import delete
from app.archive.scrubbing import look_at_quarantine
from app.archive.sealed_log import verify_log
from app.archive.verify import Wanted
from app.dicom.uids import StudyRef
from app.objects.base import segment_key
from app.rights import Principal
from tests.archive.test_backup import spoil
from tests.archive.test_purge import purge
from tests.archive.test_repair import key_of, lose, stored
from tests.archive.test_segment_stores import filled
from tests.archive.test_verify import found
from tests.factories import make_part10


@pytest.fixture(autouse=True)
def _no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "LEASE_SECONDS", 0.0)


async def noted(archive: Archive, principal: Principal) -> set[tuple[str, str, str]]:
    faults = await list_findings(archive, principal, 0, 10)
    return {(one.object_key, one.store, one.state) for one in faults}


async def logged(archive: Archive, *, repair: bool = False) -> list[State]:
    return [one.state async for one in verify_log(archive, 1, repair=repair)]


@pytest.mark.parametrize("looks", [found, look_at_quarantine], ids=["verify", "scrubber"])
async def test_a_damaged_object_is_noted_until_it_is_whole(
    archive: Archive, principal: Principal, looks: object
) -> None:
    key = await key_of(archive, await stored(archive, principal, make_part10()))
    await stored(archive, principal, make_part10())
    await lose(archive, "first", key, "bit")
    assert State.DAMAGED in await found(archive)
    assert await noted(archive, principal) == {(key, "first", "damaged")}
    assert (await count_safety(archive)).findings == {"damaged": 1}
    await looks(archive)  # type: ignore[operator]
    assert await noted(archive, principal) == {(key, "first", "damaged")}
    await lose(archive, "first", key, "bit")  # which turns the bit back
    await looks(archive)  # type: ignore[operator]
    assert await noted(archive, principal) == set()


async def test_what_a_copy_has_lost_is_noted_until_it_is_repaired(
    replicated: Archive, principal: Principal
) -> None:
    key = await key_of(replicated, await stored(replicated, principal, make_part10()))
    await lose(replicated, "second", key, "gone")
    await found(replicated)
    assert await noted(replicated, principal) == {(key, "second", "missing")}
    await found(replicated, Wanted(repair=True))
    assert await noted(replicated, principal) == set()


async def test_what_is_purged_is_forgotten(archive: Archive, principal: Principal) -> None:
    ref = await stored(archive, principal, make_part10())
    await lose(archive, "first", await key_of(archive, ref), "gone")
    await found(archive)
    await delete(archive, principal, StudyRef(ref.study))
    await look_at_quarantine(archive)
    assert len(await noted(archive, principal)) == 1  # it can be brought back, so it is missed
    await purge(archive, principal)
    await look_at_quarantine(archive)
    assert await noted(archive, principal) == set()


@pytest.mark.parametrize("mended", ["by hand", "by repair"])
async def test_a_lost_segment_is_noted_until_it_is_sound(
    archive: Archive, principal: Principal, tmp_path: Path, mended: str
) -> None:
    await filled(archive, principal)
    first, second = (tmp_path / "objects" / segment_key(1, number) for number in (1, 2))
    before = first.read_bytes()
    spoil(first)
    second.unlink()
    assert await logged(archive) == [State.DAMAGED, State.MISSING, State.SEALED]
    lost = {(segment_key(1, 1), "first", "damaged"), (segment_key(1, 2), "first", "missing")}
    assert await noted(archive, principal) == lost
    await look_at_quarantine(archive)
    assert await noted(archive, principal) == lost
    if mended == "by hand":
        first.write_bytes(before)
        assert await logged(archive) == [State.SEALED, State.MISSING, State.SEALED]
        assert len(await noted(archive, principal)) == 1
    await logged(archive, repair=True)
    assert await noted(archive, principal) == set()
