"""`application/zip`: the Instances of a Study, a Series or one, as one file that streams."""

import hashlib
import re
import shutil
import zipfile
from io import BytesIO
from pathlib import Path
from subprocess import run

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.fileset import FileSet
from pydicom.uid import ImplicitVRLittleEndian

from tests.dicomweb.test_wado_rs import path_of, sample, store
from tests.factories import make_dataset, make_part10, make_series, new_uid

ZIP = {"accept": "application/zip"}


def unzip(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(answer.content)) as file:
        assert file.testzip() is None
        return {name: file.read(name) for name in file.namelist()}


async def test_a_study_comes_as_one_zip_with_names_for_people(
    client: httpx.AsyncClient,
) -> None:  # M-23
    study = new_uid()
    names = {"PatientName": "Doe^Jane", "PatientID": "7", "StudyDescription": "Thorax/CT"}
    ct = make_series(3, StudyInstanceUID=study, SeriesNumber=1, **names)
    mr = make_series(2, StudyInstanceUID=study, SeriesNumber=2, Modality="MR", **names)
    parts = [make_part10(dataset) for dataset in (*ct, *mr)]
    await store(client, *parts)
    answer = await client.get(f"/studies/{study}", headers=ZIP)
    found = unzip(answer)
    assert sorted(found.values()) == sorted(parts)
    assert answer.headers["content-disposition"] == f'attachment; filename="{study}.zip"'
    assert all(name.startswith("7 Doe Jane/") and name.endswith(".dcm") for name in found)
    assert sum("001 CT" in name for name in found) == 3
    series = await client.get(path_of(mr[0]).rpartition("/instances")[0], headers=ZIP)
    assert sorted(unzip(series).values()) == sorted(parts[3:])
    one = await client.get(path_of(ct[1]) + "?accept=application/zip")
    assert list(unzip(one).values()) == [parts[1]]


