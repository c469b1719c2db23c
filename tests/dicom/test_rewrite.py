"""The walk that rewrites a Data Set: odd, hostile and rare encodings, byte for byte."""

from struct import pack

import pytest

from app.dicom.limits import Limits
from app.dicom.rewrite import Rewriter, element, element_header
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    find,
)
from app.errors import InvalidDataset

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = {"OB", "OW", "SQ", "UN", "UT"}


def implicit(tag: int, value: bytes = b"", length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    return pack("<HHL", tag >> 16, tag & 0xFFFF, size) + value


def big(tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    size = len(value) if length is None else length
    head = pack(">HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + pack(">L", size) + value
    long = vr in LONG
    return head + vr.encode() + (pack(">HL", 0, size) if long else pack(">H", size)) + value


def explicit(tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    return element_header(tag, vr, len(value) if length is None else length) + value


def rewrite(data: bytes, uid: str = IMPLICIT_LITTLE_ENDIAN, limits: Limits | None = None) -> bytes:
    syntax = find(uid)
    assert syntax is not None
    return b"".join(Rewriter(BytesSource(data), 0, syntax, limits or Limits()).walk())


NAME = implicit(0x00100010, b"A^B ")
NAME_OUT = explicit(0x00100010, "PN", b"A^B ")
SQ = 0x00081115
SQ_OPEN = explicit(SQ, "SQ", length=UNDEFINED) + implicit(ITEM, length=UNDEFINED)
SQ_CLOSE = implicit(ITEM_END) + implicit(SEQUENCE_END)


@pytest.mark.parametrize(
    ("tag", "value", "vr"),
    [
        (0x00100010, b"A^B ", "PN"),
        (0x00080018, b"1.2\0", "UI"),
        (0x00091001, b"ab", "UN"),  # private, nobody's
        (0x00110010, b"ACME", "LO"),  # Private Creator
        (0x00115001, b"ab", "UN"),  # private, of a block that nobody has reserved
        (0x00111234, b"ab", "UN"),
        (0x00120001, b"ab", "UN"),  # public, unknown
        (0x60003000, b"ab", "OW"),  # Overlay Data: a repeating group
        (0x54001010, b"ab", "OW"),  # Waveform Data
        (0x00280106, b"\1\0", "US"),  # no Pixel Representation around
        (0x00283006, b"\1\0", "OW"),  # LUT Data without a descriptor
        (0x7FE00010, b"ab", "OW"),
        (0xFFFCFFFC, b"\0\0", "OB"),  # Data Set Trailing Padding
    ],
)
def test_an_element_gets_the_vr_that_the_dictionary_has(tag: int, value: bytes, vr: str) -> None:
    assert rewrite(implicit(tag, value)) == explicit(tag, vr, value)


def test_a_private_element_gets_its_vr_from_its_creator() -> None:
    data = (
        implicit(0x00190010, b"GEMS_ACQU_01")
        + implicit(0x00191004, b"1.5 ")
        + implicit(0x0019105A, b"\0\0\0\0")
    )
    assert rewrite(data) == (
        explicit(0x00190010, "LO", b"GEMS_ACQU_01")
        + explicit(0x00191004, "DS", b"1.5 ")
        + explicit(0x0019105A, "FL", b"\0\0\0\0")
    )


@pytest.mark.parametrize("creator", [b"A\\B ", b"  ", b"\0\0", b"", b"nobody knows"])
def test_a_creator_that_says_nothing_leaves_its_elements_unknown(creator: bytes) -> None:
    data = implicit(0x00190010, creator) + implicit(0x00191004, b"\1\0")
    assert rewrite(data).endswith(explicit(0x00191004, "UN", b"\1\0"))


@pytest.mark.parametrize(("representation", "vr"), [(0, "US"), (1, "SS")])
def test_us_or_ss_is_decided_by_the_nearest_pixel_representation(
    representation: int, vr: str
) -> None:
    smallest, velocity = implicit(0x00280106, b"\1\0"), implicit(0x00189810, b"\1\0")
    own = implicit(0x00280103, pack("<H", representation))
    other = implicit(0x00280103, pack("<H", 1 - representation))
    # it stands before the attribute that decides, in an item, and outside of it
    item = implicit(SQ, implicit(ITEM, velocity))
    assert explicit(0x00189810, vr, b"\1\0") in rewrite(item + own)
    assert explicit(0x00189810, vr, b"\1\0") in rewrite(velocity + own + smallest)
    assert explicit(0x00280106, vr, b"\1\0") in rewrite(own + smallest)
    inner = implicit(SQ, implicit(ITEM, own + smallest))
    assert explicit(0x00280106, vr, b"\1\0") in rewrite(inner + other)


@pytest.mark.parametrize(
    "between",
    [
        b"",
        implicit(SQ, length=UNDEFINED) + implicit(SEQUENCE_END),
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END),
        implicit(SQ, length=UNDEFINED)
        + implicit(ITEM, NAME + implicit(SQ, length=UNDEFINED) + SQ_CLOSE[8:], UNDEFINED)
        + SQ_CLOSE,
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME, UNDEFINED) + implicit(SEQUENCE_END),
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME),  # no delimiter: what follows ends it
    ],
)
def test_what_decides_is_found_behind_sequences(between: bytes) -> None:
    data = implicit(0x00080100, b"A ") + between + implicit(0x00280103, b"\1\0")
    velocity = implicit(0x00189810, b"\1\0")
    at = len(implicit(0x00080100, b"A ") + between)
    assert explicit(0x00189810, "SS", b"\1\0") in rewrite(data[:at] + velocity + data[at:])


@pytest.mark.parametrize(
    "representation",
    [
        implicit(0x00280103),
        implicit(0x00280103, b"\1"),
        implicit(0x00280103, length=UNDEFINED) + implicit(SEQUENCE_END),
        implicit(0x00280103)[:7],
        implicit(SQ, length=UNDEFINED),  # ends with nothing
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, length=UNDEFINED),
    ],
)
def test_a_pixel_representation_without_a_number_decides_nothing(representation: bytes) -> None:
    data = implicit(0x00189810, b"\1\0") + representation
    assert explicit(0x00189810, "US", b"\1\0") in rewrite(data)


