"""Manifests: a day proves itself with public keys alone, and whatever is changed in it is found."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.archive.context import Archive
from app.archive.manifest import ManifestProof, read_manifest
from app.archive.manifests import open_manifest
from app.archive.rotation import rotate_key
from app.errors import Forbidden, InvalidRequest, NotFound, Unavailable
from app.index import segments as module
from app.index.pool import Connection
from app.rights import Principal, Scope, Verb
from tests.archive.test_sealing import append, path_of

DAYS = ("2026-01-30", "2026-01-31", "2026-02-02")


class Clock:
    """The time that sealers and manifests are told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 30, 23, 59, tzinfo=UTC)

    async def read(self, _: Connection) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "read_clock", made.read)
    return made


@pytest.fixture
async def three_days(archive: Archive, clock: Clock) -> Archive:
    """An archive with two segments on each of three days; the clock is late on the last of them."""
    for day in DAYS:
        for minute in (0, 24 * 60 - 1):
            clock.now = datetime.fromisoformat(f"{day}T00:00:00+00:00") + timedelta(minutes=minute)
            await append(archive, f"{day} {minute}", "more")
            await archive.sealer.seal_waiting()
    return archive


async def made(archive: Archive, day: str) -> bytes:
    pieces = await open_manifest(archive, Principal("test"), day)
    return b"".join([piece async for piece in pieces])


def lines_of(data: bytes) -> Iterator[bytes]:
    return iter(data.splitlines(keepends=True))


def proof_of(data: bytes, *keys: bytes) -> ManifestProof:
    proof = ManifestProof(read_manifest(lines_of(data)), keys)
    assert len(list(proof.segments())) <= 2
    return proof


async def key_of(archive: Archive) -> bytes:
    return (await archive.sealer.key(1)).public


async def test_a_day_proves_itself_and_goes_on_from_the_day_before(three_days: Archive) -> None:
    key = await key_of(three_days)
    proofs = [proof_of(await made(three_days, day), key) for day in DAYS]
    assert [proof.faults for proof in proofs] == [[], [], []]
    assert [(one.head.first, one.head.last, one.head.entries) for one in proofs] == [
        (1, 2, 4),
        (3, 4, 4),
        (5, 6, 4),
    ]
    assert [proof.head.complete for proof in proofs] == [True, True, False]
    assert proofs[1].follows(proofs[0].head)
    assert proofs[2].follows(proofs[1].head)
    assert not proofs[2].follows(proofs[0].head)
    assert proofs[0].head.before == b""


async def test_a_day_is_complete_when_it_is_over(three_days: Archive, clock: Clock) -> None:
    clock.now += timedelta(minutes=2)
    first = await made(three_days, DAYS[2])
    assert proof_of(first, await key_of(three_days)).head.complete
    assert await made(three_days, DAYS[2]) == first


async def test_a_clock_that_is_set_back_seals_no_earlier_than_before(
    three_days: Archive, clock: Clock
) -> None:
    before = proof_of(await made(three_days, DAYS[0]), await key_of(three_days)).head
    clock.now = datetime(2026, 1, 30, 12, tzinfo=UTC)
    await append(three_days, "late")
    await three_days.sealer.seal_waiting()
    after = proof_of(await made(three_days, DAYS[0]), await key_of(three_days)).head
    assert (after.last, after.last_hash) == (before.last, before.last_hash)
    assert read_manifest(lines_of(await made(three_days, DAYS[2]))).head.last == 7


async def test_another_key_proves_nothing(three_days: Archive) -> None:
    data, key = await made(three_days, DAYS[1]), await key_of(three_days)
    name = read_manifest(lines_of(data)).head.key
    assert set(proof_of(data, bytes(32)).faults) >= {
        f"segment 3: its key {name} is not one that is trusted",
        f"its key {name} is not one that is trusted",
    }
    assert proof_of(data, bytes(32), key).faults == []


