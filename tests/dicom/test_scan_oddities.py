"""What writers do wrong and pydicom recovers is recovered (S-21, I-09)."""

import zlib
from typing import Any

import orjson
import pytest

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from tests import pydicom_oracle
from tests.raw_elements import (
    BIG,
    DEFLATED,
    IMPLICIT,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    big,
    explicit,
    fragments,
    implicit,
    item,
    open_item,
    part10,
)

NAME = explicit(0x00100010, "PN", b"Doe^John")
ID = explicit(0x00100020, "LO", b"X1")
SEQUENCE = 0x00081140
CREATOR = explicit(0x00090010, "LO", b"GEMS_IDEN_01")


def scanned(data: bytes) -> ScannedInstance:
    """Scan without a memo and twice with one: it must make no difference."""
    memo = Memo()
    found = scan(BytesSource(data))
    assert scan(BytesSource(data), Limits(), memo) == found
    assert scan(BytesSource(data), Limits(), memo) == found
    return found


def metadata(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(scanned(data).metadata)
    return found


def is_pydicoms(data: bytes) -> bool:
    """Say whether our Metadata are those of pydicom."""
    expected = pydicom_oracle.metadata(pydicom_oracle.read(data))
    return pydicom_oracle.differences(expected, metadata(data)) == []


def sequence(*items: bytes, length: int | None = None) -> bytes:
    return explicit(SEQUENCE, "SQ", b"".join(items), length)


RECOVERED = {
    "implicit VR in an explicit file": part10(
        implicit(0x00100010, b"Doe^John"), implicit(0x00100020, b"X1")
    ),
    "explicit VR in an implicit file": part10(NAME, ID, uid=IMPLICIT),
    "one implicit element among explicit ones": part10(
        NAME, implicit(0x00100020, b"X1"), explicit(0x00100040, "CS", b"F ")
    ),
    "an implicit item in an explicit Sequence": part10(
        sequence(item(implicit(0x00100020, b"X1"))), NAME
    ),
    "implicit items of undefined length": part10(
        explicit(SEQUENCE, "SQ", open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED),
        NAME,
    ),
    "UN of undefined length": part10(
        CREATOR,
        explicit(
            0x00091002, "UN", open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED
        ),
        NAME,
    ),
    "UN of undefined length without items": part10(
        explicit(0x00091002, "UN", SEQUENCE_END, UNDEFINED), NAME
    ),
    "UN for a public element": part10(
        explicit(0x00100020, "UN", b"X1"), explicit(0x00280010, "UN", b"\1\0")
    ),
    "UN for a public Sequence": part10(explicit(SEQUENCE, "UN", item(implicit(0x00100020, b"X1")))),
    "UN for a private element whose creator is known": part10(
        CREATOR, explicit(0x00091002, "UN", b"SH 1")
    ),
    "UN for a private element whose creator is not": part10(
        explicit(0x00090010, "LO", b"NOBODY"), explicit(0x00091002, "UN", b"SH 1")
    ),
    "UN for a creator": part10(
        explicit(0x00090010, "UN", b"GEMS_IDEN_01"), explicit(0x00091002, "UN", b"SH 1")
    ),
    "a private element before its creator": part10(explicit(0x00091002, "UN", b"SH 1"), CREATOR),
    "two creators in one element": part10(
        explicit(0x00090010, "LO", b"GEMS_IDEN_01\\B "), explicit(0x00091002, "UN", b"SH 1")
    ),
    "a private element without a block": part10(explicit(0x00090001, "UN", b"ab")),
    "an element that nobody knows": part10(implicit(0x00080003, b"ab"), uid=IMPLICIT),
    "a private Sequence in implicit VR": part10(
        implicit(0x00090010, b"ACME"),
        implicit(0x00091002, open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED),
        implicit(0x00100020, b"Y "),
        uid=IMPLICIT,
    ),
    "an implicit Sequence of defined length": part10(
        implicit(SEQUENCE, item(implicit(0x00100020, b"X1"))),
        implicit(0x00100020, b"Y "),
        uid=IMPLICIT,
    ),
    "a binary value of undefined length": part10(
        explicit(0x00282000, "OB", fragments(b"abcd"), UNDEFINED), NAME
    ),
    "a binary value of undefined length without items": part10(
        explicit(0x00282000, "OB", b"some bytes" + SEQUENCE_END, UNDEFINED), NAME
    ),
    "a private binary value of undefined length in implicit VR": part10(
        implicit(0x00090010, b"ACME"),
        implicit(0x00091002, b"some bytes" + SEQUENCE_END, UNDEFINED),
        implicit(0x00100020, b"Y "),
        uid=IMPLICIT,
    ),
    "odd lengths": part10(explicit(0x00100010, "PN", b"Doe"), explicit(0x00100020, "LO", b"X")),
    "a tag twice": part10(ID, explicit(0x00100020, "LO", b"X2")),
    "tags in disorder": part10(ID, NAME, explicit(0x00080060, "CS", b"CT")),
    "a character set after text": part10(
        explicit(0x00100010, "PN", "Müller ".encode()), explicit(0x00080005, "CS", b"ISO_IR 192")
    ),
    "a character set after text in an item": part10(
        sequence(
            item(
                explicit(0x00100010, "PN", "Müller ".encode()),
                explicit(0x00080005, "CS", b"ISO_IR 192"),
            )
        )
    ),
    "two character sets": part10(
        explicit(0x00080005, "CS", b"ISO_IR 100"),
        explicit(0x00100010, "PN", "Müller ".encode()),
        explicit(0x00080005, "CS", b"ISO_IR 192"),
        explicit(0x00100020, "LO", "ü".encode()),
    ),
    "an empty character set in an item": part10(
        explicit(0x00080005, "CS", b"ISO_IR 192"),
        sequence(item(explicit(0x00080005, "CS"), explicit(0x00100010, "PN", b"M\xfcller"))),
    ),
    "a misspelt character set": part10(
        explicit(0x00080005, "CS", b"ISO-IR 144"), explicit(0x00100010, "PN", b"\xbb\xee")
    ),
    "another misspelt character set": part10(
        explicit(0x00080005, "CS", b"\\ISO-2022-IR-144"), explicit(0x00100010, "PN", b"\x1b-L\xbb")
    ),
    "a character set that is none": part10(
        explicit(0x00080005, "CS", b"KLINGON "), explicit(0x00100010, "PN", b"\xbb\xee")
    ),
    "a stand-alone character set with extensions": part10(
        explicit(0x00080005, "CS", b"ISO_IR 192\\ISO 2022 IR 144 "),
        explicit(0x00100010, "PN", "ü".encode()),
    ),
    "a stand-alone character set as an extension": part10(
        explicit(0x00080005, "CS", b"ISO_IR 100\\GB18030 "), explicit(0x00100010, "PN", b"\xfc ")
    ),
    "a Command Set before the Data Set": part10(
        implicit(0x00000000, b"\4\0\0\0"), implicit(0x00000002, b"1.2\0"), NAME
    ),
    "group lengths": part10(
        explicit(0x00080000, "UL", b"\4\0\0\0"), explicit(0x00080060, "CS", b"CT"), NAME
    ),
    "an empty Data Set": part10(),
    "an item's delimiter in an item of defined length": part10(sequence(item(ID, ITEM_END)), NAME),
    "big endian": part10(big(0x00080060, "CS", b"CT"), big(0x00280010, "US", b"\1\0"), uid=BIG),
    "no preamble": part10(ID)[132:],
    "neither preamble nor meta, explicit": explicit(0x00080060, "CS", b"CT") + ID,
    "neither preamble nor meta, implicit": implicit(0x00080060, b"CT")
    + implicit(0x00100020, b"X1"),
    "neither preamble nor meta, big endian": big(0x00080060, "CS", b"CT")
    + big(0x00280010, "US", b"\1\0"),
    "no Transfer Syntax": bytes(128) + b"DICM" + explicit(0x00020002, "UI", b"1.2\0") + ID,
    "a wrong group length": bytes(128)
    + b"DICM"
    + explicit(0x00020000, "UL", b"\xff\xff\0\0")
    + part10(ID)[132:],
    "an implicit File Meta Information": bytes(128)
    + b"DICM"
    + implicit(0x00020010, b"1.2.840.10008.1.2.1\0")
    + ID,
    "a deflated Data Set": part10(
        zlib.compressobj(9, zlib.DEFLATED, -15).compress(b"") or b"\x03\x00", uid=DEFLATED
    ),
    "an unknown Transfer Syntax": part10(ID, uid="1.2.3"),
    "a VR that nobody knows": part10(
        explicit(0x00100020, "LO", b"X1"),
        explicit(0x00100030, "ZZ", b"ab"),
        explicit(0x00100040, "CS", b"F "),
    ),
    "US or SS without a Pixel Representation": part10(
        implicit(0x00280106, b"\xff\xff"), uid=IMPLICIT
    ),
    "US or SS before its Pixel Representation": part10(
        implicit(0x00221452, b"\xff\xff"), implicit(0x00280103, b"\1\0"), uid=IMPLICIT
    ),
    "US or SS in an item before the Pixel Representation": part10(
        implicit(SEQUENCE, item(implicit(0x00280106, b"\xff\xff"))),
        implicit(0x00280103, b"\1\0"),
        uid=IMPLICIT,
    ),
    "LUT Data of one value": part10(
        implicit(0x00283002, b"\1\0\0\0\x10\0"), implicit(0x00283006, b"\7\0"), uid=IMPLICIT
    ),
    "LUT Data of several values": part10(
        implicit(0x00283002, b"\2\0\0\0\x10\0"), implicit(0x00283006, b"\7\0\7\0"), uid=IMPLICIT
    ),
    "overlays": part10(implicit(0x60003000, bytes(8)), implicit(0x60100010, b"\1\0"), uid=IMPLICIT),
    "trailing padding": part10(ID, explicit(0xFFFCFFFC, "OB", bytes(6))),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_pydicom_recovers_and_so_do_we(name: str) -> None:  # S-21, I-09, J-28
    assert is_pydicoms(RECOVERED[name])


def test_a_vr_that_nobody_knows_is_read_as_un() -> None:
    """pydicom raises when such a value is asked for."""
    data = part10(explicit(0x00100030, "ZZ", b"2024"), explicit(0x00100041, "ZZ", b"ab"))
    found = metadata(data)
    assert found["00100030"] == {"vr": "DA", "Value": ["2024"]}
    assert found["00100041"] == {"vr": "UN", "InlineBinary": "YWI="}


def test_un_of_undefined_length_is_little_endian_in_big_endian_too() -> None:  # PS3.5 §6.2.2
    value = open_item(implicit(0x00280010, b"\1\0")) + SEQUENCE_END
    data = part10(big(0x00091002, "UN", value, UNDEFINED), big(0x00280010, "US", b"\0\2"), uid=BIG)
    found = metadata(data)
    assert found["00091002"]["Value"][0]["00280010"]["Value"] == [1]
    assert found["00280010"]["Value"] == [2]


def test_un_of_undefined_length_in_big_endian_may_be_big_endian() -> None:
    value = big(0x00280010, "US", b"\0\1")
    items = b"\xff\xfe\xe0\0\0\0\0\x0a" + value + b"\xff\xfe\xe0\xdd\0\0\0\0"
    found = metadata(part10(big(0x00091002, "UN", items, UNDEFINED), uid=BIG))
    assert found["00091002"]["Value"][0]["00280010"]["Value"] == [1]


def test_big_endian_with_implicit_items_is_read() -> None:
    value = b"\0\x10\0\x20\0\0\0\x02X1"
    items = b"\xff\xfe\xe0\0\0\0\0\x0a" + value
    found = metadata(part10(big(SEQUENCE, "SQ", items), uid=BIG))
    assert found["00081140"]["Value"][0]["00100020"]["Value"] == ["X1"]


def test_long_unknown_values_of_public_elements_stay_unknown() -> None:  # PS3.5 §6.2.2
    found = metadata(part10(explicit(0x00104000, "UN", b"x" * 0x10000)))
    assert found["00104000"] == {"vr": "UN", "BulkDataURI": "bulkdata/00104000"}


def test_pixel_representation_of_items_is_of_the_nearest_around_them() -> None:  # J-03
    ambiguous = implicit(0x00280106, b"\xff\xff")
    one, zero = implicit(0x00280103, b"\1\0"), implicit(0x00280103, b"\0\0")
    inner = implicit(0x00082112, item(ambiguous))
    data = part10(
        implicit(SEQUENCE, item(inner, one) + item(inner, zero) + item(inner)), one, uid=IMPLICIT
    )
    items = metadata(data)["00081140"]["Value"]
    vrs = [each["00082112"]["Value"][0]["00280106"]["vr"] for each in items]
    assert vrs == ["SS", "US", "SS"]


def test_a_sequence_whose_meaning_depends_on_the_outside_is_not_remembered() -> None:
    table = explicit(SEQUENCE, "SQ", item(implicit(0x00280106, b"\xff\xff")))
    memo = Memo()
    for representation, vr in ((b"\1\0", "SS"), (b"\0\0", "US"), (b"\1\0", "SS")):
        data = part10(table, explicit(0x00280103, "US", representation))
        found = orjson.loads(scan(BytesSource(data), None, memo).metadata)
        assert found["00081140"]["Value"][0]["00280106"]["vr"] == vr


def test_a_private_element_is_remembered_with_its_creator() -> None:
    memo = Memo()
    for creator, vr in ((b"GEMS_IDEN_01", "SH"), (b"ACME", "UN"), (b"GEMS_IDEN_01", "SH")):
        data = part10(implicit(0x00090010, creator), implicit(0x00091002, b"ab"), uid=IMPLICIT)
        found = orjson.loads(scan(BytesSource(data), None, memo).metadata)
        assert found["00091002"]["vr"] == vr


def test_text_is_remembered_with_its_character_set() -> None:
    memo = Memo()
    for charset, name in ((b"ISO_IR 100", "Ã¼"), (b"ISO_IR 192", "ü"), (b"ISO_IR 100", "Ã¼")):
        data = part10(explicit(0x00080005, "CS", charset), explicit(0x00100010, "PN", "ü".encode()))
        found = orjson.loads(scan(BytesSource(data), None, memo).metadata)
        assert found["00100010"]["Value"] == [{"Alphabetic": name}]
