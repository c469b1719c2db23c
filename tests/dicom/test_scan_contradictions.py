"""What only contradicts itself is read, with a warning; what is cut short is refused (S-22)."""

import orjson
import pytest

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import FrameKind, ScannedInstance
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.raw_elements import (
    ITEM_END,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    image,
    implicit,
    item,
    open_item,
    part10,
)

NAME = explicit(0x00100010, "PN", b"Doe^John")
ID = explicit(0x00100020, "LO", b"X1")
SEQUENCE = 0x00081140


def scanned(data: bytes) -> ScannedInstance:
    """Scan without a memo and twice with one: it must make no difference."""
    memo = Memo()
    found = scan(BytesSource(data))
    assert scan(BytesSource(data), Limits(), memo) == found
    assert scan(BytesSource(data), Limits(), memo) == found
    return found


def sequence(*items: bytes, length: int | None = None) -> bytes:
    return explicit(SEQUENCE, "SQ", b"".join(items), length)


PASSED_OVER = "bytes after the last Data Element were passed over"
ENDED = "a Sequence without its delimiter was ended by what follows"
STRAY = "a delimiter without a Sequence was passed over"
BETTER = [
    (
        "items without delimiters",
        part10(
            explicit(
                SEQUENCE,
                "SQ",
                item(ID, length=UNDEFINED) + item(NAME, length=UNDEFINED) + SEQUENCE_END,
                UNDEFINED,
            ),
            ID,
        ),
        ["00081140", "00100020"],
        "an item without its delimiter was ended by what follows",
    ),
    (
        "a Sequence without its delimiter",
        part10(explicit(SEQUENCE, "SQ", open_item(ID), UNDEFINED), NAME),
        ["00081140", "00100010"],
        ENDED,
    ),
    (
        "a Sequence without its delimiter at the end",
        part10(NAME, explicit(0x00400275, "SQ", open_item(ID), UNDEFINED)),
        ["00100010", "00400275"],
        ENDED,
    ),
    (
        "an item without its delimiter at the end",
        part10(NAME, explicit(0x00400275, "SQ", item(ID, length=UNDEFINED), UNDEFINED)),
        ["00100010", "00400275"],
        ENDED,
    ),
    (
        "zeros at the end",
        part10(ID, bytes(700)),
        ["00100020"],
        "zeros after the last Data Element were passed over",
    ),
    ("few zeros at the end", part10(ID, bytes(3)), ["00100020"], PASSED_OVER),
    (
        "very many zeros before an element",  # looked at once, not again at each of them
        part10(ID, bytes(2_000_000), explicit(0x00100040, "CS", b"F ")),
        ["00100020", "00100040"],
        "zeros after the last Data Element were passed over",
    ),
    ("a line's end at the end", part10(ID, b"\r\n"), ["00100020"], PASSED_OVER),
    ("a stray delimiter", part10(NAME, SEQUENCE_END, ID), ["00100010", "00100020"], STRAY),
    ("a stray item's delimiter", part10(NAME, ITEM_END, ID), ["00100010", "00100020"], STRAY),
    (
        "an item that is longer than its Sequence",
        part10(sequence(item(ID, length=64)), NAME),
        ["00081140", "00100010"],
        "an item is longer than what holds it",
    ),
    (
        "an item that is a little longer than the object",
        part10(explicit(SEQUENCE, "SQ", item(ID, length=12), len(item(ID)))),
        ["00081140"],
        "an item is longer than what holds it",
    ),
    (
        "a value that is longer than its Sequence",
        part10(
            sequence(item(explicit(0x00100020, "LO", b"X1", 8))), explicit(0x00100040, "CS", b"F ")
        ),
        ["00081140", "00100040"],
        "a value is longer than the Sequence that holds it",
    ),
    (
        "bytes after the last item of a Sequence",
        part10(sequence(item(ID), b"junk"), NAME),
        ["00081140", "00100010"],
        PASSED_OVER,
    ),
    (
        "fragments without a delimiter",
        part10(
            image(1, 4), explicit(0x7FE00010, "OB", item() + item(b"abcd"), UNDEFINED), uid=JPEG
        ),
        ["00280002", "00280008", "00280010", "00280011", "00280100", "7FE00010"],
        "the delimiter after the last fragment is missing",
    ),
    (
        "an element of zeros",
        part10(ID, implicit(0, b""), explicit(0x00100040, "CS", b"F ")),
        ["00100020", "00100040"],
        None,
    ),
    (
        "an element of zeros in an item",
        part10(sequence(item(ID, implicit(0, b""), explicit(0x00100040, "CS", b"F ")))),
        ["00081140"],
        None,
    ),
    (
        "a File Meta element in the Data Set",
        part10(ID, explicit(0x00020003, "UI", b"1.2\0")),
        ["00100020"],
        None,
    ),
]


