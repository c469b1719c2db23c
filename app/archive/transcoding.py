"""Frames in another Transfer Syntax: encoded in a worker process once, then kept in the cache.

A kept frame is named by the digest of its object, its number, the syntax and the version of the
encoders, so nothing has to be looked up or withdrawn: what nobody asks for ages out.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

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
    name = f"encoded-{VERSION}-{transfer_syntax_uid}-{instance.sha256.hex()}-{number}"
    kept = await _kept(archive, name)
    if kept is not None:
        return kept
    async with archive.cache.making(name):
        kept = await _kept(archive, name)
        if kept is not None:
            return kept
        data, colour = await transcode_frame(
            archive.workers,
            await read(),
            description,
            transfer_syntax_uid,
            archive.limits.decoded_bytes,
        )
        frame = EncodedFrame(data, colour)
        await asyncio.to_thread(_keep, archive, name, frame)
        return frame


async def _kept(archive: Archive, name: str) -> EncodedFrame | None:
    path = archive.cache.find(name)
    if path is None:
        return None
    try:
        kept = await asyncio.to_thread(path.read_bytes)
    except OSError:
        return None  # thrown away meanwhile
    return EncodedFrame(kept[_COLOUR:], kept[:_COLOUR].decode("latin-1").strip())


def _keep(archive: Archive, name: str, frame: EncodedFrame) -> None:
    """Put a frame into the cache; a disk that is full costs no more than the next encoding."""
    temporary: Path = archive.cache.temporary()
    colour = frame.photometric_interpretation.encode("latin-1").ljust(_COLOUR)
    with contextlib.suppress(OSError):
        try:
            with temporary.open("wb") as file:
                file.write(colour)
                file.write(frame.data)
            archive.cache.add(name, temporary)
        finally:
            temporary.unlink(missing_ok=True)