@pytest.mark.parametrize(("entries", "vr"), [(1, "US"), (256, "OW")])
def test_lut_data_is_us_for_one_entry(entries: int, vr: str) -> None:
    descriptor = implicit(0x00283002, pack("<HHH", entries, 0, 16))
    data = descriptor + implicit(0x00283006, b"\1\0")
    assert rewrite(data).endswith(explicit(0x00283006, vr, b"\1\0"))


def test_a_value_too_long_for_its_vr_becomes_unknown() -> None:
    value = b"1\\" * 40_000
    assert rewrite(implicit(0x00283003, value)) == element(0x00283003, "UN", value)


@pytest.mark.parametrize("tag", [0x00080000, 0x00110000, 0x00000002, 0x00020010])
def test_what_belongs_in_no_data_set_is_left_out(tag: int) -> None:
    left_out = implicit(tag, b"\1\0\0\0")
    sequence = implicit(tag, length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END)
    assert rewrite(left_out + NAME + left_out + sequence) == NAME_OUT
    item = implicit(SQ, implicit(ITEM, left_out + NAME))
    assert rewrite(item) == SQ_OPEN + NAME_OUT + SQ_CLOSE


@pytest.mark.parametrize(
    "data",
    [
        implicit(SQ, implicit(ITEM, NAME)),
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END),
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME, UNDEFINED) + SQ_CLOSE,
        implicit(SQ, implicit(ITEM, NAME) + implicit(SEQUENCE_END) + b"\0\0"),
        implicit(SQ, implicit(ITEM, NAME) + b"\0\0\0\0"),  # padding
        implicit(SQ, implicit(ITEM, NAME + b"\0\0\0\0")),
        implicit(SQ, implicit(ITEM, NAME, len(NAME) + 8)),  # an item longer than what holds it
        implicit(SQ, implicit(ITEM, implicit(0x00100010, b"A^B ", 40))),  # a value, likewise
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME, UNDEFINED) + implicit(SEQUENCE_END),
        implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME),
        implicit(SQ, implicit(ITEM, NAME + implicit(ITEM_END))),  # two ends
    ],
)
def test_a_sequence_however_it_is_delimited_is_written_one_way(data: bytes) -> None:
    assert rewrite(data) == SQ_OPEN + NAME_OUT + SQ_CLOSE


