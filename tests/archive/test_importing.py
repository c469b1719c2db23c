"""Import on a real archive: what is found, what is skipped, what is refused."""

import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import UID, ColorPaletteStorage, ExplicitVRLittleEndian

from app.archive.context import Archive
from app.archive.found_files import FoundFile, Unreadable, find_files
from app.archive.import_memory import ImportMemory
from app.archive.importing import Fate, Imported, import_files
from app.dicom.media_directory import MEDIA_STORAGE_DIRECTORY
from app.errors import StorageFull, Unavailable
from app.rights import Principal
from tests.archive.test_store import objects, rows
from tests.factories import make_dataset, make_non_patient, make_part10


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[ImportMemory]:
    with ImportMemory(tmp_path / "imports.sqlite3") as memory:
        yield memory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


async def bring_in(archive: Archive, memory: ImportMemory, paths: Iterable[Path]) -> list[Imported]:
    told: list[Imported] = []
    await import_files(archive, Principal("op"), find_files(paths), memory, told.append, 4)
    return told


def fates(told: Iterable[Imported]) -> dict[Fate, int]:
    return dict(Counter(one.fate for one in told))


async def test_a_folder_is_imported_with_all_below_it(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    for number in range(25):
        folder = source / f"s{number % 3}" / "deep"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"IM{number}").write_bytes(make_part10())
    (source / "README.txt").write_text("read me")
    (source / "empty").write_bytes(b"")
    told = await bring_in(archive, memory, [source])
    assert fates(told) == {Fate.STORED: 25, Fate.NO_DICOM: 2}
    assert await rows(archive) == 25


