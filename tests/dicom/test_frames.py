"""Frame tables: native strides and bits, offset tables that are believed only where they agree."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels.utils import get_expected_length

from app.dicom.frames import SEVERAL_FRAGMENTS
from app.dicom.limits import Limits
from app.dicom.scan import scan
from app.dicom.scanned import FrameKind, ScannedInstance
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests import pydicom_oracle
from tests.factories import make_dataset, make_part10
from tests.raw_elements import (
    EXPLICIT,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    fragments,
    image,
    item,
    part10,
)

MPEG = "1.2.840.10008.1.2.4.102"
RLE = "1.2.840.10008.1.2.5"
SHORT = "there are fewer frames than the Data Set declares"
MORE = "there are more frames than the Data Set declares"
UNCLEAR = "the frames of Pixel Data cannot be told apart"


def pixel_data(value: bytes, vr: str = "OB", length: int | None = None) -> bytes:
    return explicit(0x7FE00010, vr, value, length)


def encapsulated(value: bytes, frames: int, uid: str = JPEG, *, before: bytes = b"") -> bytes:
    """Return an object whose Pixel Data is `value`; `before` are elements of group 7FE0."""
    return part10(image(2, 2, frames=frames), before, pixel_data(value, length=UNDEFINED), uid=uid)


def found(data: bytes) -> tuple[list[bytes], ScannedInstance]:
    """Return the frames' bytes and the scan they come from."""
    scanned = scan(BytesSource(data))
    return pydicom_oracle.our_frames(data, scanned.frames), scanned


@pytest.mark.parametrize(
    ("bits", "samples", "photometric", "frames"),
    [
        (8, 1, "MONOCHROME2", 1), (16, 1, "MONOCHROME2", 3), (32, 1, "MONOCHROME2", 2),
        (64, 1, "MONOCHROME2", 2), (8, 3, "RGB", 2), (16, 3, "RGB", 1), (8, 3, "YBR_FULL_422", 2),
        (1, 1, "MONOCHROME2", 1), (1, 1, "MONOCHROME2", 5),
    ],
)  # fmt: skip
def test_native_frames_are_pydicoms(bits: int, samples: int, photometric: str, frames: int) -> None:
    dataset = make_dataset(
        Rows=4, Columns=6, BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1,
        NumberOfFrames=frames,
        SamplesPerPixel=samples, PhotometricInterpretation=photometric, PixelRepresentation=0,
        PixelData=b"",
    )  # fmt: skip
    length = get_expected_length(dataset)
    dataset.PixelData = bytes(i % 251 for i in range(length + length % 2))
    data = make_part10(dataset)
    frames_found, scanned = found(data)
    assert scanned.frames.kind is FrameKind.STRIDE
    assert scanned.frames.table is None
    assert frames_found == pydicom_oracle.frames(pydicom_oracle.read(data))
    assert scanned.warnings == ()


def test_bits_off_byte_bounds_are_counted_in_bits() -> None:  # PS3.5 §8.1.1
    pixels = np.packbits(np.arange(3 * 15) % 4 == 0, bitorder="little").tobytes()
    data = part10(image(3, 5, bits=1, frames=3), pixel_data(pixels, "OW"))
    frames, scanned = found(data)
    assert (scanned.frames.kind, scanned.frames.length, scanned.frames.count) == (
        FrameKind.BITS,
        15,
        3,
    )
    assert frames == pydicom_oracle.frames(pydicom_oracle.read(data))


def test_one_frame_of_bits_off_byte_bounds_is_bytes() -> None:
    _, scanned = found(part10(image(3, 5, bits=1), pixel_data(b"\xff\x7f", "OW")))
    assert (scanned.frames.kind, scanned.frames.length) == (FrameKind.STRIDE, 2)


