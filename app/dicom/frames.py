"""Where the frames of an Instance lie, found once when it is stored (PS3.5 §8, §A.4).

Native frames follow each other: an offset and a stride say it all. Encapsulated ones get a table of
16 bytes a frame, made from the items that are there. An offset table in the object is believed only
as far as it agrees with those items; nothing is allocated from a declared number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.dicom.fragments import Encapsulated
from app.dicom.level import number_of, text_of
from app.dicom.scanned import FrameKind, Frames
from app.dicom.source import Window

SEVERAL_FRAGMENTS = 1 << 63
"""Set in a length of the table: item headers lie between the fragments of the frame."""

FLOAT_BITS = {0x7FE00008: 32, 0x7FE00009: 64}
_STARTS = (b"\xff\xd8", b"\xff\x4f")
_END = b"\xff\xd9"

Fragments = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What the Data Set says about its Pixel Data; 0 for what it does not say."""

    rows: int = 0
    columns: int = 0
    samples_per_pixel: int = 1
    bits_allocated: int = 0
    photometric_interpretation: str = ""
    number_of_frames: int = 1

    @property
    def frame_bits(self) -> int:
        """Bits of a native frame (PS3.3 §C.7.6.3.1.2 for what 4:2:2 leaves out)."""
        bits = self.rows * self.columns * self.samples_per_pixel * self.bits_allocated
        return bits // 3 * 2 if self.photometric_interpretation == "YBR_FULL_422" else bits


def frame_shape(members: Mapping[int, bytes], tag: int) -> FrameShape:
    """Read the Image Pixel attributes from DICOM JSON members; `tag` is that of the pixel value.

    Source: PS3.3 §C.7.6.3
    """

    def number(of: int, default: int) -> int:
        found = number_of(members.get(of))
        return found if found is not None and found > 0 else default

    return FrameShape(
        rows=number(0x00280010, 0),
        columns=number(0x00280011, 0),
        samples_per_pixel=number(0x00280002, 1),
        bits_allocated=FLOAT_BITS.get(tag) or number(0x00280100, 0),
        photometric_interpretation=text_of(members.get(0x00280004)),
        number_of_frames=number(0x00280008, 1),
    )