async def test_a_zip_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    for url in (path_of(dataset), path_of(dataset).partition("/series")[0]):
        etag = (await client.get(url, headers=ZIP)).headers["etag"]
        again = await client.get(url, headers={**ZIP, "if-none-match": etag})
        assert (again.status_code, again.content) == (304, b"")
        other = await client.get(url, headers={"accept": "application/dicom, */*"})
        assert other.headers["etag"].strip('W/"') != etag.strip('W/"')


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/zip;q=0.5, multipart/related; type=application/dicom", "multipart"),
        ("multipart/related; type=application/dicom;q=0.5, application/zip", "application/zip"),
        ("image/jpeg, application/zip", "application/zip"),
        ("multipart/related; type=image/jpeg, application/zip;q=0.1", "application/zip"),
        ("*/*", "multipart"),
        ("application/zip;q=0, */*", "multipart"),
    ],
)
async def test_a_zip_is_sent_to_who_wants_it_most(
    client: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    answer = await client.get(path_of(dataset), headers={"accept": accept})
    assert answer.headers["content-type"].startswith(content_type)


async def test_implicit_vr_leaves_in_no_zip_and_a_syntax_may_be_named(
    client: httpx.AsyncClient,
) -> None:  # M-05
    implicit = make_dataset()
    compressed, original = sample("MR_small_RLE.dcm")
    await store(client, make_part10(implicit, transfer_syntax=ImplicitVRLittleEndian), compressed)
    (content,) = unzip(await client.get(path_of(implicit), headers=ZIP)).values()
    assert dcmread(BytesIO(content)).file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    (content,) = unzip(await client.get(path_of(original), headers=ZIP)).values()
    assert content == compressed
    explicit = {"accept": "application/zip; transfer-syntax=1.2.840.10008.1.2.1"}
    (content,) = unzip(await client.get(path_of(original), headers=explicit)).values()
    assert dcmread(BytesIO(content)).pixel_array.tobytes() == original.pixel_array.tobytes()
    wrong = {"accept": "application/zip; transfer-syntax=1.2.3"}
    assert (await client.get(path_of(original), headers=wrong)).status_code == 406


async def test_a_large_zip_is_whole(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """Larger than the pieces that are read, so that it really streams."""
    large: Dataset = make_dataset(Rows=1500, Columns=1000, NumberOfFrames=2)
    await store(client, make_part10(large))
    (content,) = unzip(await client.get(path_of(large), headers=ZIP)).values()
    assert hashlib.sha256(content).digest() == hashlib.sha256(make_part10(large)).digest()


def put(files: dict[str, bytes], directory: Path) -> Path:
    """Write the files of a zip, and return the path of its DICOMDIR."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory / "DICOMDIR"


def instances_on(directory: Path) -> list[bytes]:
    """Return the files that pydicom finds by a DICOMDIR."""
    file_set = FileSet(directory)
    found = [Path(one.path).read_bytes() for one in file_set]
    file_set._stage["t"].cleanup()  # it warns if it has to do that itself
    return found


async def test_a_zip_is_like_a_medium_if_that_is_asked_for(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:  # M-23
    study = new_uid()
    ct = make_series(3, StudyInstanceUID=study, SeriesNumber=1)
    mr = make_series(2, StudyInstanceUID=study, SeriesNumber=2, Modality="MR")
    parts = [make_part10(dataset) for dataset in (*ct, *mr)]
    await store(client, *parts)
    instance = path_of(ct[0])
    for number, (url, expected) in enumerate(
        (
            (f"/studies/{study}", parts),
            (instance.partition("/instances")[0], parts[:3]),
            (instance, parts[:1]),
        )
    ):
        files = unzip(await client.get(f"{url}?dicomdir=yes", headers=ZIP))
        assert list(files)[-1] == "DICOMDIR"
        assert all(re.fullmatch(r"DICOM/S\d{7}/I\d{7}|DICOMDIR", name) for name in files)
        assert instances_on(put(files, tmp_path / str(number))) == expected


async def test_a_directory_says_the_syntax_that_is_in_the_zip(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian))
    for accept, syntax in (
        ("application/zip", "1.2.840.10008.1.2.1"),
        ("application/zip; transfer-syntax=1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.80"),
    ):
        url = f"{path_of(dataset)}?dicomdir=yes"
        files = unzip(await client.get(url, headers={"accept": accept}))
        *_, image = dcmread(BytesIO(files["DICOMDIR"])).DirectoryRecordSequence
        assert image.ReferencedTransferSyntaxUIDInFile == syntax
        assert (
            dcmread(BytesIO(files["DICOM/S0000001/I0000001"])).file_meta.TransferSyntaxUID == syntax
        )


async def test_a_zip_with_a_directory_has_an_etag_of_its_own(client: httpx.AsyncClient) -> None:
    dataset = make_dataset()
    await store(client, make_part10(dataset))
    url = path_of(dataset)
    plain = await client.get(f"{url}?dicomdir=no", headers=ZIP)
    with_directory = await client.get(f"{url}?dicomdir=yes", headers=ZIP)
    assert plain.headers["etag"] != with_directory.headers["etag"]
    known = {**ZIP, "if-none-match": with_directory.headers["etag"]}
    assert (await client.get(f"{url}?dicomdir=yes", headers=known)).status_code == 304
    assert (await client.get(url, headers=known)).status_code == 200
    assert (await client.get(f"{url}?dicomdir=maybe", headers=ZIP)).status_code == 400
    in_capitals = await client.get(f"{url}?dicomdir=YES", headers=ZIP)
    assert in_capitals.headers["etag"] == with_directory.headers["etag"]
    number = await client.get(f"{url}?dicomdir=1", headers=ZIP)
    assert number.status_code == 400
    assert "dicomdir=yes or dicomdir=no" in number.json()["detail"]
    without_zip = await client.get(f"{url}?dicomdir=yes")
    assert without_zip.status_code == 400
    assert "zip" in without_zip.json()["detail"]
    either = {"accept": f'multipart/related; type="application/dicom", {ZIP["accept"]};q=0.5'}
    preferred = await client.get(f"{url}?dicomdir=yes", headers=either)
    assert preferred.headers["etag"] == with_directory.headers["etag"]


def _dcmtk(directory: Path, *command: str) -> str:
    done = run(command, cwd=directory, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout


@pytest.mark.skipif(not shutil.which("dcmdump"), reason="DCMTK is not installed")
async def test_dcmtk_takes_the_directory(client: httpx.AsyncClient, tmp_path: Path) -> None:
    study = new_uid()
    series = make_series(2, StudyInstanceUID=study, PatientName="Doe^Jane")
    await store(client, *map(make_part10, series))
    files = unzip(await client.get(f"/studies/{study}?dicomdir=yes", headers=ZIP))
    path = put(files, tmp_path)
    dump = _dcmtk(tmp_path, "dcmdump", "DICOMDIR")
    assert dump.count("ReferencedFileID") == 2
    (tmp_path / "MORE").write_bytes(make_part10(PatientName="Doe^Jane", StudyID="S2"))
    _dcmtk(tmp_path, "dcmmkdir", "+A", "+D", "DICOMDIR", "MORE")  # reads it, and adds to it
    assert len(instances_on(path)) == 3


async def test_an_unknown_study_has_no_zip(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/studies/{new_uid()}", headers=ZIP)
    assert answer.status_code == 404


async def test_a_zip_that_could_not_hold_all_is_refused(client: httpx.AsyncClient) -> None:
    study = new_uid()
    grey = make_dataset(StudyInstanceUID=study)
    bits = make_dataset(StudyInstanceUID=study, BitsAllocated=1, BitsStored=1, HighBit=0)
    await store(client, make_part10(grey), make_part10(bits))
    headers = {"accept": "application/zip; transfer-syntax=1.2.840.10008.1.2.4.80"}
    answer = await client.get(f"/studies/{study}", headers=headers)
    assert answer.status_code == 406
    assert "a zip holds all" in answer.json()["detail"]
    assert len(unzip(await client.get(f"/studies/{study}", headers=ZIP))) == 2