def test_elements_after_a_sequence_go_on() -> None:
    sequence = implicit(SQ, implicit(ITEM, NAME))
    assert rewrite(sequence + NAME) == SQ_OPEN + NAME_OUT + SQ_CLOSE + NAME_OUT
    open_ended = implicit(SQ, length=UNDEFINED) + implicit(ITEM, NAME)
    assert rewrite(open_ended + NAME) == SQ_OPEN + NAME_OUT + SQ_CLOSE + NAME_OUT


def test_an_empty_sequence_stays_empty() -> None:
    assert rewrite(implicit(SQ)) == explicit(SQ, "SQ")


@pytest.mark.parametrize("tag", [0x00091001, 0x00120001])
def test_an_unknown_value_of_undefined_length_is_a_sequence(tag: int) -> None:  # PS3.5 §6.2.2
    data = implicit(tag, length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END)
    expected = explicit(tag, "SQ", length=UNDEFINED) + SQ_OPEN[12:] + NAME_OUT + SQ_CLOSE
    assert rewrite(data) == expected
    of_un = explicit(tag, "UN", length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END)
    assert rewrite(of_un, EXPLICIT_LITTLE_ENDIAN) == expected


def test_a_private_value_of_undefined_length_is_a_sequence_whatever_the_dictionary_says() -> None:
    creator = implicit(0x00190010, b"GEMS_ACQU_01")
    data = implicit(0x00191004, length=UNDEFINED) + implicit(ITEM, NAME) + implicit(SEQUENCE_END)
    assert explicit(0x00191004, "SQ", length=UNDEFINED) in rewrite(creator + data)


@pytest.mark.parametrize("tag", [0x7FE00010, 0x00282000])
def test_fragments_in_a_syntax_without_any_are_copied(tag: int) -> None:
    items = implicit(ITEM) + implicit(ITEM, b"abcd") + implicit(SEQUENCE_END)
    expected = explicit(tag, "OB", length=UNDEFINED) + items + NAME_OUT
    assert rewrite(implicit(tag, length=UNDEFINED) + items + NAME) == expected
    turned = big(ITEM, "") + big(ITEM, "", b"abcd") + big(SEQUENCE_END, "")
    name = big(0x00100010, "PN", b"A^B ")
    assert (
        rewrite(big(tag, "OB", length=UNDEFINED) + turned + name, EXPLICIT_BIG_ENDIAN) == expected
    )


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x00282000, "OB"), (0x00091001, "UN"), (0x00120001, "UN")]
)
def test_plain_bytes_of_undefined_length_get_one(tag: int, vr: str) -> None:
    data = implicit(tag, length=UNDEFINED) + b"no items" + implicit(SEQUENCE_END) + NAME
    assert rewrite(data) == explicit(tag, vr, b"no items") + NAME_OUT


@pytest.mark.parametrize(
    ("vr", "value", "turned"),
    [
        ("US", b"\0\1\0\2", b"\1\0\2\0"),
        ("AT", b"\0\x10\0\x20", b"\x10\0\x20\0"),
        ("UL", b"\0\0\0\1", b"\1\0\0\0"),
        ("FL", b"\x3f\x80\0\0", b"\0\0\x80\x3f"),
        ("FD", b"\x3f\xf0\0\0\0\0\0\0", b"\0\0\0\0\0\0\xf0\x3f"),
        ("OB", b"\0\1", b"\0\1"),
        ("LO", b"ab", b"ab"),
        ("UN", b"ab", b"ab"),
        ("US", b"\0\1\7", b"\1\0\7"),  # a number and a half
    ],
)
def test_big_endian_numbers_are_turned(vr: str, value: bytes, turned: bytes) -> None:
    tag = 0x00091001
    assert rewrite(big(tag, vr, value), EXPLICIT_BIG_ENDIAN) == explicit(tag, vr, turned)


