"""A DICOMDIR as pydicom reads it: every Instance found, with what it is."""

from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import Dataset, dcmread
from pydicom.fileset import FileSet as Oracle
from pydicom.uid import (
    CTImageStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    KeyObjectSelectionDocumentStorage,
    RTDoseStorage,
)

from app.dicom.document import Document
from app.dicom.file_set import FileSet
from app.dicom.limits import Limits
from app.dicom.media_directory import referenced_files
from app.dicom.record_types import record_keys, record_kind
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from tests.factories import make_dataset, make_part10, make_series, new_uid
from tests.samples import SAMPLES, UNREADABLE, sample_id

UID = "2.25.1"


def metadata_of(part10: bytes) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for fragment in scan(BytesSource(part10)).fragments.values():
        members |= orjson.loads(b"{%b}" % fragment)
    return members


def written(parts: list[bytes], directory: Path) -> bytes:
    """Write Instances and their DICOMDIR, and return that."""
    file_set = FileSet(Limits())
    for part in parts:
        metadata = metadata_of(part)
        path = directory / file_set.name(metadata)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part)
        file_set.add(Document(metadata).text("00080018"), ExplicitVRLittleEndian)
    data = b"".join(file_set.directory(UID))
    (directory / "DICOMDIR").write_bytes(data)
    return data


def records(data: bytes) -> list[Dataset]:
    return list(dcmread(BytesIO(data)).DirectoryRecordSequence)


def test_every_instance_is_found_by_the_directory(tmp_path: Path) -> None:  # M-23
    study = new_uid()
    ct = make_series(3, StudyInstanceUID=study, SeriesNumber=1)
    mr = make_series(2, StudyInstanceUID=study, SeriesNumber=2, Modality="MR")
    written([make_part10(one) for one in (*ct, *mr)], tmp_path)
    found = Oracle(tmp_path / "DICOMDIR")
    assert found.UID == UID
    assert [one.SOPInstanceUID for one in found] == [one.SOPInstanceUID for one in (*ct, *mr)]
    for one, dataset in zip(found, (*ct, *mr), strict=True):
        assert one.load() == dcmread(BytesIO(make_part10(dataset)))
        assert one.node._record.InstanceNumber == dataset.InstanceNumber
        assert one.StudyInstanceUID == study
        assert one.Modality == dataset.Modality
        assert str(one.PatientName) == dataset.PatientName
    assert all(len(part) <= 8 for one in found for part in Path(one.path).parts[-3:])
    found._stage["t"].cleanup()  # it warns if it has to do that itself


def test_records_say_what_they_are_of(tmp_path: Path) -> None:
    data = written([make_part10(make_dataset())], tmp_path)
    meta = dcmread(BytesIO(data)).file_meta
    assert meta.MediaStorageSOPClassUID == "1.2.840.10008.1.3.10"
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    patient, study, series, image = records(data)
    kinds = [one.DirectoryRecordType for one in (patient, study, series, image)]
    assert kinds == ["PATIENT", "STUDY", "SERIES", "IMAGE"]
    assert (patient.SpecificCharacterSet, patient.PatientID) == ("ISO_IR 192", "FR-0001")
    assert study.StudyDescription == "Thorax mit KM"
    assert image.ReferencedFileID == ["DICOM", "S0000001", "I0000001"]
    assert image.ReferencedSOPClassUIDInFile == CTImageStorage
    assert image.ReferencedTransferSyntaxUIDInFile == ExplicitVRLittleEndian
    assert [element.tag for element in image] == sorted(element.tag for element in image)
    assert referenced_files(BytesSource(data)) == [("DICOM", "S0000001", "I0000001")]


def test_what_was_not_written_is_not_in_it(tmp_path: Path) -> None:
    one, other = make_series(2)
    file_set = FileSet(Limits())
    for dataset in (one, other, make_dataset()):
        file_set.name(metadata_of(make_part10(dataset)))
    file_set.add(other.SOPInstanceUID, JPEGLSLossless)
    data = b"".join(file_set.directory(UID))
    *_, series, image = records(data)
    assert [record.DirectoryRecordType for record in records(data)].count("SERIES") == 1
    assert series.SeriesInstanceUID == other.SeriesInstanceUID
    assert image.ReferencedSOPInstanceUIDInFile == other.SOPInstanceUID
    assert image.ReferencedTransferSyntaxUIDInFile == JPEGLSLossless


def test_without_instances_it_is_empty() -> None:
    assert records(b"".join(FileSet(Limits()).directory(UID))) == []


def test_numbers_that_are_not_said_are_given(tmp_path: Path) -> None:
    dataset = make_dataset(StudyID=None, SeriesNumber=None, InstanceNumber=None, StudyDate=None)
    _, study, series, image = records(written([make_part10(dataset)], tmp_path))
    assert (study.StudyID, series.SeriesNumber, image.InstanceNumber) == ("1", 1, 1)
    assert not study.StudyDate


def test_a_value_that_is_none_of_its_vr_is_left_empty() -> None:
    file_set = FileSet(Limits())
    metadata = metadata_of(make_part10(make_dataset()))
    metadata["00100020"] = {"vr": "LO", "Value": ["a\\b"]}
    file_set.name(metadata)
    file_set.add(metadata["00080018"]["Value"][0], ExplicitVRLittleEndian)
    patient, *_ = records(b"".join(file_set.directory(UID)))
    assert not patient.PatientID
    assert str(patient.PatientName).startswith("Müller")


@pytest.mark.parametrize(
    ("sop_class", "kind", "keys"),
    [
        (CTImageStorage, "IMAGE", {"00200013"}),
        (RTDoseStorage, "RT DOSE", {"00200013", "3004000A"}),
        (KeyObjectSelectionDocumentStorage, "KEY OBJECT DOC", {"00080023", "0040A043"}),
        (EncapsulatedPDFStorage, "ENCAP DOC", {"00420010", "00420012"}),
        ("1.2.3", "IMAGE", {"00200013"}),
    ],
)
def test_each_kind_has_its_keys(sop_class: str, kind: str, keys: set[str]) -> None:
    document = Document({"00080016": {"vr": "UI", "Value": [sop_class]}})
    assert record_kind(document) == kind
    found = record_keys(kind, document)
    assert keys <= set(found)
    assert all("Value" not in member for member in found.values())


def test_of_a_report_only_what_its_title_says_is_a_key() -> None:
    def item(relation: str) -> dict[str, Any]:
        return {"0040A010": {"vr": "CS", "Value": [relation]}}

    content = {"vr": "SQ", "Value": [item("CONTAINS"), item("HAS CONCEPT MOD")]}
    keys = record_keys("SR DOCUMENT", Document({"0040A730": content}))
    assert keys["0040A730"]["Value"] == [item("HAS CONCEPT MOD")]
    content = {"vr": "SQ", "Value": [item("CONTAINS")]}
    assert "0040A730" not in record_keys("SR DOCUMENT", Document({"0040A730": content}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # some samples are broken on purpose
@pytest.mark.parametrize("path", SAMPLES, ids=sample_id)
def test_a_sample_has_a_record(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    uid = "" if path.name in UNREADABLE else Document(metadata_of(data)).text("00080018")
    if not uid:
        return
    found = records(written([data], tmp_path))
    assert len(found) == 4
    assert found[3].ReferencedSOPInstanceUIDInFile == uid