async def test_running_again_skips_what_is_stored(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    for number in range(5):
        (source / f"{number}").write_bytes(make_part10())
    await bring_in(archive, memory, [source])
    (source / "new").write_bytes(make_part10())
    assert fates(await bring_in(archive, memory, [source])) == {Fate.SKIPPED: 5, Fate.STORED: 1}


async def test_a_changed_file_is_not_skipped(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    file = source / "1"
    file.write_bytes(make_part10())
    await bring_in(archive, memory, [source])
    file.write_bytes(make_part10())
    assert fates(await bring_in(archive, memory, [source])) == {Fate.STORED: 1}


async def test_the_memory_is_not_believed_over_the_index(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    (source / "1").write_bytes(make_part10())
    await bring_in(archive, memory, [source])
    async with archive.transaction() as session:
        await session.exec_driver_sql("DELETE FROM instance")
    assert fates(await bring_in(archive, memory, [source])) == {Fate.STORED: 1}


async def test_without_its_memory_an_import_finds_the_same_out_by_storing(
    archive: Archive, source: Path, tmp_path: Path
) -> None:
    (source / "1").write_bytes(make_part10())
    with ImportMemory(tmp_path / "no" / "such" / "folder") as unusable:
        await bring_in(archive, unusable, [source])
    (tmp_path / "broken").write_bytes(b"this is no SQLite file, is it? " * 100)
    with ImportMemory(tmp_path / "broken") as broken:
        assert fates(await bring_in(archive, broken, [source])) == {Fate.KNOWN: 1}


async def test_what_is_refused_is_told_with_its_reason(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    dataset = make_dataset()
    (source / "1").write_bytes(make_part10(dataset))
    await bring_in(archive, memory, [source])
    dataset.PatientID = "other"
    (source / "2").write_bytes(make_part10(dataset))
    (source / "3").write_bytes(make_part10()[:-50])
    told = {one.name: one for one in await bring_in(archive, memory, [source])}
    assert told[f"{source}/2"].reason == 0x0111
    assert told[f"{source}/3"].reason == 0xC001
    assert told[f"{source}/3"].comment


async def test_a_zip_is_imported_without_being_unpacked(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    with zipfile.ZipFile(source / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../escape", make_part10())
        file.writestr("/absolute", make_part10(Rows=900, Columns=900))
        file.writestr("__MACOSX/._x", b"resource fork")
        file.writestr("inner.ZIP", b"PK")
        file.writestr("folder/", b"")
    before = set(source.parent.rglob("*"))
    told = await bring_in(archive, memory, [source / "a.zip"])
    assert fates(told) == {Fate.STORED: 2, Fate.REFUSED: 1}
    assert {path.name for path in set(source.parent.rglob("*")) - before} <= {
        path.name for path in (source.parent / "objects").rglob("*")
    } | {"imports.sqlite3-wal", "imports.sqlite3-shm"}
    assert fates(await bring_in(archive, memory, [source])) == {Fate.SKIPPED: 2, Fate.REFUSED: 1}


async def test_broken_zips_are_told(archive: Archive, memory: ImportMemory, source: Path) -> None:
    (source / "1.zip").write_bytes(b"no zip")
    with zipfile.ZipFile(source / "2.zip", "w") as file:
        file.writestr("member", make_part10())
    data = bytearray((source / "2.zip").read_bytes())
    data[300] ^= 0xFF
    (source / "2.zip").write_bytes(data)
    with zipfile.ZipFile(source / "3.zip", "w") as file:
        file.writestr("secret", make_part10())
    data = bytearray((source / "3.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (source / "3.zip").write_bytes(data)
    told = {Path(one.name).name: one for one in await bring_in(archive, memory, [source])}
    assert {one.fate for one in told.values()} == {Fate.REFUSED}
    assert told["2.zip!member"].comment == "cannot be read: BadZipFile"
    assert told["3.zip!secret"].comment == "is encrypted"
    assert await rows(archive) == 0


async def test_a_zip_bomb_is_stopped(
    archive: Archive, memory: ImportMemory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.archive.importing._FREE_GROWTH", 2**20)
    with zipfile.ZipFile(source / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb", make_part10()[:-600] + bytes(30_000_000))
    (one,) = await bring_in(archive, memory, [source])
    assert one.comment == "grows more than 200 times when it is unpacked"


async def test_what_is_of_no_patient_is_imported_too(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    palette = make_part10(make_non_patient(ColorPaletteStorage))
    (source / "palette").write_bytes(palette)
    (source / "image").write_bytes(make_part10())
    told = await bring_in(archive, memory, [source])
    assert fates(told) == {Fate.STORED: 2}
    assert await rows(archive) == 1
    assert palette in await objects(archive)
    assert fates(await bring_in(archive, memory, [source])) == {Fate.SKIPPED: 2}


def write_dicomdir(path: Path, files: list[list[str]]) -> None:
    dataset = Dataset()
    dataset.FileSetID = "TEST"
    records = []
    for components in files:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = components
        records.append(record)
    dataset.DirectoryRecordSequence = Sequence([*records, Dataset()])
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(MEDIA_STORAGE_DIRECTORY)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, dataset, enforce_file_format=True)


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
async def test_a_dicomdir_leads_to_its_files_and_nowhere_else(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    medium = source / "cd"
    (medium / "images").mkdir(parents=True)
    (medium / "images" / "im1;1").write_bytes(make_part10())
    (medium / "images" / "IM2").write_bytes(make_part10())
    (source / "outside").write_bytes(make_part10())
    (medium / "link").symlink_to(source)
    files = [["IMAGES", "IM1"], ["IMAGES", "IM2"], ["..", "OUTSIDE"], ["LINK", "OUTSIDE"], ["GONE"]]
    write_dicomdir(medium / "DICOMDIR", files)
    told = await bring_in(archive, memory, [medium / "DICOMDIR"])
    assert fates(told) == {Fate.STORED: 2, Fate.REFUSED: 3}
    assert all("not found" in one.comment for one in told if one.fate is Fate.REFUSED)


async def test_a_folder_with_a_dicomdir_is_imported_without_it(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    write_dicomdir(source / "DICOMDIR", [["IM1"]])
    write_dicomdir(source / "renamed", [["IM1"]])
    (source / "IM1").write_bytes(make_part10())
    told = await bring_in(archive, memory, [source])
    assert fates(told) == {Fate.STORED: 1, Fate.NO_DICOM: 1}


async def test_pydicoms_dicomdirs_lead_to_their_files(
    archive: Archive, memory: ImportMemory
) -> None:
    path = Path(str(get_testdata_file("DICOMDIR")))
    named = [
        record.ReferencedFileID
        for record in dcmread(path).DirectoryRecordSequence
        if "ReferencedFileID" in record
    ]
    told = await bring_in(archive, memory, [path])
    assert len(told) == len(named)
    assert Fate.NO_DICOM not in fates(told)
    assert fates(told)[Fate.STORED] == await rows(archive)


@pytest.mark.parametrize("content", [b"", b"no DICOM", make_part10()[:600]])
def test_a_broken_dicomdir_is_told(source: Path, content: bytes) -> None:
    (source / "DICOMDIR").write_bytes(content)
    (found,) = find_files([source / "DICOMDIR"])
    assert isinstance(found, Unreadable)


def test_a_dicomdir_without_records_has_no_files(source: Path) -> None:
    write_dicomdir(source / "DICOMDIR", [])
    dataset = dcmread(source / "DICOMDIR")
    del dataset.DirectoryRecordSequence
    dcmwrite(source / "DICOMDIR", dataset)
    assert list(find_files([source / "DICOMDIR"])) == []


def test_pipes_and_links_to_nothing_are_not_waited_for(source: Path) -> None:
    os.mkfifo(source / "pipe")
    (source / "link").symlink_to("nowhere")
    (found,) = find_files([source])
    assert found == Unreadable(f"{source}/pipe", "is not a file")


def test_links_to_folders_are_told_and_not_followed(source: Path, tmp_path: Path) -> None:
    (source / "again").symlink_to(source)
    assert list(find_files([source])) == [
        Unreadable(f"{source}/again", "is a link to a folder: name it to follow it")
    ]
    (tmp_path / "named").symlink_to(source)
    assert len(list(find_files([tmp_path / "named"]))) == 1


def test_what_cannot_be_listed_is_told(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr(os, "scandir", refused)
    assert list(find_files([source])) == [Unreadable(str(source), "Permission denied")]
    assert list(find_files([source / "gone"])) == [
        Unreadable(f"{source}/gone", "No such file or directory")
    ]


async def test_a_file_that_cannot_be_opened_is_refused_alone(
    archive: Archive, memory: ImportMemory, source: Path
) -> None:
    (source / "good").write_bytes(make_part10())
    (source / "gone").write_bytes(make_part10())
    found = list(find_files([source]))
    (source / "gone").unlink()
    told: list[Imported] = []
    await import_files(archive, Principal("op"), iter(found), memory, told.append)
    assert fates(told) == {Fate.STORED: 1, Fate.REFUSED: 1}


async def test_a_full_disk_ends_an_import_and_nothing_told_of_is_lost(
    archive: Archive, memory: ImportMemory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (source / f"{number}").write_bytes(make_part10())
    fsync, left = os.fsync, iter(range(12))

    def full(fd: int) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        fsync(fd)

    told: list[Imported] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await import_files(
                archive, Principal("op"), find_files([source]), memory, told.append, 1
            )
    assert await rows(archive) == len(told) < 6
    assert fates(await bring_in(archive, memory, [source]))[Fate.SKIPPED] == len(told)


async def test_an_index_that_comes_back_is_waited_for(
    archive: Archive, memory: ImportMemory, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "1").write_bytes(make_part10())
    monkeypatch.setattr("app.archive.importing._PATIENCE", (3, 0.01))
    answers = iter([Unavailable("starting"), None])
    add = archive.writer.add

    async def flaky(*arguments: object) -> object:
        if error := next(answers):
            raise error
        return await add(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archive.writer, "add", flaky)
    assert fates(await bring_in(archive, memory, [source])) == {Fate.STORED: 1}

    async def gone(*_: object) -> object:
        raise Unavailable("gone")

    monkeypatch.setattr(archive.writer, "add", gone)
    (source / "2").write_bytes(make_part10())
    with pytest.raises(Unavailable):
        await bring_in(archive, memory, [source])


def test_a_found_file_names_its_size(source: Path) -> None:
    (source / "1").write_bytes(b"12345")
    (found,) = find_files([source / "1"])
    assert isinstance(found, FoundFile)
    assert found.size == 5