def test_big_endian_values_of_unknown_vr_are_turned_as_the_dictionary_says() -> None:
    data = big(0x00280010, "UN", b"\0\1")
    assert rewrite(data, EXPLICIT_BIG_ENDIAN) == explicit(0x00280010, "US", b"\1\0")
    data = big(0x00280010, "UN", bytes(0xFFFF) + b"\1")
    assert rewrite(data, EXPLICIT_BIG_ENDIAN) == explicit(0x00280010, "UN", bytes(0xFFFF) + b"\1")


@pytest.mark.parametrize(
    ("bits", "vr", "value", "turned"),
    [
        (8, "OB", b"abcd", b"abcd"),
        (8, "OW", b"abcd", b"badc"),
        (16, "OW", b"abcd", b"badc"),
        (32, "OW", b"abcd", b"dcba"),
        (0, "OW", b"abcd", b"badc"),
    ],
)
def test_big_endian_pixels_are_turned_by_their_cells(
    bits: int, vr: str, value: bytes, turned: bytes
) -> None:
    allocated = big(0x00280100, "US", pack(">H", bits)) if bits else b""
    data = allocated + big(0x7FE00010, vr, value)
    assert rewrite(data, EXPLICIT_BIG_ENDIAN).endswith(explicit(0x7FE00010, vr, turned))


def test_large_big_endian_values_are_turned_across_blocks() -> None:
    value = bytes(range(256)) * (3 * 2**12 + 1)
    out = rewrite(big(0x7FE00010, "OW", value), EXPLICIT_BIG_ENDIAN)
    assert out[12:14] == b"\1\0"
    assert out[12::2] == value[1::2]
    assert out[13::2] == value[::2]


def test_unknown_items_in_big_endian_are_little_endian_if_they_stand_so() -> None:
    data = big(0x00091001, "UN", length=UNDEFINED)
    little = implicit(ITEM, NAME) + implicit(SEQUENCE_END)
    turned = big(ITEM, "", big(0x00100010, "", b"A^B ")) + big(SEQUENCE_END, "")
    expected = explicit(0x00091001, "SQ", length=UNDEFINED) + SQ_OPEN[12:] + NAME_OUT + SQ_CLOSE
    assert rewrite(data + little, EXPLICIT_BIG_ENDIAN) == expected
    assert rewrite(data + turned, EXPLICIT_BIG_ENDIAN) == expected


def test_a_data_set_that_is_not_encoded_as_its_syntax_says_is_read_as_it_stands() -> None:
    assert rewrite(NAME_OUT, IMPLICIT_LITTLE_ENDIAN) == NAME_OUT
    assert rewrite(NAME, EXPLICIT_LITTLE_ENDIAN) == NAME_OUT
    assert rewrite(big(0x00100010, "", b"A^B "), EXPLICIT_BIG_ENDIAN) == NAME_OUT


def test_an_element_in_implicit_vr_among_explicit_ones_is_understood() -> None:
    assert rewrite(NAME_OUT + NAME, EXPLICIT_LITTLE_ENDIAN) == NAME_OUT + NAME_OUT


@pytest.mark.parametrize(
    "tail",
    [
        b"\0",
        b"\0" * 4,
        bytes(64),
        bytes(70),
        bytes(200_003),
        implicit(ITEM_END),
        implicit(SEQUENCE_END),
        implicit(ITEM),
    ],
)
def test_what_is_no_element_at_the_end_is_left_out(tail: bytes) -> None:
    assert rewrite(NAME + tail) == NAME_OUT


