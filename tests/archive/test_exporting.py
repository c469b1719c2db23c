"""Export on a real archive: names, bytes, and that nothing is overwritten."""

import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import HangingProtocolStorage

from app.archive.context import Archive
from app.archive.export_names import Wish, clean, distinct, instance_name, series_folder
from app.archive.export_targets import Folder, Zip
from app.archive.exporting import Exported, export_category, export_study
from app.archive.store import store_instances
from app.dicom.uids import NonPatientRef, SeriesRef, StudyRef
from app.errors import Conflict, Forbidden, NotFound, StorageFull
from app.rights import Principal, Scope, Verb
from tests.archive.test_store import parts, store
from tests.factories import make_non_patient, make_part10, new_uid

OPERATOR = Principal("op")


@pytest.fixture
async def study(archive: Archive) -> tuple[str, list[bytes]]:
    """A Study of two Series; the second has an Instance Number twice."""
    uid, first, second = new_uid(), new_uid(), new_uid()
    common: dict[str, Any] = {
        "StudyInstanceUID": uid,
        "PatientID": "4711",
        "PatientName": "Doe^Jane",
        "StudyDate": "20240131",
        "StudyDescription": "Thorax/Abdomen",
        "Modality": "CT",
    }
    made = [
        make_part10(
            SeriesInstanceUID=series,
            SeriesNumber=number,
            SeriesDescription=words,
            InstanceNumber=instance,
            **common,
        )
        for series, number, words, instance in [
            (first, 1, "Scout", 1),
            (second, 2, "Lung 1.0", 1),
            (second, 2, "Lung 1.0", 2),
            (second, 2, "Lung 1.0", 2),
        ]
    ]
    await store(archive, OPERATOR, *made)
    return uid, made


