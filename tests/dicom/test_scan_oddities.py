"""What real writers do wrong and pydicom recovers, and what is refused because bytes are missing."""

import zlib
from typing import Any

import orjson
import pytest

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import FrameKind, ScannedInstance
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests import pydicom_oracle
from tests.raw_elements import (
    BIG,
    DEFLATED,
    IMPLICIT,
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    big,
    explicit,
    fragments,
    image,
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
    "implicit VR in an explicit file": part10(implicit(0x00100010, b"Doe^John"), implicit(0x00100020, b"X1")),
    "explicit VR in an implicit file": part10(NAME, ID, uid=IMPLICIT),
    "one implicit element among explicit ones": part10(NAME, implicit(0x00100020, b"X1"), explicit(0x00100040, "CS", b"F ")),
    "an implicit item in an explicit Sequence": part10(sequence(item(implicit(0x00100020, b"X1"))), NAME),
    "implicit items of undefined length": part10(
        explicit(SEQUENCE, "SQ", open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED), NAME),
    "UN of undefined length": part10(
        CREATOR, explicit(0x00091002, "UN", open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED), NAME),
    "UN of undefined length without items": part10(explicit(0x00091002, "UN", SEQUENCE_END, UNDEFINED), NAME),
    "UN for a public element": part10(explicit(0x00100020, "UN", b"X1"), explicit(0x00280010, "UN", b"\1\0")),
    "UN for a public Sequence": part10(explicit(SEQUENCE, "UN", item(implicit(0x00100020, b"X1")))),
    "UN for a private element whose creator is known": part10(CREATOR, explicit(0x00091002, "UN", b"SH 1")),
    "UN for a private element whose creator is not": part10(
        explicit(0x00090010, "LO", b"NOBODY"), explicit(0x00091002, "UN", b"SH 1")),
    "UN for a creator": part10(explicit(0x00090010, "UN", b"GEMS_IDEN_01"), explicit(0x00091002, "UN", b"SH 1")),
    "a private element before its creator": part10(explicit(0x00091002, "UN", b"SH 1"), CREATOR),
    "two creators in one element": part10(
        explicit(0x00090010, "LO", b"GEMS_IDEN_01\\B "), explicit(0x00091002, "UN", b"SH 1")),
    "a private element without a block": part10(explicit(0x00090001, "UN", b"ab")),
    "an element that nobody knows": part10(implicit(0x00080003, b"ab"), uid=IMPLICIT),
    "a private Sequence in implicit VR": part10(
        implicit(0x00090010, b"ACME"), implicit(0x00091002, open_item(implicit(0x00100020, b"X1")) + SEQUENCE_END, UNDEFINED),
        implicit(0x00100020, b"Y "), uid=IMPLICIT),
    "an implicit Sequence of defined length": part10(
        implicit(SEQUENCE, item(implicit(0x00100020, b"X1"))), implicit(0x00100020, b"Y "), uid=IMPLICIT),
    "a binary value of undefined length": part10(explicit(0x00282000, "OB", fragments(b"abcd"), UNDEFINED), NAME),
    "a binary value of undefined length without items": part10(
        explicit(0x00282000, "OB", b"some bytes" + SEQUENCE_END, UNDEFINED), NAME),
    "a private binary value of undefined length in implicit VR": part10(
        implicit(0x00090010, b"ACME"), implicit(0x00091002, b"some bytes" + SEQUENCE_END, UNDEFINED),
        implicit(0x00100020, b"Y "), uid=IMPLICIT),
    "odd lengths": part10(explicit(0x00100010, "PN", b"Doe"), explicit(0x00100020, "LO", b"X")),
    "a tag twice": part10(ID, explicit(0x00100020, "LO", b"X2")),
    "tags in disorder": part10(ID, NAME, explicit(0x00080060, "CS", b"CT")),
    "a character set after text": part10(
        explicit(0x00100010, "PN", "Müller ".encode()), explicit(0x00080005, "CS", b"ISO_IR 192")),
    "a character set after text in an item": part10(sequence(item(
        explicit(0x00100010, "PN", "Müller ".encode()), explicit(0x00080005, "CS", b"ISO_IR 192")))),
    "two character sets": part10(
        explicit(0x00080005, "CS", b"ISO_IR 100"), explicit(0x00100010, "PN", "Müller ".encode()),
        explicit(0x00080005, "CS", b"ISO_IR 192"), explicit(0x00100020, "LO", "ü".encode())),
    "an empty character set in an item": part10(
        explicit(0x00080005, "CS", b"ISO_IR 192"), sequence(item(explicit(0x00080005, "CS"), explicit(0x00100010, "PN", b"M\xfcller")))),
    "a misspelt character set": part10(explicit(0x00080005, "CS", b"ISO-IR 144"), explicit(0x00100010, "PN", b"\xbb\xee")),
    "another misspelt character set": part10(
        explicit(0x00080005, "CS", b"\\ISO-2022-IR-144"), explicit(0x00100010, "PN", b"\x1b-L\xbb")),
    "a character set that is none": part10(explicit(0x00080005, "CS", b"KLINGON "), explicit(0x00100010, "PN", b"\xbb\xee")),
    "a stand-alone character set with extensions": part10(
        explicit(0x00080005, "CS", b"ISO_IR 192\\ISO 2022 IR 144 "), explicit(0x00100010, "PN", "ü".encode())),
    "a stand-alone character set as an extension": part10(
        explicit(0x00080005, "CS", b"ISO_IR 100\\GB18030 "), explicit(0x00100010, "PN", b"\xfc ")),
    "a Command Set before the Data Set": part10(implicit(0x00000000, b"\4\0\0\0"), implicit(0x00000002, b"1.2\0"), NAME),
    "group lengths": part10(explicit(0x00080000, "UL", b"\4\0\0\0"), explicit(0x00080060, "CS", b"CT"), NAME),
    "an empty Data Set": part10(),
    "an item's delimiter in an item of defined length": part10(sequence(item(ID, ITEM_END)), NAME),
    "big endian": part10(big(0x00080060, "CS", b"CT"), big(0x00280010, "US", b"\1\0"), uid=BIG),
    "no preamble": part10(ID)[132:],
    "neither preamble nor meta, explicit": explicit(0x00080060, "CS", b"CT") + ID,
    "neither preamble nor meta, implicit": implicit(0x00080060, b"CT") + implicit(0x00100020, b"X1"),
    "neither preamble nor meta, big endian": big(0x00080060, "CS", b"CT") + big(0x00280010, "US", b"\1\0"),
    "no Transfer Syntax": bytes(128) + b"DICM" + explicit(0x00020002, "UI", b"1.2\0") + ID,
    "a wrong group length": bytes(128) + b"DICM" + explicit(0x00020000, "UL", b"\xff\xff\0\0") + part10(ID)[132:],
    "an implicit File Meta Information": bytes(128) + b"DICM" + implicit(0x00020010, b"1.2.840.10008.1.2.1\0") + ID,
    "a deflated Data Set": part10(zlib.compressobj(9, zlib.DEFLATED, -15).compress(b"") or b"\x03\x00", uid=DEFLATED),
    "an unknown Transfer Syntax": part10(ID, uid="1.2.3"),
    "a VR that nobody knows": part10(explicit(0x00100020, "LO", b"X1"), explicit(0x00100030, "ZZ", b"ab"), explicit(0x00100040, "CS", b"F ")),
    "US or SS without a Pixel Representation": part10(implicit(0x00280106, b"\xff\xff"), uid=IMPLICIT),
    "US or SS before its Pixel Representation": part10(
        implicit(0x00221452, b"\xff\xff"), implicit(0x00280103, b"\1\0"), uid=IMPLICIT),
    "US or SS in an item before the Pixel Representation": part10(
        implicit(SEQUENCE, item(implicit(0x00280106, b"\xff\xff"))), implicit(0x00280103, b"\1\0"), uid=IMPLICIT),
    "LUT Data of one value": part10(
        implicit(0x00283002, b"\1\0\0\0\x10\0"), implicit(0x00283006, b"\7\0"), uid=IMPLICIT),
    "LUT Data of several values": part10(
        implicit(0x00283002, b"\2\0\0\0\x10\0"), implicit(0x00283006, b"\7\0\7\0"), uid=IMPLICIT),
    "overlays": part10(implicit(0x60003000, bytes(8)), implicit(0x60100010, b"\1\0"), uid=IMPLICIT),
    "trailing padding": part10(ID, explicit(0xFFFCFFFC, "OB", bytes(6))),
}  # fmt: skip