@pytest.mark.parametrize(("tag", "vr", "bits"), [(0x7FE00008, "OF", 32), (0x7FE00009, "OD", 64)])
def test_float_pixel_data_has_frames(tag: int, vr: str, bits: int) -> None:  # PS3.3 §C.7.6.24
    data = part10(image(2, 3, bits=8, frames=2), explicit(tag, vr, bytes(2 * 6 * bits // 8)))
    frames, scanned = found(data)
    assert [len(frame) for frame in frames] == [6 * bits // 8] * 2
    assert list(scanned.bulk_values) == [f"{tag:08X}"]


@pytest.mark.parametrize("declared", [3, 2**31 - 1])
def test_pixel_data_that_is_too_short_has_the_frames_that_are_there(declared: int) -> None:
    frames, scanned = found(part10(image(2, 2, frames=declared), pixel_data(b"aaaabbbbcc")))
    assert frames == [b"aaaa", b"bbbb"]
    assert scanned.warnings == (SHORT,)


@pytest.mark.parametrize(
    "description",
    [image(0, 2), image(2, 2, bits=12), image(65535, 65535, bits=64), image(2, 2, bits=0), b""],
)
def test_a_description_that_fits_nothing_leaves_no_frames(description: bytes) -> None:
    _, scanned = found(part10(description, pixel_data(b"abcd")))
    assert scanned.frames.kind is FrameKind.NONE
    assert scanned.warnings == (UNCLEAR,)


def test_a_number_of_frames_that_is_none_counts_as_one() -> None:
    for value in (b"", b"0", b"-1", b"1A"):
        data = part10(image(2, 2, x0008=explicit(0x00280008, "IS", value)), pixel_data(b"abcd"))
        assert found(data)[0] == [b"abcd"]


def test_big_endian_pixels_have_a_stride() -> None:
    data = make_part10(transfer_syntax="1.2.840.10008.1.2.2")
    assert found(data)[0] == pydicom_oracle.frames(pydicom_oracle.read(data))


ENCODED = [b"\xff\xd8" + bytes([i]) * 60 + b"\xff\xd9" for i in range(3)]


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("has_table", [False, True])
def test_encapsulated_frames_are_pydicoms(pieces: int, has_table: bool) -> None:  # PS3.5 §A.4
    value = encapsulate(ENCODED, fragments_per_frame=pieces, has_bot=has_table) + SEQUENCE_END
    data = encapsulated(value, 3)
    frames, scanned = found(data)
    assert frames == list(generate_frames(value, number_of_frames=3))
    assert scanned.warnings == ()
    assert scanned.frames.kind is FrameKind.TABLE


def test_the_table_has_offset_and_length_of_each_frame() -> None:
    data = encapsulated(fragments(b"abcd", b"efgh", b"ij"), 3)
    table = scan(BytesSource(data)).frames.table
    entries = [(data.index(b"abcd"), 4), (data.index(b"efgh"), 4), (data.index(b"ij"), 2)]
    assert table == b"".join(struct.pack("<QQ", *entry) for entry in entries)


def test_several_fragments_are_marked_in_the_table() -> None:
    data = encapsulated(fragments(b"abcd", b"efgh"), 1)
    table = scan(BytesSource(data)).frames.table
    assert table == struct.pack("<QQ", data.index(b"abcd"), 16 | SEVERAL_FRAGMENTS)


def extended(value: tuple[bytes, bytes, bytes]) -> tuple[bytes, bytes]:
    pixels, offsets, lengths = value
    before = explicit(0x7FE00001, "OV", offsets) + explicit(0x7FE00002, "OV", lengths)
    return before, pixels if pixels.endswith(SEQUENCE_END) else pixels + SEQUENCE_END


def test_an_extended_offset_table_is_pydicoms() -> None:  # PS3.3 §C.7.6.3.1.8
    before, pixels = extended(encapsulate_extended(ENCODED))
    frames, scanned = found(encapsulated(pixels, 3, before=before))
    assert frames == ENCODED
    assert scanned.warnings == ()


def test_an_extended_offset_table_knows_which_byte_is_padding() -> None:
    table = struct.pack("<QQ", 0, 12), struct.pack("<QQ", 3, 4)
    before, pixels = extended((fragments(b"abc\0", b"defg"), *table))
    assert found(encapsulated(pixels, 2, before=before))[0] == [b"abc", b"defg"]


def test_an_extended_offset_table_may_be_bulk_data_itself() -> None:
    values = [bytes([i % 256]) * 2 for i in range(600)]
    before, pixels = extended(encapsulate_extended(values))
    frames, scanned = found(encapsulated(pixels, 600, before=before))
    assert frames == values
    assert {"7FE00001", "7FE00002"} < set(scanned.bulk_values)


@pytest.mark.parametrize(
    ("offsets", "lengths"),
    [((0, 13), (4, 4)), ((0, 12), (4, 5)), ((0, 12), (4, 0)), ((0, 2**63), (4, 4)), ((0,), (4,)),
     ((0, 12, 24), (4, 4, 4)), ((12, 0), (4, 4))],
)  # fmt: skip
def test_an_extended_offset_table_that_lies_is_not_believed(
    offsets: tuple[int, ...], lengths: tuple[int, ...]
) -> None:
    packed = [struct.pack(f"<{len(each)}Q", *each) for each in (offsets, lengths)]
    before, pixels = extended((fragments(b"abcd", b"efgh"), packed[0], packed[1]))
    assert found(encapsulated(pixels, 2, before=before))[0] == [b"abcd", b"efgh"]


def test_an_extended_offset_table_over_several_fragments_is_not_believed() -> None:
    table = struct.pack("<QQ", 0, 12), struct.pack("<QQ", 4, 4)
    before, pixels = extended((fragments(b"ab\xff\xd9", b"cd", b"ef\xff\xd9"), *table))
    frames, _ = found(encapsulated(pixels, 2, before=before))
    assert frames == [b"ab\xff\xd9", b"cdef\xff\xd9"]


@pytest.mark.parametrize(
    "offsets", [(0, 13), (12, 0), (0, 12, 24), (0, 0), (4, 12), (0, 2**32 - 1), (0, 24)]
)
def test_a_basic_offset_table_that_lies_is_not_believed(offsets: tuple[int, ...]) -> None:
    table = struct.pack(f"<{len(offsets)}L", *offsets)
    assert found(encapsulated(fragments(b"abcd", b"efgh", table=table), 2))[0] == [b"abcd", b"efgh"]


def test_a_basic_offset_table_of_a_broken_length_is_not_believed() -> None:
    assert found(encapsulated(fragments(b"abcd", table=b"\0\0\0\0\0\0"), 1))[0] == [b"abcd"]


def test_a_basic_offset_table_decides_when_the_number_of_frames_does_not_fit() -> None:
    value = fragments(b"ab", b"cd", b"ef", table=struct.pack("<LL", 0, 20))
    frames, scanned = found(encapsulated(value, 4))
    assert frames == [b"abcd", b"ef"]
    assert scanned.warnings == (SHORT,)
    assert frames == list(generate_frames(value, number_of_frames=4))


def test_more_frames_than_declared_are_noted() -> None:
    value = fragments(b"ab", b"cd", b"ef", table=struct.pack("<LLL", 0, 10, 20))
    frames, scanned = found(encapsulated(value, 2))
    assert (frames, scanned.warnings) == ([b"ab", b"cd", b"ef"], (MORE,))


@pytest.mark.parametrize("declared", [4, 2**31 - 1])
def test_fewer_fragments_than_frames_are_a_frame_each(declared: int) -> None:
    frames, scanned = found(encapsulated(fragments(b"ab", b"cd", b"ef"), declared))
    assert (frames, scanned.warnings) == ([b"ab", b"cd", b"ef"], (SHORT,))


def test_frames_of_several_fragments_are_told_apart_by_where_images_begin() -> None:
    value = fragments(b"\xff\xd8ab", b"\xff\xd9cdefghijklm", b"\xff\x4fef", b"gh")
    assert found(encapsulated(value, 2))[0] == [b"\xff\xd8ab\xff\xd9cdefghijklm", b"\xff\x4fefgh"]


def test_frames_of_several_fragments_are_told_apart_by_where_images_end() -> None:
    value = fragments(b"ab", b"cd\xff\xd9", b"ef", b"gh\xff\xd9\0\0", b"ij")
    frames, scanned = found(encapsulated(value, 2))
    assert frames == [b"abcd\xff\xd9", b"efgh\xff\xd9\0\0ij"]
    assert scanned.warnings == ()


def test_fragments_without_any_mark_are_one_frame_and_noted() -> None:
    frames, scanned = found(encapsulated(fragments(b"ab", b"cd", b"ef"), 2))
    assert (frames, scanned.warnings) == ([b"abcdef"], (SHORT,))


def test_rle_has_a_fragment_a_frame() -> None:
    assert found(encapsulated(fragments(b"ab", b"cd"), 2, RLE))[0] == [b"ab", b"cd"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_video_is_one_stream(count: int) -> None:  # PS3.5 §8.2.5
    frames, scanned = found(encapsulated(fragments(*[b"ab"] * count), 2, MPEG))
    assert (frames, scanned.warnings) == ([b"ab" * count], ())


def test_no_fragments_are_no_frames() -> None:
    _, scanned = found(encapsulated(fragments(), 1))
    assert (scanned.frames.kind, scanned.warnings) == (FrameKind.NONE, (UNCLEAR,))


def test_an_empty_fragment_is_a_frame() -> None:
    assert found(encapsulated(fragments(b"ab", b""), 2))[0] == [b"ab", b""]


def test_undefined_length_counts_whatever_the_transfer_syntax_says() -> None:
    assert found(encapsulated(fragments(b"ab"), 1, EXPLICIT))[0] == [b"ab"]


def test_items_of_a_defined_length_are_encapsulated_all_the_same() -> None:
    value = item() + item(b"abcd") + item(b"efgh")
    data = part10(image(2, 2, frames=2), pixel_data(value), uid=JPEG)
    assert found(data)[0] == [b"abcd", b"efgh"]


@pytest.mark.parametrize(
    "value", [b"abcdefgh", item()[:6], item() + item(b"ab", length=9), b"\xfe\xff\0\xe0"]
)
def test_native_pixels_in_an_encapsulated_transfer_syntax_have_no_frames(value: bytes) -> None:
    _, scanned = found(part10(image(2, 2), pixel_data(value), uid=JPEG))
    assert scanned.frames.kind is FrameKind.NONE
    assert scanned.warnings == ("Pixel Data is not encapsulated as its Transfer Syntax says",)


def test_native_pixels_may_look_like_an_item() -> None:
    data = part10(image(2, 2), pixel_data(b"\xfe\xff\0\xe0"))
    assert found(data)[0] == [b"\xfe\xff\0\xe0"]


def test_a_value_of_undefined_length_without_items_has_no_frames() -> None:
    _, scanned = found(encapsulated(b"no items" + fragments()[8:], 1))
    assert (scanned.frames.kind, scanned.warnings) == (FrameKind.NONE, (UNCLEAR,))


def test_an_encapsulated_icon_is_bulk_data_and_has_no_frames() -> None:
    icon = item(image(2, 2), pixel_data(fragments(b"abcd"), length=UNDEFINED))
    data = part10(explicit(0x00880200, "SQ", icon))
    _, scanned = found(data)
    place = scanned.bulk_values["00880200/1/7FE00010"]
    assert data[place.offset : place.offset + place.length] == fragments(b"abcd")[:-8]
    assert scanned.frames.kind is FrameKind.NONE


def test_fragments_are_counted() -> None:
    data = encapsulated(fragments(*[b"ab"] * 11), 1)
    scan(BytesSource(data), Limits(fragments=11))
    with pytest.raises(InvalidDataset, match="more than 10 fragments"):
        scan(BytesSource(data), Limits(fragments=10))


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=12),
    number=st.integers(1, 14),
    table=st.none() | st.lists(st.integers(0, 200), max_size=6),
    ends=st.sets(st.integers(0, 11)),
)
def test_any_fragments_make_frames_of_their_bytes(
    sizes: list[int], number: int, table: list[int] | None, ends: set[int]
) -> None:
    values = [bytes([i]) * size + b"\xff\xd9" * (i in ends) for i, size in enumerate(sizes)]
    packed = struct.pack(f"<{len(table)}L", *table) if table else b""
    frames, scanned = found(encapsulated(fragments(*values, table=packed), number))
    assert b"".join(frames) == b"".join(values)
    assert len(frames) == scanned.frames.count
    assert set(scanned.warnings) <= {SHORT, MORE}
    assert bool(scanned.warnings) == (len(frames) != number)
