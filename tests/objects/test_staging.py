import asyncio
import hashlib
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.dicom.limits import Limits
from app.errors import StorageFull, TooLarge, Unavailable
from app.objects.staging import Staging
from tests.objects.test_contract import chunks

PART10 = (
    bytes(128)
    + b"DICM\x02\x00\x00\x00UL\x04\x00\x1c\x00\x00\x00"
    + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00"
    + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
)
DATASET = PART10[-18:]


@pytest.mark.parametrize("size", [0, 70_000, 5_000_000])
async def test_both_digests_are_of_the_bytes_received(staging: Staging, size: int) -> None:
    data = PART10 + bytes(size)
    staged = await staging.stage(chunks(data))
    assert staged.size == len(data)
    assert staged.sha256 == hashlib.sha256(data).digest()
    assert staged.dataset_sha256 == hashlib.sha256(DATASET + bytes(size)).digest()
    staged.discard()


@pytest.mark.parametrize("size", [10, 70_000])
async def test_bytes_without_meta_information_are_all_data_set(staging: Staging, size: int) -> None:
    staged = await staging.stage(chunks(bytes(size)))
    assert staged.sha256 == staged.dataset_sha256 == hashlib.sha256(bytes(size)).digest()
    staged.discard()


@pytest.mark.parametrize(("size", "files"), [(999, 0), (70_000, 1)])
async def test_a_part_past_the_limit_goes_to_a_file(
    staging: Staging, size: int, files: int
) -> None:
    staged = await staging.stage(chunks(bytes(size)))
    assert len(list(staging.directory.iterdir())) == files
    assert staged.source().read(size - 3, 10) == bytes(3)
    staged.discard()
    staged.discard()
    assert list(staging.directory.iterdir()) == []


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_a_part_gets_another_head(staging: Staging, size: int) -> None:  # S-21
    data = DATASET + bytes(size)
    prefix = PART10[:-18]
    received = await staging.stage(chunks(b"skipped" + data))
    staged = received.with_head(prefix, skip=7)
    assert staged.size == len(prefix + data)
    assert staged.sha256 == hashlib.sha256(prefix + data).digest()
    assert staged.dataset_sha256 == hashlib.sha256(data).digest()
    assert staged.source().read(0, 10_000_000) == prefix + data
    received.discard()
    staged.discard()
    assert list(staging.directory.iterdir()) == []


async def test_when_memory_is_used_up_small_parts_go_to_files(tmp_path: Path) -> None:
    staging = Staging(tmp_path, Limits(), memory_bytes=150_000)
    first = await staging.stage(chunks(bytes(100_000)))
    second = await staging.stage(chunks(bytes(100_000)))
    assert len(list(staging.directory.iterdir())) == 1
    first.discard()
    third = await staging.stage(chunks(bytes(100_000)))
    assert len(list(staging.directory.iterdir())) == 1
    second.discard()
    third.discard()
    assert staging._memory_left == 150_000
    staging.close()


async def broken() -> AsyncIterator[bytes]:
    yield bytes(2_000_000)
    yield bytes(10)
    raise ConnectionError


async def test_a_part_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    for limit in (1000, 4_000_000):
        staging = Staging(tmp_path, Limits(memory_part_bytes=limit), memory_bytes=10**7)
        with pytest.raises(ConnectionError):
            await staging.stage(broken())
        assert list(staging.directory.iterdir()) == []
        assert staging._memory_left == 10**7
        staging.close()


async def test_a_part_over_the_limit_is_refused(tmp_path: Path) -> None:
    staging = Staging(tmp_path, Limits(memory_part_bytes=10, part_bytes=1_500_000))
    with pytest.raises(TooLarge):
        await staging.stage(chunks(bytes(3_000_000)))
    assert list(staging.directory.iterdir()) == []
    staging.close()


async def test_many_tiny_chunks_take_no_more_than_their_bytes(staging: Staging) -> None:
    async def tiny() -> AsyncIterator[bytes]:
        for _ in range(900):
            yield b"x"

    staged = await staging.stage(tiny())
    assert staged.source().read(0, 1000) == b"x" * 900
    staged.discard()


def test_directories_of_dead_processes_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from app.dicom.limits import Limits;"
        "from app.objects.staging import Staging; s = Staging(Path(sys.argv[1]), Limits());"
        "(s.directory / '1.part').write_bytes(b'x'); print('ready', flush=True); time.sleep(60)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    with started:
        assert started.stdout is not None
        started.stdout.readline()
        Staging(tmp_path, Limits()).close()
        assert len(list(tmp_path.iterdir())) == 1
        started.kill()
    (tmp_path / "a file of nobody").write_bytes(b"")
    mine = Staging(tmp_path, Limits())
    assert {path.name for path in tmp_path.iterdir()} == {mine.directory.name, "a file of nobody"}
    mine.close()


def test_a_staging_directory_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        Staging(tmp_path / "file", Limits())


async def test_parts_are_staged_side_by_side(staging: Staging) -> None:
    parts = await asyncio.gather(*(staging.stage(chunks(bytes([n]) * 70_000)) for n in range(20)))
    assert [part.source().read(2999, 1)[0] for part in parts] == list(range(20))
    for part in parts:
        part.discard()


async def test_a_head_that_cannot_be_written_leaves_nothing_more(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _pieces: object) -> int:
        raise OSError(28, "No space left on device")

    staged = await staging.stage(chunks(bytes(3_000_000)))
    before = list(staging.directory.iterdir())
    monkeypatch.setattr("os.writev", full)
    with pytest.raises(StorageFull):
        staged.with_head(b"head", skip=0)
    assert list(staging.directory.iterdir()) == before
    staged.discard()


@pytest.mark.parametrize("size", [10, 70_000])
async def test_nothing_is_stored_past_the_reserve(tmp_path: Path, size: int) -> None:
    free = shutil.disk_usage(tmp_path).free
    limits = Limits(memory_part_bytes=1000, reserve_bytes=2 * free)
    staging = Staging(tmp_path / "full", limits)
    with pytest.raises(StorageFull):
        (await staging.stage(chunks(bytes(size)))).write_out()
    assert await staging.free_bytes() == 0
    assert list(staging.directory.iterdir()) == []
    staging.close()


async def test_free_is_what_can_be_stored(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    staging = Staging(tmp_path / "staging", Limits(reserve_bytes=free // 2))
    assert 0 < await staging.free_bytes() < free * 0.75
    staging.close()
