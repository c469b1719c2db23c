"""Frames in another Transfer Syntax: encoded in a worker process once, then kept in the cache.

A kept frame is named by the digest of its object, its number, the syntax and the version of the
encoders, so nothing has to be looked up or withdrawn: what nobody asks for ages out.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.archive.context import Archive
from app.archive.workers import transcode_frame
from app.dicom.encodings import VERSION
from app.dicom.pixel_description import PixelDescription
from app.index.places import InstancePlace

_COLOUR = 16
"""Bytes before a kept frame: its Photometric Interpretation, a CS, filled up with spaces."""


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """A frame's code stream, and its Photometric Interpretation as encoded."""

    data: bytes
    photometric_interpretation: str


async def encode_frame(
    archive: Archive,
    instance: InstancePlace,
    description: PixelDescription,
    transfer_syntax_uid: str,
    number: int,
    read: Callable[[], Awaitable[bytes]],
) -> EncodedFrame:
    """Return a frame in another Transfer Syntax, from the cache or from a worker.

    `read` reads the frame as it is stored, native ones little endian.

    Raises:
        InvalidDataset: it cannot be decoded or encoded.
        Unavailable: the object store or a worker does not answer.
    """

    async def make() -> bytes:
        async with archive.budgets.pixels.turn():
            data, colour = await transcode_frame(
                archive.workers,
                await read(),
                description,
                transfer_syntax_uid,
                archive.limits.decoded_bytes,
            )
        return colour.encode("latin-1").ljust(_COLOUR) + data

    name = f"encoded-{VERSION}-{transfer_syntax_uid}-{instance.sha256.hex()}-{number}"
    kept = await archive.cache.get_or_make(name, make)
    return EncodedFrame(kept[_COLOUR:], kept[:_COLOUR].decode("latin-1").strip())