@pytest.mark.parametrize("name", RECOVERED)
def test_pydicom_recovers_and_so_do_we(name: str) -> None:  # S-21, I-09, J-28
    assert is_pydicoms(RECOVERED[name])


def test_a_vr_that_nobody_knows_is_read_as_un() -> None:
    """pydicom raises when such a value is asked for."""
    data = part10(explicit(0x00100030, "ZZ", b"2024"), explicit(0x00100041, "ZZ", b"ab"))
    found = metadata(data)
    assert found["00100030"] == {"vr": "DA", "Value": ["2024"]}
    assert found["00100041"] == {"vr": "UN", "InlineBinary": "YWI="}


BETTER = [
    ("items without delimiters", part10(
        explicit(SEQUENCE, "SQ", item(ID, length=UNDEFINED) + item(NAME, length=UNDEFINED) + SEQUENCE_END, UNDEFINED), ID),
     ["00081140", "00100020"], "an item without its delimiter was ended by what follows"),
    ("a Sequence without its delimiter", part10(explicit(SEQUENCE, "SQ", open_item(ID), UNDEFINED), NAME),
     ["00081140", "00100010"], "a Sequence without its delimiter was ended by what follows"),
    ("a Sequence without its delimiter at the end", part10(NAME, explicit(0x00400275, "SQ", open_item(ID), UNDEFINED)),
     ["00100010", "00400275"], "a Sequence without its delimiter was ended by what follows"),
    ("an item without its delimiter at the end", part10(NAME, explicit(0x00400275, "SQ", item(ID, length=UNDEFINED), UNDEFINED)),
     ["00100010", "00400275"], "a Sequence without its delimiter was ended by what follows"),
    ("zeros at the end", part10(ID, bytes(700)), ["00100020"], "zeros after the last Data Element were passed over"),
    ("few zeros at the end", part10(ID, bytes(3)), ["00100020"], "bytes after the last Data Element were passed over"),
    ("a line's end at the end", part10(ID, b"\r\n"), ["00100020"], "bytes after the last Data Element were passed over"),
    ("a stray delimiter", part10(NAME, SEQUENCE_END, ID), ["00100010", "00100020"], "a delimiter without a Sequence was passed over"),
    ("a stray item's delimiter", part10(NAME, ITEM_END, ID), ["00100010", "00100020"], "a delimiter without a Sequence was passed over"),
    ("an item that is longer than its Sequence", part10(sequence(item(ID, length=64)), NAME),
     ["00081140", "00100010"], "an item is longer than what holds it"),
    ("an item that is a little longer than the object", part10(
        explicit(SEQUENCE, "SQ", item(ID, length=12), len(item(ID)))), ["00081140"], "an item is longer than what holds it"),
    ("a value that is longer than its Sequence", part10(
        sequence(item(explicit(0x00100020, "LO", b"X1", 8))), explicit(0x00100040, "CS", b"F ")),
     ["00081140", "00100040"], "a value is longer than the Sequence that holds it"),
    ("bytes after the last item of a Sequence", part10(sequence(item(ID), b"junk"), NAME),
     ["00081140", "00100010"], "bytes after the last Data Element were passed over"),
    ("fragments without a delimiter", part10(
        image(1, 4), explicit(0x7FE00010, "OB", item() + item(b"abcd"), UNDEFINED), uid=JPEG),
     ["00280002", "00280008", "00280010", "00280011", "00280100", "7FE00010"], "the delimiter after the last fragment is missing"),
    ("an element of zeros", part10(ID, implicit(0, b""), explicit(0x00100040, "CS", b"F ")), ["00100020", "00100040"], None),
    ("a File Meta element in the Data Set", part10(ID, explicit(0x00020003, "UI", b"1.2\0")), ["00100020"], None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "tags", "warning"), [case[1:] for case in BETTER], ids=[case[0] for case in BETTER]
)
def test_what_only_contradicts_itself_is_read(
    data: bytes, tags: list[str], warning: str | None
) -> None:
    found = scanned(data)
    assert list(orjson.loads(found.metadata)) == tags
    assert found.warnings == ((warning,) if warning else ())


