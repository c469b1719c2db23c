"""Pictures of 8 bits a channel: what is asked for, and animations; `encoders` makes them."""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from app.dicom.viewport import Viewport
from app.dicom.voi import Window

JPEG, PNG, GIF, JPEG_2000 = "image/jpeg", "image/png", "image/gif", "image/jp2"
FORMATS = (JPEG, PNG, GIF, JPEG_2000)
PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb")
DEFAULT_QUALITY = 90
RENDERING_VERSION = 2
"""Goes into the names of cached pictures; a change of what comes out raises it."""
_GIF_HEAD = 13
_GIF_COLOURS = 768


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request says about a picture.

    `media_type` is one of `FORMATS`, `quality` 1 to 100 for those that lose, `profile` one of
    `PROFILES`, `annotation` the lines of text for the picture's upper and lower corner.
    """

    media_type: str = JPEG
    quality: int = DEFAULT_QUALITY
    profile: str = "no"
    viewport: Viewport | None = None
    window: Window | None = None
    annotation: tuple[tuple[str, ...], ...] = ()


async def animated(pictures: AsyncIterator[bytes], delay: float) -> AsyncIterator[bytes]:
    """Yield the pieces of one GIF that shows the GIFs given, `delay` seconds each, for ever.

    Each keeps its own colours. All are of the size of the first.

    Source: PS3.18 §8.7.4 (image/gif of several frames)
    """
    hundredths = round(min(max(delay * 100, 2), 0xFFFF))
    first = True
    async for picture in pictures:
        if first:
            head = picture[6:10] + b"\0\0\0"
            yield b"GIF89a" + head + b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
            first = False
        colours = picture[_GIF_HEAD : _GIF_HEAD + _GIF_COLOURS]
        descriptor = picture.index(b"\x2c", _GIF_HEAD + _GIF_COLOURS)
        place, data = picture[descriptor : descriptor + 9], picture[descriptor + 10 : -1]
        yield b"\x21\xf9\x04\x00" + struct.pack("<H", hundredths) + b"\0\0"
        yield place + b"\x87" + colours + data
    yield b"\x3b"
