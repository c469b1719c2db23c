"""De-identification of whole Instances: nothing of whom it was remains in any byte."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import unpack_from

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
from app.dicom.deidentify import MADE_HERE, Redactor, native_lengths
from app.dicom.document import Document
from app.dicom.file_meta import read_file_meta
from app.dicom.limits import Limits
from app.dicom.recode import rewritten, written_syntax
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import find
from app.errors import InvalidDataset
from tests.factories import make_dataset, make_part10, new_uid
from tests.raw_elements import explicit
from tests.raw_elements import part10 as raw_part10
from tests.samples import SAMPLES, UNREADABLE, sample_id

SECRET = b"s" * 32
_CLASSES = ("ClassUID", "SchemeUID", "ContextUID", "ResourceUID")


def document_of(part10: bytes) -> Document:
    fragments = scan(BytesSource(part10)).fragments.values()
    members = (orjson.loads(b"{%b}" % part).items() for part in fragments)
    return Document({tag: one for part in members for tag, one in part})


def cleaned(part10: bytes, dataset: Dataset, *, piece: int = 2**20) -> bytes:
    """Return what the filter makes of an Instance; compressed frames count as made here."""
    syntax = read_file_meta(part10).transfer_syntax_uid
    uids = str(dataset.get("SOPClassUID", "")), str(dataset.get("SOPInstanceUID", ""))
    lengths = native_lengths(document_of(part10))
    if (known := find(syntax)) is not None and known.encapsulated:
        lengths = dict.fromkeys(lengths, MADE_HERE)
    redactor = Redactor(uids, written_syntax(syntax), SECRET, lengths)
    whole = b"".join(rewritten(BytesSource(part10), syntax, Limits()))
    made = [redactor.feed(whole[at : at + piece]) for at in range(0, len(whole), piece)]
    return b"".join(made) + redactor.finish()


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
    result = cleaned(data, before)
    after = dcmread(BytesIO(result))
    assert [text for text in identity(before) if text.encode("latin-1", "replace") in result] == []
    assert not any(element.tag.is_private for element in elements(after))
    assert after.PatientIdentityRemoved == "YES"
    assert not result[:128].strip(b"\0")
    if "PixelData" in before and "Rows" in before:
        assert "PixelData" in after
        assert 0 < len(after.PixelData) <= len(before.PixelData)
    if not why_not(document_of(data)) and "Rows" in before:
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
    dataset.PixelData += b"Doe^Jane"
    part10 = make_part10(dataset)
    assert cleaned(part10, dataset, piece=1) == cleaned(part10, dataset)


def test_a_transfer_syntax_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidDataset):
        rewritten(BytesSource(make_part10()), "1.2.3", Limits())
    assert written_syntax("1.2.3") == ExplicitVRLittleEndian


def pixels_of(tag: int, length: int, **keywords: object) -> Dataset:
    """Return an image of 3 rows and 5 columns with a name behind the first `length` bytes."""
    dataset = make_dataset(Rows=3, Columns=5, **keywords)
    del dataset.PixelData
    vr = {0x7FE00008: "OF", 0x7FE00009: "OD", 0x7FE00010: "OW"}[tag]
    dataset.add_new(tag, vr, bytes(range(1, length + 1)) + b"Doe^Jane" + b" " * (length % 2))
    return dataset


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("tag", "length", "keywords"),
    [
        (0x7FE00010, 30, {"BitsAllocated": 16}),
        (0x7FE00010, 60, {"BitsAllocated": 16, "NumberOfFrames": 2}),
        (0x7FE00010, 15, {"BitsAllocated": 8}),
        (0x7FE00010, 6, {"BitsAllocated": 1, "NumberOfFrames": 3}),
        (0x7FE00008, 60, {}),
        (0x7FE00009, 120, {}),
    ],
)
def test_native_pixels_end_where_their_frames_do(  # U-09
    tag: int, length: int, keywords: dict[str, object], syntax: str
) -> None:
    dataset = pixels_of(tag, length, **keywords)
    dataset.add_new(0x7FE00001, "OV", b"Doe^Jane")
    part10 = make_part10(dataset, transfer_syntax=syntax)
    result = cleaned(part10, dataset)
    assert part10.count(b"Doe^Jane") >= 2
    assert b"Doe^Jane" not in result
    value = dcmread(BytesIO(result))[tag].value
    assert value == dataset[tag].value[:length] + bytes(length % 2)


def test_what_follows_pixels_that_were_cut_is_read_on() -> None:
    dataset = pixels_of(0x7FE00010, 30)
    dataset.add_new(0x7FE10010, "LO", "Doe works")
    dataset.add_new(0xFFFAFFFA, "SQ", [Dataset()])
    dataset.add_new(0x7FE20010, "US", 7)
    after = dcmread(BytesIO(cleaned(make_part10(dataset), dataset)))
    assert list(after.keys())[-1] == 0x7FE00010


def test_pixels_that_are_too_short_stay() -> None:
    dataset = make_dataset(NumberOfFrames=1000)
    after = dcmread(BytesIO(cleaned(make_part10(dataset), dataset)))
    assert after.PixelData == dataset.PixelData


def test_pixels_go_where_none_are_or_nothing_says_how_long_they_are() -> None:  # U-09
    item = Dataset()
    item.PixelData = b"Doe^Jane"
    item["PixelData"].VR = "OW"
    dataset = make_dataset(SourceImageSequence=Sequence([item]), Rows=0)
    dataset.PixelData = b"Doe^Jane"
    result = cleaned(make_part10(dataset), dataset)
    assert b"Doe^Jane" not in result
    assert "PixelData" not in dcmread(BytesIO(result))
    encapsulated = make_part10(make_dataset(), transfer_syntax=JPEGLSLossless, frames=[b"Doe^Jane"])
    whole = b"".join(rewritten(BytesSource(encapsulated), JPEGLSLossless, Limits()))
    for lengths in ({}, {0x7FE00010: 2**40}):
        redactor = Redactor(("1.2", "1.3"), ExplicitVRLittleEndian, SECRET, lengths)
        assert b"Doe^Jane" not in redactor.feed(whole) + redactor.finish()


def in_un(part10: bytes) -> bytes:
    """Return an Instance of Implicit VR Little Endian as one of explicit VRs that all are UN."""
    start = read_file_meta(part10).dataset_offset
    elements, position = [], start
    while position < len(part10):
        group, number, length = unpack_from("<HHL", part10, position)
        value = part10[position + 8 : position + 8 + length]
        elements.append(explicit(group << 16 | number, "UN", value))
        position += 8 + length
    return raw_part10(*elements)


def test_elements_of_vr_un_are_what_the_dictionary_says() -> None:  # U-09
    dataset = with_sequences()
    known = make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian)
    unknown = in_un(known)
    result = cleaned(unknown, dataset)
    assert result == cleaned(known, dataset)
    after = dcmread(BytesIO(result))
    assert after.SOPInstanceUID == replace_uid(dataset.SOPInstanceUID, SECRET)
    assert after.PixelData == dataset.PixelData