@pytest.mark.parametrize(
    ("data", "tags", "warning"), [case[1:] for case in BETTER], ids=[case[0] for case in BETTER]
)
def test_what_only_contradicts_itself_is_read(
    data: bytes, tags: list[str], warning: str | None
) -> None:
    found = scanned(data)
    assert list(orjson.loads(found.metadata)) == tags
    assert found.warnings == ((warning,) if warning else ())


@pytest.mark.parametrize(
    ("element", "member"),
    [
        (b"\x10\0\x20\0  \x02\0X1", {"vr": "LO", "Value": ["X1"]}),
        (b"\x10\0\x20\0??\x02\0X1", {"vr": "LO", "Value": ["X1"]}),
        (b"\x10\0\x20\0\x02\0\0\0X1", {"vr": "LO", "Value": ["X1"]}),
    ],
)
def test_an_element_without_a_vr_is_read_as_what_fits(element: bytes, member: object) -> None:
    for data in (part10(NAME, element), part10(NAME, element, explicit(0x00100040, "CS", b"F "))):
        found = orjson.loads(scanned(data).metadata)
        assert found["00100020"] == member


def test_an_element_without_a_vr_that_fits_in_no_way_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="ends within a value"):
        scan(BytesSource(part10(NAME, b"\x10\0\x20\0  \x09\0X1")))


REFUSED = {
    "within a value": part10(NAME, ID[:-1]),
    "within a header": part10(NAME, ID[:6]),
    "within a header of a long VR": part10(NAME, explicit(0x00282000, "OB")[:10]),
    "within an item": part10(explicit(SEQUENCE, "SQ", item(ID, length=60), UNDEFINED)),
    "within a value of an item": part10(
        explicit(SEQUENCE, "SQ", item(ID, length=UNDEFINED)[:-1], UNDEFINED)
    ),
    "within a Sequence": part10(sequence(item(ID), length=40)),
    "within Pixel Data": part10(image(2, 4), explicit(0x7FE00010, "OW", bytes(7), 8)),
    "before any Pixel Data": part10(image(2, 4), explicit(0x7FE00010, "OW", b"", 8)),
    "within the second frame": part10(
        image(2, 4, frames=2), explicit(0x7FE00010, "OW", bytes(15), 16)
    ),
    "within Pixel Data of an icon": part10(
        explicit(
            0x00880200,
            "SQ",
            item(image(2, 4), explicit(0x7FE00010, "OW", bytes(7), 8), length=UNDEFINED),
            UNDEFINED,
        )
    ),
    "within a fragment": part10(
        image(2, 4),
        explicit(0x7FE00010, "OB", item() + item(b"abc", length=4), UNDEFINED),
        uid=JPEG,
    ),
    "within a fragment's header": part10(
        image(2, 4), explicit(0x7FE00010, "OB", item() + item()[:5], UNDEFINED), uid=JPEG
    ),
    "before any fragment": part10(
        image(2, 4), explicit(0x7FE00010, "OB", b"", UNDEFINED), uid=JPEG
    ),
    "within the File Meta Information": part10(ID)[:150],
    "within a header of the File Meta Information": part10(ID)[:136],
}


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
