import pytest

from app.dicom.identity import (
    identify,
    identify_non_patient,
    media_storage_uids,
    sop_class_of,
)
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.dicom.uids import InstanceRef
from app.errors import InvalidDataset
from tests.factories import make_dataset, make_part10

UIDS = {
    0x00080016: b'"00080016":{"vr":"UI","Value":["1.1"]}',
    0x00080018: b'"00080018":{"vr":"UI","Value":["1.2"]}',
    0x0020000D: b'"0020000D":{"vr":"UI","Value":["1.3"]}',
    0x0020000E: b'"0020000E":{"vr":"UI","Value":["1.4"]}',
}


def test_an_instance_says_what_it_is() -> None:
    dataset = make_dataset()
    identity = identify(scan(BytesSource(make_part10(dataset))))
    assert identity.sop_class_uid == dataset.SOPClassUID
    assert identity.ref == InstanceRef(
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    )


@pytest.mark.parametrize("tag", UIDS)
@pytest.mark.parametrize(
    "member",
    [
        b"",
        b'"00080016":{"vr":"UI"}',
        b'"00080016":{"vr":"UI","Value":[null]}',
        b'"00080016":{"vr":"UI","Value":[""]}',
        b'"00080016":{"vr":"UI","Value":["a/b"]}',
        b'"00080016":{"vr":"UI","Value":[".."]}',
        b'"00080016":{"vr":"UI","Value":["%b"]}' % (b"1" * 65),
        b'"00080016":{"vr":"UN","InlineBinary":"MS4x"}',
    ],
)
def test_without_one_of_the_four_uids_it_is_nothing(tag: int, member: bytes) -> None:  # S-26, S-33
    fragments = {**UIDS, tag: member}
    if not member:
        del fragments[tag]
    with pytest.raises(InvalidDataset) as caught:
        identify(ScannedInstance("1.2.840.10008.1.2.1", 0, fragments))
    assert caught.value.reason == 0xA900


def test_what_is_of_no_patient_needs_neither_study_nor_series() -> None:  # N-01
    fragments = {tag: UIDS[tag] for tag in (0x00080016, 0x00080018)}
    scanned = ScannedInstance("1.2.840.10008.1.2.1", 0, fragments)
    assert sop_class_of(scanned) == "1.1"
    identity = identify_non_patient(scanned)
    assert (identity.sop_class_uid, identity.ref) == ("1.1", InstanceRef("", "", "1.2"))
    with pytest.raises(InvalidDataset):
        identify(scanned)


def test_a_uid_with_leading_zeros_is_let_through() -> None:  # S-33
    fragments = {**UIDS, 0x0020000D: b'"0020000D":{"vr":"UI","Value":["1.02.3"]}'}
    assert identify(ScannedInstance("1.2", 0, fragments)).ref.study == "1.02.3"


def test_the_file_meta_information_names_what_cannot_be_scanned() -> None:
    dataset = make_dataset()
    head = make_part10(dataset)[:500]
    assert media_storage_uids(head) == (dataset.SOPClassUID, dataset.SOPInstanceUID)


@pytest.mark.parametrize(
    "head", [b"", b"\2\0\3\0UI\4\0../.", b"\2\0\3\0UI\4\0", b"\2\0\2\0UI\x40\0" + b"\xff" * 64]
)
def test_what_is_no_uid_is_not_named(head: bytes) -> None:  # Z-01
    assert media_storage_uids(head) == ("", "")