REFUSED = {
    "within a value": part10(NAME, ID[:-1]),
    "within a header": part10(NAME, ID[:6]),
    "within a header of a long VR": part10(NAME, explicit(0x00282000, "OB")[:10]),
    "within an item": part10(explicit(SEQUENCE, "SQ", item(ID, length=60), UNDEFINED)),
    "within a value of an item": part10(explicit(SEQUENCE, "SQ", item(ID, length=UNDEFINED)[:-1], UNDEFINED)),
    "within a Sequence": part10(sequence(item(ID), length=40)),
    "within Pixel Data": part10(image(2, 4), explicit(0x7FE00010, "OW", bytes(7), 8)),
    "within the second frame": part10(image(2, 4, frames=2), explicit(0x7FE00010, "OW", bytes(15), 16)),
    "within Pixel Data of an icon": part10(
        explicit(0x00880200, "SQ", item(image(2, 4), explicit(0x7FE00010, "OW", bytes(7), 8), length=UNDEFINED), UNDEFINED)),
    "within a fragment": part10(image(2, 4), explicit(0x7FE00010, "OB", item() + item(b"abc", length=4), UNDEFINED), uid=JPEG),
    "within a fragment's header": part10(image(2, 4), explicit(0x7FE00010, "OB", item() + item()[:5], UNDEFINED), uid=JPEG),
    "before any fragment": part10(image(2, 4), explicit(0x7FE00010, "OB", b"", UNDEFINED), uid=JPEG),
    "within the File Meta Information": part10(ID)[:150],
    "within a header of the File Meta Information": part10(ID)[:136],
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_cut_short_is_refused(name: str) -> None:  # S-22
    with pytest.raises(InvalidDataset) as caught:
        scan(BytesSource(REFUSED[name]))
    assert caught.value.reason == 0xC001


def test_pixel_data_that_lacks_its_padding_alone_is_taken() -> None:
    data = part10(image(3, 3), explicit(0x7FE00010, "OB", bytes(9), 10))
    found = scanned(data)
    assert (found.frames.kind, found.frames.count, found.frames.length) == (FrameKind.STRIDE, 1, 9)
    assert found.bulk_values["7FE00010"].length == 9


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
