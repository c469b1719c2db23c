"""Texts within compressed frames: comments, EXIF and the like, which decoders do not look at.

They are overwritten where they stand, so that no length changes.
"""

from collections.abc import Iterator
from struct import error, unpack_from

from app.dicom.codestreams import jpeg_segments
from app.errors import InvalidDataset

HEAD = 2**18
"""As much of a fragment as is looked at; the header of a frame is within it."""
_COMMENT = 0xFE
_APPLICATIONS = range(0xE0, 0xF0)
_NEEDED = (b"JFIF\0", b"Adobe", b"mrfx", b"SPIFF")
"""How content of application segments begins that decoders do look at."""
_JPEG, _JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
_TILE_PART, _JPEG_2000_COMMENT = 0xFF90, 0xFF64


def without_texts(head: bytes) -> bytes:
    """Return the first bytes of a fragment (all of it, or `HEAD`), their texts overwritten.

    What begins neither as JPEG, JPEG-LS, JPEG 2000 nor HTJ2K stays as it is.

    Raises:
        InvalidDataset: a text goes on behind them.

    Source: ISO/IEC 10918-1 §B.2.4; ISO/IEC 14495-1 §C.2; ISO/IEC 15444-1 §A.9.2; PS3.15 §E.1.1
    """
    texts: Iterator[tuple[int, int]] = iter(())
    if head.startswith(_JPEG):
        texts = _jpeg_texts(head)
    elif head.startswith(_JPEG_2000):
        texts = _jpeg_2000_texts(head)
    clean = bytearray(head)
    for start, end in texts:
        if end > len(head):
            raise InvalidDataset("a comment within a frame is too long to be cleaned")
        clean[start:end] = bytes(max(end - start, 0))
    return bytes(clean)


def _jpeg_texts(head: bytes) -> Iterator[tuple[int, int]]:
    try:
        for marker, start in jpeg_segments(head):
            needed = marker in _APPLICATIONS and head[start : start + 5].startswith(_NEEDED)
            if marker == _COMMENT or (marker in _APPLICATIONS and not needed):
                yield start, start - 2 + int(unpack_from(">H", head, start - 2)[0])
    except error:
        return  # it is cut short


def _jpeg_2000_texts(head: bytes) -> Iterator[tuple[int, int]]:
    position = 2
    while position + 4 <= len(head):
        marker, length = unpack_from(">HH", head, position)
        if marker == _TILE_PART or length < 2:
            return
        if marker == _JPEG_2000_COMMENT:
            yield position + 6, position + 2 + length
        position += 2 + length
