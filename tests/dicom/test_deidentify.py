"""De-identification of whole Instances: nothing of whom it was remains in any byte."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import orjson
import pytest
from pydicom import DataElement, Dataset, Sequence, dcmread
from pydicom.config import IGNORE
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from app.dicom.confidentiality import replace_uid, why_not
from app.dicom.deflated import DEFLATED
from app.dicom.deidentify import Redactor, deidentify
from app.dicom.document import Document
from app.dicom.file_meta import read_file_meta
from app.dicom.limits import Limits
from app.dicom.recode import rewritten, written_syntax
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.factories import make_dataset, make_part10, new_uid
from tests.samples import SAMPLES, UNREADABLE, sample_id

SECRET = b"s" * 32
_CLASSES = ("ClassUID", "SchemeUID", "ContextUID", "ResourceUID")


def cleaned(part10: bytes, dataset: Dataset) -> bytes:
    syntax = read_file_meta(part10).transfer_syntax_uid
    uids = str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", ""))
    return b"".join(deidentify(BytesSource(part10), syntax, uids, SECRET, Limits()))


def elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        else:
            yield element


def identity(dataset: Dataset) -> set[str]:
    """Return the texts that tell who it was: names, Patient ID, dates and UIDs of Instances."""
    found = set()
    for element in elements(dataset):
        values = element.value if element.VM > 1 else [element.value]
        texts = {str(value) for value in values if value not in {None, ""}}
        if element.VR in {"PN", "DA", "DT"} or element.keyword in {"PatientID", "AccessionNumber"}:
            found |= {text for text in texts if len(text) > 5}
        if element.VR == "UI" and not element.keyword.endswith(_CLASSES):
            known = (UID(text, validation_mode=IGNORE) for text in texts)
            found |= {uid for uid in known if uid.name == uid and len(uid) > 5}
    return found


@pytest.mark.filterwarnings("ignore")  # some samples are broken on purpose
@pytest.mark.parametrize("path", SAMPLES, ids=sample_id)
def test_nothing_of_a_sample_tells_who_it_was(path: Path) -> None:  # U-09
    data = path.read_bytes()
    if path.name in UNREADABLE or read_file_meta(data).transfer_syntax_uid in DEFLATED:
        return
    before = dcmread(BytesIO(data), force=True)
    fragments = scan(BytesSource(data)).fragments.values()
    members = {tag: one for part in fragments for tag, one in orjson.loads(b"{%b}" % part).items()}
    result = cleaned(data, before)
    after = dcmread(BytesIO(result))
    assert [text for text in identity(before) if text.encode("latin-1", "replace") in result] == []
    assert not any(element.tag.is_private for element in elements(after))
    assert after.PatientIdentityRemoved == "YES"
    assert not result[:128].strip(b"\0")
    if "PixelData" in before:
        assert "PixelData" in after
        assert len(after.PixelData) >= len(before.PixelData)
    if not why_not(Document(members)) and "Rows" in before:
        assert (after.Rows, after.Columns) == (before.Rows, before.Columns)


def test_marks_say_what_was_done() -> None:
    dataset = make_dataset(PatientIdentityRemoved="NO", DeidentificationMethod="by hand")
    after = dcmread(BytesIO(cleaned(make_part10(dataset), dataset)))
    assert after.PatientIdentityRemoved == "YES"
    assert "Basic Application Confidentiality Profile" in after.DeidentificationMethod
    (code,) = after.DeidentificationMethodCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113100", "DCM")
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert [element.tag for element in after] == sorted(element.tag for element in after)


def test_marks_come_last_where_nothing_follows() -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, new_uid()
    after = dcmread(BytesIO(cleaned(make_part10(dataset), dataset)))
    assert after.LongitudinalTemporalInformationModified == "REMOVED"
    assert after.SOPInstanceUID == replace_uid(dataset.SOPInstanceUID, SECRET)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLSLossless],
)
def test_file_meta_is_made_anew(syntax: str) -> None:
    dataset = make_dataset()
    part10 = b"Doe^Jane".ljust(128) + make_part10(dataset, transfer_syntax=syntax)[128:]
    result = cleaned(part10, dataset)
    after = dcmread(BytesIO(result))
    uid = replace_uid(dataset.SOPInstanceUID, SECRET)
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID == uid
    assert after.file_meta.MediaStorageSOPClassUID == CTImageStorage
    assert after.file_meta.TransferSyntaxUID == written_syntax(syntax)
    assert b"Doe^Jane" not in result


def test_pixels_and_what_describes_them_stay() -> None:
    dataset = make_dataset()
    after = dcmread(BytesIO(cleaned(make_part10(dataset), dataset)))
    assert after.PixelData == dataset.PixelData
    for keyword in ("Rows", "WindowCenter", "ImagePositionPatient", "Modality", "ImageType"):
        assert after[keyword].value == dataset[keyword].value


def test_an_instance_is_the_same_patient_study_and_frame_of_reference_as_its_neighbour() -> None:
    shared = {"StudyInstanceUID": new_uid(), "FrameOfReferenceUID": new_uid()}
    pair = [make_dataset(**shared), make_dataset(**shared)]
    first, second = (dcmread(BytesIO(cleaned(make_part10(one), one))) for one in pair)
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value == second[keyword].value != pair[0][keyword].value
    assert first.SOPInstanceUID != second.SOPInstanceUID


def with_sequences() -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = CTImageStorage
    reference.ReferencedSOPInstanceUID = "1.2.3.4"
    reference.add_new(0x00091001, "SQ", [Dataset()])
    source = Dataset()
    source.PatientID = "hidden"
    source.ReferencedSOPInstanceUID = "1.2.3.5"
    text = Dataset()
    text.UnformattedTextValue = "Jane Doe 1970"
    text.BoundingBoxTopLeftHandCorner = [1.0, 2.0]
    text.IconImageSequence = Sequence([source])
    graphic = Dataset()
    graphic.GraphicLayer = "LAYER"
    graphic.add_new(0x00700084, "PN", "Doe^Jane")
    graphic.ManufacturerModelName = "Doe works"
    graphic.add_new(0x00282000, "OB", b"profile Doe ")
    graphic.TextObjectSequence = Sequence([text])
    return make_dataset(
        SourceImageSequence=Sequence([reference]),
        ReferencedStudySequence=Sequence([source]),
        OriginalAttributesSequence=Sequence([source]),
        GraphicAnnotationSequence=Sequence([graphic]),
        InstitutionCodeSequence=Sequence([]),
        OtherPatientIDsSequence=Sequence([source]),
        FailedSOPInstanceUIDList=["1.2.3.4", "1.2.3.6"],
        AccessionNumber="",
    )


def test_sequences_are_emptied_left_out_or_cleaned_within() -> None:
    dataset = with_sequences()
    result = cleaned(make_part10(dataset), dataset)
    after = dcmread(BytesIO(result))
    (reference,) = after.SourceImageSequence
    assert reference.ReferencedSOPClassUID == CTImageStorage
    assert reference.ReferencedSOPInstanceUID == replace_uid("1.2.3.4", SECRET)
    assert reference.ReferencedSOPInstanceUID == after.FailedSOPInstanceUIDList[0]
    assert len(reference) == 2
    assert len(after.ReferencedStudySequence) == len(after.InstitutionCodeSequence) == 0
    assert "OtherPatientIDsSequence" not in after
    (graphic,) = after.GraphicAnnotationSequence
    assert graphic.GraphicLayer == "LAYER"
    assert graphic.ManufacturerModelName == "ANONYMIZED"
    (text,) = graphic.TextObjectSequence
    assert text.UnformattedTextValue == "ANONYMIZED"
    assert text.BoundingBoxTopLeftHandCorner == [1.0, 2.0]
    for word in (b"Doe", b"hidden", b"1.2.3.4", b"1.2.3.5", b"1.2.3.6"):
        assert word not in result


def test_the_same_comes_of_pieces_of_any_size() -> None:
    dataset = with_sequences()
    part10 = make_part10(dataset)
    whole = b"".join(rewritten(BytesSource(part10), ExplicitVRLittleEndian, Limits()))
    redactor = Redactor((CTImageStorage, dataset.SOPInstanceUID), ExplicitVRLittleEndian, SECRET)
    pieces = [redactor.feed(whole[at : at + 1]) for at in range(len(whole))]
    assert b"".join(pieces) + redactor.finish() == cleaned(part10, dataset)


def test_a_transfer_syntax_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidDataset):
        rewritten(BytesSource(make_part10()), "1.2.3", Limits())
    assert written_syntax("1.2.3") == ExplicitVRLittleEndian


@pytest.mark.parametrize("piece", [1, 1000, 10**6])
def test_comments_within_frames_go(piece: int) -> None:  # U-09
    comment = b"\xff\xfe\0\x0aDoe^Jane"
    long = b"\xff\xd8" + comment + b"\xff\xda" + bytes(300_000)
    frames = [b"\xff\xd8" + comment + b"\xff\xda" + bytes(50), b"\1\2", long]
    dataset = make_dataset(NumberOfFrames=3)
    part10 = make_part10(dataset, transfer_syntax=JPEGLSLossless, frames=frames)
    whole = b"".join(rewritten(BytesSource(part10), JPEGLSLossless, Limits()))
    redactor = Redactor((CTImageStorage, dataset.SOPInstanceUID), JPEGLSLossless, SECRET)
    made = [redactor.feed(whole[at : at + piece]) for at in range(0, len(whole), piece)]
    result = b"".join(made) + redactor.finish()
    assert part10.count(b"Doe^Jane") >= 2
    assert b"Doe^Jane" not in result
    assert len(dcmread(BytesIO(result)).PixelData) == len(dcmread(BytesIO(part10)).PixelData)