@pytest.mark.parametrize("zeros", [8, 80, 200_000])
def test_zeros_between_elements_are_passed_over(zeros: int) -> None:
    assert rewrite(NAME + bytes(zeros) + NAME) == NAME_OUT + NAME_OUT
    item = implicit(SQ, implicit(ITEM, NAME + bytes(zeros)))
    assert rewrite(item) == SQ_OPEN + NAME_OUT + SQ_CLOSE


def test_an_element_without_a_vr_is_read_by_the_length_that_fits() -> None:
    blanks = explicit(0x00100020, "UN", b"ab")[:4] + b"  \2\0ab"
    assert rewrite(NAME_OUT + blanks + NAME_OUT, EXPLICIT_LITTLE_ENDIAN) == (
        NAME_OUT + explicit(0x00100020, "LO", b"ab") + NAME_OUT
    )
    turned = b"\0\x10\0\x20  \0\2ab"
    name = big(0x00100010, "PN", b"A^B ")
    assert rewrite(name + turned, EXPLICIT_BIG_ENDIAN) == NAME_OUT + explicit(
        0x00100020, "LO", b"ab"
    )
    neither = explicit(0x00100020, "UN", b"ab")[:4] + b"  \xff\xffab"
    assert rewrite(NAME_OUT + neither, EXPLICIT_LITTLE_ENDIAN) == NAME_OUT + explicit(
        0x00100020, "LO", b"ab"
    )


def test_a_delimiter_without_a_sequence_is_passed_over() -> None:
    assert rewrite(NAME + implicit(ITEM_END) + NAME) == NAME_OUT + NAME_OUT


def test_pixels_that_are_cut_short_get_the_length_that_is_there() -> None:
    assert rewrite(implicit(0x7FE00010, b"abcd", 100)) == explicit(0x7FE00010, "OW", b"abcd")


@pytest.mark.parametrize("length", [None, UNDEFINED])
@pytest.mark.parametrize("depth", [32, 33, 5000])
def test_nesting_is_bounded(depth: int, length: int | None) -> None:
    data = NAME
    for _ in range(depth):
        end = SQ_CLOSE if length else b""
        inner = implicit(ITEM, data, length) + end
        data = implicit(SQ, inner, length)
    if depth > 32:
        with pytest.raises(InvalidDataset, match="nested"):
            rewrite(data)
    else:
        assert rewrite(data).count(NAME_OUT) == 1


def test_a_search_is_bounded_too() -> None:
    data = NAME
    for _ in range(5000):
        data = implicit(SQ, implicit(ITEM, data, UNDEFINED) + SQ_CLOSE, UNDEFINED)
    velocity = implicit(0x00189810, b"\1\0")
    first = implicit(SQ, implicit(ITEM, velocity))
    with pytest.raises(InvalidDataset, match="nested"):
        rewrite(first + data + implicit(0x00280103, b"\1\0"))


def test_what_decides_is_found_though_the_order_is_not_kept() -> None:
    smallest, representation = implicit(0x00280106, b"\1\0"), implicit(0x00280103, b"\1\0")
    late = implicit(0x00280103, b"\0\0")
    assert explicit(0x00280106, "SS", b"\1\0") in rewrite(smallest + NAME + late + representation)


def test_what_decides_is_found_behind_items_in_implicit_vr() -> None:
    name = big(0x00100010, "", b"A^B ")
    items = big(ITEM, "", name, UNDEFINED) + big(ITEM_END, "") + big(SEQUENCE_END, "")
    before = big(SQ, "SQ", length=UNDEFINED) + items + big(0x00280100, "US", b"\0\x20")
    out = rewrite(before + big(0x7FE00010, "OW", b"abcd"), EXPLICIT_BIG_ENDIAN)
    assert out.endswith(explicit(0x7FE00010, "OW", b"dcba"))


def test_a_source_that_has_less_than_it_says_is_no_data_set() -> None:
    syntax = find(IMPLICIT_LITTLE_ENDIAN)
    assert syntax is not None
    source = BytesSource(implicit(0x7FE00010, b"abcd", 100))
    source.size += 96
    with pytest.raises(InvalidDataset, match="ends"):
        list(Rewriter(source, 0, syntax, Limits()).walk())