async def export(
    archive: Archive, ref: StudyRef | SeriesRef, target: Folder | Zip
) -> Sequence[Exported]:
    told: list[Exported] = []
    with target:
        await export_study(archive, OPERATOR, ref, target, told.append)
    return told


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_study_becomes_files_with_readable_names_and_the_stored_bytes(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, made = study
    await export(archive, StudyRef(uid), Folder(tmp_path / "out"))
    written = files(tmp_path / "out")
    assert sorted(written.values()) == sorted(made)
    roots = {name.rsplit("/", 2)[0] for name in written}
    assert len(roots) == 1
    assert roots.pop().startswith("4711 Doe Jane/20240131 Thorax_Abdomen (")
    below = sorted("/".join(name.split("/")[2:]) for name in written)
    assert below[:2] == ["001 CT Scout/00001.dcm", "002 CT Lung 1.0/00001.dcm"]
    assert all(name.startswith("002 CT Lung 1.0/00002 (") for name in below[2:])


async def test_an_export_that_was_broken_off_goes_on(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, _ = study
    await export(archive, StudyRef(uid), Folder(tmp_path / "out"))
    before = files(tmp_path / "out")
    next(path for path in (tmp_path / "out").rglob("*.dcm")).unlink()
    told = await export(archive, StudyRef(uid), Folder(tmp_path / "out"))
    assert sorted(one.was_there for one in told) == [False, True, True, True]
    assert files(tmp_path / "out") == before


async def test_another_file_of_that_name_is_never_overwritten(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, _ = study
    await export(archive, StudyRef(uid), Folder(tmp_path / "out"))
    victim = next(path for path in (tmp_path / "out").rglob("*.dcm"))
    victim.unlink()
    victim.write_bytes(b"mine")
    with pytest.raises(Conflict):
        await export(archive, StudyRef(uid), Folder(tmp_path / "out"))
    assert victim.read_bytes() == b"mine"


async def test_one_series_can_be_exported(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, _ = study
    rows = await archive.index.fetch(
        "SELECT series_instance_uid FROM series WHERE series_number = 2"
    )
    ref = SeriesRef(uid, rows[0]["series_instance_uid"])
    assert len(await export(archive, ref, Folder(tmp_path / "out"))) == 3


async def test_a_study_becomes_a_zip(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, made = study
    began = datetime.now().astimezone()
    await export(archive, StudyRef(uid), Zip(tmp_path / "out.zip"))
    with zipfile.ZipFile(tmp_path / "out.zip") as file:
        assert file.testzip() is None
        assert {info.date_time[0] for info in file.infolist()} <= {began.year, began.year + 1}
        assert sorted(map(file.read, file.namelist())) == sorted(made)
    assert "out.zip" in files(tmp_path)
    assert ".out.zip.part" not in files(tmp_path)
    with pytest.raises(Conflict):
        await export(archive, StudyRef(uid), Zip(tmp_path / "out.zip"))


async def test_a_study_twice_in_one_zip_is_a_conflict_and_no_zip_is_left(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, _ = study

    async def twice() -> None:
        with Zip(tmp_path / "out.zip") as target:
            for _ in range(2):
                await export_study(archive, OPERATOR, StudyRef(uid), target, lambda _: None)

    with pytest.raises(Conflict):
        await twice()
    assert not [name for name in files(tmp_path) if "out.zip" in name]


@pytest.mark.parametrize("kind", [Folder, Zip])
async def test_a_damaged_object_is_told_of_and_the_others_are_written(
    archive: Archive,
    study: tuple[str, list[bytes]],
    tmp_path: Path,
    kind: type[Folder] | type[Zip],
) -> None:
    uid, made = study
    keys = sorted([key async for key in archive.objects.keys("")])
    damaged, gone = (tmp_path / "objects" / key for key in keys[:2])
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.unlink()
    damaged.write_bytes(data)
    gone.unlink()
    told = await export(archive, StudyRef(uid), kind(tmp_path / "out.zip"))
    assert sorted(one.fault for one in told) == [
        "",
        "",
        "its object is damaged",
        "its object is missing or cut short",
    ]
    if kind is Folder:
        assert len(files(tmp_path / "out.zip")) == len(made) - 2
    else:
        assert len(zipfile.ZipFile(tmp_path / "out.zip").namelist()) == len(made) - 2


@pytest.mark.parametrize("kind", [Folder, Zip])
async def test_an_object_that_is_seen_to_be_damaged_at_its_end_is_taken_back_or_marked(
    archive: Archive,
    study: tuple[str, list[bytes]],
    tmp_path: Path,
    kind: type[Folder] | type[Zip],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.objects.local.BLOCK", 100)  # as if it were a large one
    uid, made = study
    damaged = tmp_path / "objects" / min([key async for key in archive.objects.keys("")])
    data = bytearray(damaged.read_bytes())
    data[-1] ^= 1
    damaged.unlink()
    damaged.write_bytes(data)
    told = await export(archive, StudyRef(uid), kind(tmp_path / "out.zip"))
    assert [one.fault for one in told if one.fault] == ["its object is damaged"]
    if kind is Folder:
        assert len(files(tmp_path / "out.zip")) == len(made) - 1
    else:
        names = zipfile.ZipFile(tmp_path / "out.zip").namelist()
        assert sum(name.endswith(".DAMAGED.txt") for name in names) == 1


async def test_only_who_may_see_a_study_exports_it(
    archive: Archive, study: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    uid, _ = study
    nobody = Principal("nobody", verbs=frozenset({Verb.STORE}))
    stranger = Principal("stranger", Scope(studies=frozenset()))
    for principal, error in ((nobody, Forbidden), (stranger, NotFound)):
        with pytest.raises(error), Folder(tmp_path / "out") as target:
            await export_study(archive, principal, StudyRef(uid), target, lambda _: None)


async def test_a_full_disk_leaves_no_half_file(
    archive: Archive,
    study: tuple[str, list[bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("full")

    uid, _ = study
    monkeypatch.setattr(Folder, "write", full)
    monkeypatch.setattr(Zip, "write", full)
    for target in (Folder(tmp_path / "out"), Zip(tmp_path / "out.zip")):
        with pytest.raises(StorageFull):
            await export(archive, StudyRef(uid), target)
    assert files(tmp_path / "out") == {}
    assert not [name for name in files(tmp_path) if "out.zip" in name]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Doe^Jane", "Doe Jane"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "otherwise"),
        ("  ", "otherwise"),
        ("///", "otherwise"),
        ("a\0b\nc", "a_b_c"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Müller^Ödön", "Müller Ödön"),
        ("山田^太郎", "山田 太郎"),
        ("x" * 100, "x" * 60),
        (".hidden", "hidden"),
        ("ends with dot.", "ends with dot"),
    ],
)
def test_a_name_is_safe_on_any_file_system(text: str, name: str) -> None:  # Z-01
    assert clean(text, "otherwise") == name


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    names = distinct([Wish("Lung", "1.1"), Wish("LUNG", "1.2"), Wish("Liver", "1.3")])
    assert len({name.casefold() for name in names.values()}) == 3
    assert names["1.3"] == "Liver"


def test_without_numbers_uids_and_words_stand_in() -> None:
    assert instance_name({"00080018": {"vr": "UI", "Value": ["1.2.3"]}}) == "1.2.3"
    assert series_folder({}) == "series"
    assert series_folder({"00200011": {"vr": "IS", "Value": [None]}}) == "series"


async def test_a_category_is_exported_byte_for_byte(archive: Archive, tmp_path: Path) -> None:
    made = {
        dataset.SOPInstanceUID: make_part10(dataset)
        for dataset in (make_non_patient(HangingProtocolStorage) for _ in range(3))
    }
    into = NonPatientRef("hanging-protocols")
    await store_instances(archive, OPERATOR, parts(*made.values()), into)
    damaged = next(iter(made))
    async for key in archive.objects.keys(f"t/1/hanging-protocols/{damaged}."):
        await archive.objects.delete(key)
    told: list[Exported] = []
    for _ in range(2):
        with Folder(tmp_path / "out") as target:
            await export_category(archive, OPERATOR, "hanging-protocols", target, told.append)
            await export_category(archive, OPERATOR, "inventories", target, told.append)
    assert [one.name for one in told if one.fault] == [f"hanging-protocols/{damaged}.dcm"] * 2
    assert [one.was_there for one in told if not one.fault] == [False, False, True, True]
    kept = {f"hanging-protocols/{uid}.dcm": data for uid, data in made.items() if uid != damaged}
    assert files(tmp_path / "out") == kept
    less = Principal("less", verbs=frozenset(Verb) - {Verb.EXPORT})
    with pytest.raises(Forbidden):
        await export_category(archive, less, "inventories", Folder(tmp_path), told.append)