async def test_a_day_on_which_the_key_changed_is_proved_with_the_old_one(
    three_days: Archive, principal: Principal
) -> None:
    old, new = await rotate_key(three_days, principal)
    await append(three_days, "after")
    assert await three_days.sealer.seal_waiting() == 2
    data = await made(three_days, DAYS[2])
    proof = ManifestProof(read_manifest(lines_of(data)), [old])
    assert len(list(proof.segments())) == 4
    assert proof.faults == []
    await append(three_days, "later")
    later = ManifestProof(read_manifest(lines_of(await made(three_days, DAYS[1]))), [old])
    assert (len(list(later.segments())), later.faults) == (2, [])
    assert new != old


def without(data: bytes, first: int, count: int) -> bytes:
    """Return a manifest without some of its segments, which are 6 lines each here."""
    lines = data.splitlines(keepends=True)
    kept = lines[: 4 + 6 * first] + lines[4 + 6 * (first + count) :]
    return b"".join(kept).replace(b"]},\n]}", b"]}\n]}")


def swapped(data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    turned = lines[:4] + lines[10:16] + lines[4:10] + lines[16:]
    turned[9], turned[15] = b"]},\n", b"]}\n"
    return b"".join(turned)


CHANGES: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda data: data.replace(b'"kind":"more"', b'"kind":"less"', 1), "not those that were"),
    (lambda data: data.replace(b"T00:00:00.000000Z", b"T00:00:01.000000Z"), "signature is not"),
    (lambda data: without(data, 0, 1), "segment 3 was expected here, and it is 4"),
    (lambda data: without(data, 1, 1), "its last segment is not segment 4"),
    (lambda data: without(data, 0, 2), "its last segment is not segment 4"),
    (swapped, "segment 3 was expected here, and it is 4"),
    (lambda data: data[:-3], "its end is missing"),
    (lambda data: data.replace(b'"last":4', b'"last":5'), "its last segment is not segment 5"),
    (lambda data: data.replace(b'"entries":4', b'"entries":5'), "and 5 were signed"),
    (lambda data: data.replace(b'"complete":true', b'"complete":false'), "own signature"),
    (lambda data: data.replace(b'"date":"2026-01-31"', b'"date":"2026-01-30"'), "sealed on"),
]


async def test_what_is_changed_in_a_manifest_is_found(three_days: Archive) -> None:
    data, key = await made(three_days, DAYS[1]), await key_of(three_days)
    for change, fault in CHANGES:
        changed = change(data)
        assert changed != data, fault
        assert any(fault in found for found in proof_of(changed, key).faults), fault


@pytest.mark.parametrize("data", [b"", b"{}", b"[]\n[]\n[]\n[]\n", b'{"manifest":{}}\n'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_manifest(lines_of(data))


async def test_a_manifest_of_another_form_is_refused(three_days: Archive) -> None:
    data = await made(three_days, DAYS[1])
    for changed in (data.replace(b'"segments"', b'"Segments"'), data.replace(b'":1,', b'": 1,', 1)):
        assert changed != data
        with pytest.raises(InvalidRequest):
            read_manifest(lines_of(changed))


async def test_days_without_a_seal_have_no_manifest(three_days: Archive) -> None:
    for day in ("2026-02-01", "2026-01-29", "2027-01-01"):
        with pytest.raises(NotFound):
            await made(three_days, day)
    for wrong in ("yesterday", "2026-02-30", "9999-12-31"):
        with pytest.raises(InvalidRequest):
            await made(three_days, wrong)


async def test_manifests_are_for_administrators_who_see_everything(archive: Archive) -> None:
    for asks in (
        Principal("viewer", verbs=frozenset({Verb.VIEW})),
        Principal("site", scope=Scope(studies=frozenset({"1.2"}))),
    ):
        with pytest.raises(Forbidden):
            await open_manifest(archive, asks, DAYS[0])


async def test_a_manifest_breaks_off_where_a_segment_is_lost(
    three_days: Archive, tmp_path: Path
) -> None:
    pieces = await open_manifest(three_days, Principal("test"), DAYS[0])
    assert await anext(pieces)
    assert await anext(pieces)
    path_of(tmp_path, 2).unlink()
    with pytest.raises(Unavailable, match="segment 2 of the log is missing"):
        await anext(pieces)