def native_frames(pixels: FrameShape, offset: int, length: int) -> Frames:
    """Return where native frames lie; only those that are wholly within `length` bytes.

    Source: PS3.5 §8.1.1, §8.2; PS3.3 §C.7.6.3.3
    """
    bits = pixels.frame_bits
    if bits == 0 or (pixels.bits_allocated % 8 and pixels.bits_allocated != 1):
        return Frames()
    count = min(pixels.number_of_frames, length * 8 // bits)
    if count == 0:
        return Frames()
    if bits % 8 and pixels.number_of_frames > 1:
        return Frames(FrameKind.BITS, count, offset, bits)
    return Frames(FrameKind.STRIDE, count, offset, (bits + 7) // 8)


@dataclass(frozen=True, slots=True)
class OffsetTable:
    """Extended Offset Table and its Lengths, as they stand in the Data Set."""

    offsets: bytes = b""
    lengths: bytes = b""


def encapsulated_frames(
    window: Window,
    value: Encapsulated,
    number_of_frames: int,
    extended: OffsetTable = OffsetTable(),
    *,
    one_stream: bool = False,
) -> Frames:
    """Return where encapsulated frames lie.

    The first of these that fits decides: the Extended Offset Table, the Basic Offset Table for as
    many frames, one fragment a frame, one frame or one stream of all fragments, a Basic Offset
    Table for another number of frames, the marks at which compressed images begin, or end. If
    there are fewer fragments than frames, each is one.

    Source: PS3.5 §A.4; PS3.3 §C.7.6.3.1.8
    """
    offsets, lengths = _fragments(value)
    if not len(offsets):
        return Frames()
    sized = _extended_lengths(offsets, lengths, number_of_frames, extended)
    if sized is not None:
        return _table(offsets, sized, np.arange(len(offsets)))
    basic = _basic_starts(window, value, offsets)
    starts = _starts(window, (offsets, lengths), number_of_frames, basic, one_stream)
    return _table(offsets, lengths, starts)


def _fragments(value: Encapsulated) -> tuple[Fragments, Fragments]:
    """Return offsets and lengths of the fragments, without the Basic Offset Table."""
    offsets = np.array(value.offsets or (), np.uint64)[1:]
    lengths = np.array(value.lengths or (), np.uint64)[1:]
    return offsets, lengths


def _extended_lengths(
    offsets: Fragments, lengths: Fragments, number_of_frames: int, extended: OffsetTable
) -> Fragments | None:
    """Return the frames' lengths from an Extended Offset Table that agrees with the items."""
    wanted = 8 * number_of_frames
    if len(extended.offsets) != wanted or len(extended.lengths) != wanted:
        return None
    if len(offsets) != number_of_frames:
        return None
    table = np.frombuffer(extended.offsets, "<u8")
    sizes = np.frombuffer(extended.lengths, "<u8").astype(np.uint64)
    if (offsets - offsets[0] != table).any() or (sizes > lengths).any() or not sizes.all():
        return None
    return sizes


def _basic_starts(
    window: Window, value: Encapsulated, offsets: Fragments
) -> NDArray[np.intp] | None:
    """Return at which fragments frames start by a Basic Offset Table that agrees with the items."""
    assert value.offsets is not None and value.lengths is not None  # noqa: S101, PT018
    length = value.lengths[0]
    if not length or length % 4 or length // 4 > len(offsets):
        return None
    table = np.frombuffer(window.read(value.offsets[0], length), "<u4").astype(np.uint64)
    heads = offsets - offsets[0]
    starts = np.searchsorted(heads, table)
    inside = starts < len(heads)
    if table[0] or not inside.all() or (heads[starts] != table).any():
        return None
    return starts if (np.diff(starts) > 0).all() else None


def _starts(
    window: Window,
    fragments: tuple[Fragments, Fragments],
    number_of_frames: int,
    basic: NDArray[np.intp] | None,
    one_stream: bool,
) -> NDArray[np.intp]:
    count = len(fragments[0])
    if basic is not None and len(basic) == number_of_frames:
        return basic
    if count == number_of_frames and not one_stream:
        return np.arange(count)
    if number_of_frames == 1 or one_stream:
        return np.zeros(1, np.intp)
    if basic is not None:
        return basic
    if count < number_of_frames:
        return np.arange(count)
    begins = _where_images_begin(window, fragments[0])
    if len(begins) == number_of_frames and begins[0] == 0:
        return begins
    return _where_images_follow(window, fragments)[:number_of_frames]


def _where_images_begin(window: Window, offsets: Fragments) -> NDArray[np.intp]:
    marks = [i for i, at in enumerate(offsets.tolist()) if window.read(at, 2) in _STARTS]
    return np.array(marks, np.intp)


def _where_images_follow(
    window: Window, fragments: tuple[Fragments, Fragments]
) -> NDArray[np.intp]:
    """Return the first fragment and each that follows one with a mark of an image's end."""
    starts = [0]
    pairs = zip(fragments[0].tolist(), fragments[1].tolist(), strict=True)
    for i, (at, length) in enumerate(pairs, 1):
        tail = min(length, 10)
        if _END in window.read(at + length - tail, tail):
            starts.append(i)
    return np.array([i for i in starts if i < len(fragments[0])], np.intp)


def _table(offsets: Fragments, lengths: Fragments, starts: NDArray[np.intp]) -> Frames:
    """Make the table of frames; each goes from a fragment of `starts` up to the next one."""
    ends = np.append(starts[1:], len(offsets)) - 1
    sizes = offsets[ends] + lengths[ends] - offsets[starts]
    sizes[ends > starts] |= np.uint64(SEVERAL_FRAGMENTS)
    table = np.column_stack((offsets[starts], sizes)).astype("<u8").tobytes()
    return Frames(FrameKind.TABLE, len(starts), table=table)
