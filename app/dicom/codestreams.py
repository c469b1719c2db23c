"""Read what the header of a compressed frame promises, before any decoder allocates for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import error, unpack_from

from app.errors import InvalidDataset

START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})
_START_OF_SCAN = 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_END = b"\xff\xd9"
_RGB_IDS = ((82, 71, 66), (114, 103, 98))


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size and kind of the samples of one frame.

    `transform` is what the header says of three components: they are RGB, YBR, or it says nothing.
    `complete` tells that the mark of its end is there: decoders fill up what was cut off.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    transform: str | None = None
    complete: bool = True


def read_jpeg_header(data: bytes) -> Codestream:
    """Read the header of a JPEG or JPEG-LS frame.

    Raises:
        InvalidDataset: it is none.

    Source: ISO/IEC 10918-1 §B.2; ISO/IEC 14495-1 §C.2; PS3.5 §8.2.1
    """
    transform = None
    try:
        for marker, offset in jpeg_segments(data):
            if marker in START_OF_FRAME:
                return _start_of_frame(data, offset, transform)
            transform = _colour_of(marker, data[offset : offset + 12]) or transform
    except error:
        pass
    raise InvalidDataset("a frame is not the JPEG codestream that its Transfer Syntax names")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG frame up to the first scan, with the offset of its content.

    Source: ISO/IEC 10918-1 §B.1.1
    """
    offset = 2 if data[:2] == b"\xff\xd8" else len(data)
    while offset + 2 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == _START_OF_SCAN:
            return
        if marker in _WITHOUT_LENGTH:
            offset += 1 if marker == 0xFF else 2  # fill bytes may stand before a marker
            continue
        yield marker, offset + 4
        (length,) = unpack_from(">H", data, offset + 2)
        offset += 2 + max(length, 2)


def _start_of_frame(data: bytes, offset: int, transform: str | None) -> Codestream:
    precision, rows, columns, samples = unpack_from(">BHHB", data, offset)
    ids = tuple(data[offset + 6 : offset + 6 + 3 * samples : 3])
    if ids in _RGB_IDS:
        transform = "RGB"
    complete = data.rfind(_END, offset) >= 0
    return Codestream(rows, columns, samples, precision, False, transform, complete)


def _colour_of(marker: int, content: bytes) -> str | None:
    if marker == _JFIF and content.startswith(b"JFIF"):
        return "YBR"
    if marker == _ADOBE and content.startswith(b"Adobe") and content[11:] == b"\0":
        return "RGB"  # that it says YBR is not believed: it stands before what is RGB, too
    return None


def read_jpeg_2000_header(data: bytes) -> Codestream:
    """Read the header of a JPEG 2000 or HTJ2K frame, bare or in a JP2 file.

    Raises:
        InvalidDataset: it is none, or its components differ in size or kind.

    Source: ISO/IEC 15444-1 §A.5.1, Annex I; PS3.5 §8.2.4
    """
    start = _jpeg_2000_start(data)
    try:
        marks, right, bottom, left, top = unpack_from(">L4xLLLL", data, start)
        (samples,) = unpack_from(">H", data, start + 40)
        kinds = {unpack_from(">BBB", data, start + 42 + 3 * index) for index in range(samples)}
    except error:
        marks, kinds = 0, set()
    if marks != 0xFF4FFF51 or len(kinds) != 1:
        raise InvalidDataset("a frame is not a JPEG 2000 codestream of like components")
    ((depth, step_x, step_y),) = kinds
    if (step_x, step_y) != (1, 1):
        raise InvalidDataset("a JPEG 2000 frame has subsampled components")
    return Codestream(
        bottom - top,
        right - left,
        samples,
        (depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        complete=data.rfind(_END, start) >= 0,
    )


def _jpeg_2000_start(data: bytes) -> int:
    """Return where the codestream begins: behind the boxes of a JP2 file, if it is one."""
    offset = 0
    if not data.startswith(b"\0\0\0\x0cjP  "):
        return 0
    while offset + 16 <= len(data):
        length, kind = unpack_from(">L4s", data, offset)
        head = 8
        if length == 1:
            (length,) = unpack_from(">Q", data, offset + 8)
            head = 16
        if kind == b"jp2c":
            return offset + head
        offset += max(length, head)
    return len(data)
