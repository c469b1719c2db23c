"""The table of Transfer Syntaxes, held against pydicom's dictionary and PS3.18 §8.7.3."""

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID, JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes

from app.dicom.transfer_syntaxes import (
    ROWS,
    TransferSyntax,
    can_be_decoded_losslessly,
    default_of,
    find,
)

PYDICOM = {uid: entry for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
NOT_FOR_INSTANCES = {
    "1.2.840.10008.1.2.6.1",
    "1.2.840.10008.1.2.6.2",
    "1.2.840.10008.1.2.7.1",
    "1.2.840.10008.1.2.7.2",
    "1.2.840.10008.1.2.7.3",
}
# pydicom takes JPIP, which has no Pixel Data, for encapsulated, and Papyrus for explicit VR
NOT_TOLD_BY_PYDICOM = {f"1.2.840.10008.1.2.4.{arc}" for arc in (94, 95, 204, 205)}
NOT_TOLD_BY_PYDICOM.add("1.2.840.10008.1.20")
KNOWN_TO_PYDICOM = [row for row in ROWS if row.uid in PYDICOM]


def test_every_syntax_that_pydicom_knows_is_in_the_table() -> None:
    assert set(PYDICOM) - {row.uid for row in ROWS} == NOT_FOR_INSTANCES


def test_a_uid_has_one_row() -> None:
    assert len({row.uid for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", KNOWN_TO_PYDICOM, ids=lambda row: row.uid)
def test_the_encoding_is_what_pydicom_says(row: TransferSyntax) -> None:
    uid = UID(row.uid)
    assert find(row.uid) is row
    assert row.big_endian == (not uid.is_little_endian)
    assert row.retired == (PYDICOM[uid][3] == "Retired")
    if uid not in NOT_TOLD_BY_PYDICOM:
        assert row.implicit == uid.is_implicit_VR
        assert row.deflated == uid.is_deflated
        assert row.encapsulated == uid.is_encapsulated


@pytest.mark.parametrize(
    ("media_type", "uid"),
    [  # M-16, M-17
        ("application/octet-stream", "1.2.840.10008.1.2.1"),
        ("image/jpeg", "1.2.840.10008.1.2.4.70"),
        ("IMAGE/JLS", "1.2.840.10008.1.2.4.80"),
        ("image/jp2", "1.2.840.10008.1.2.4.90"),
        ("image/jpx", "1.2.840.10008.1.2.4.92"),
        ("image/jphc", "1.2.840.10008.1.2.4.201"),
        ("image/jxl", "1.2.840.10008.1.2.4.110"),
        ("image/dicom-rle", "1.2.840.10008.1.2.5"),
        ("video/mpeg", "1.2.840.10008.1.2.4.100"),
        ("video/mp4", "1.2.840.10008.1.2.4.102"),
        ("video/h265", "1.2.840.10008.1.2.4.107"),
    ],
)
def test_a_media_type_alone_means_its_default_syntax(media_type: str, uid: str) -> None:
    row = default_of(media_type)
    assert row is not None
    assert (row.uid, row.media_type.lower()) == (uid, media_type.lower())


def test_a_media_type_that_is_not_dicoms_has_no_default() -> None:
    assert default_of("image/png") is None


@pytest.mark.parametrize("uid", [*JPEG2000TransferSyntaxes, *JPEGLSTransferSyntaxes])
def test_only_the_lossless_only_syntaxes_are_lossless(uid: str) -> None:
    row = find(uid)
    assert row is not None
    assert row.lossy == (not ("Lossless" in PYDICOM[uid][0] and "Near" not in PYDICOM[uid][0]))


@pytest.mark.parametrize(
    ("uid", "expected"),
    [  # M-03, M-04
        ("1.2.840.10008.1.2", True),
        ("1.2.840.10008.1.2.1.99", True),
        ("1.2.840.10008.1.2.5", True),
        ("1.2.840.10008.1.2.4.70", True),
        ("1.2.840.10008.1.2.4.50", False),
        ("1.2.840.10008.1.2.4.91", False),
        ("1.2.840.10008.1.2.4.66", False),
        ("1.2.840.10008.1.2.4.102", False),
        ("1.2.3", False),
    ],
)
def test_what_must_be_decoded_is_what_can_be_without_loss(uid: str, expected: bool) -> None:
    assert can_be_decoded_losslessly(uid) is expected


def test_what_is_no_encoding_of_an_instance_is_not_found() -> None:
    assert all(find(uid) is None for uid in NOT_FOR_INSTANCES)
