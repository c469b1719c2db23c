"""A compressed Instance handed out in Explicit VR Little Endian, decoded frame by frame."""

import asyncio
from collections.abc import AsyncIterator, Iterator

from app.archive.answers import ahead, each
from app.archive.context import Archive
from app.archive.frames import decode, find_frames
from app.archive.originals import open_original, read_stored, source_of
from app.archive.pixels import load_pixels
from app.archive.workers import decode_frame
from app.dicom.decoded_instance import DecodedInstance, DecodeIcon, NativePixels
from app.dicom.file_meta import HEAD_BYTES
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.recode import explicit_file_meta
from app.dicom.transfer_syntaxes import OCTET_STREAM
from app.errors import InvalidDataset, NotFound
from app.index.frames import locate_bulk_value
from app.index.places import InstancePlace
from app.mime.media_types import Form
from app.rights import Principal

AHEAD = 2
"""Frames that are decoded while the one before them is sent."""
_NATIVE = (Form(OCTET_STREAM, multipart=True),)


async def decoded_instance(
    archive: Archive, principal: Principal, place: InstancePlace
) -> AsyncIterator[bytes]:
    """Yield the pieces of an Instance; the first comes after its first frame was decoded.

    Raises:
        InvalidDataset: the Instance cannot be decoded.
        Unavailable: the object store or a worker does not answer.
    """
    if place.frame_count == 0:
        async for piece in _without_pixels(archive, principal, place):
            yield piece
        return
    numbers = range(1, place.frame_count + 1)
    found = await find_frames(archive, principal, place.ref, numbers, _NATIVE)
    original = await open_original(archive, place)
    stored = await load_pixels(archive, principal, place)
    stored.check_number(place.frame_count)
    description = stored.description
    frame = await decode(archive, original, description, found.frames[0])
    pixels = NativePixels(
        description, len(numbers), frame.photometric_interpretation, frame.planar_configuration
    )
    source = source_of(archive, place)
    icons = icon_decoder(archive)
    instance = await asyncio.to_thread(DecodedInstance, source, pixels, icons, archive.limits)
    async for piece in from_thread(instance.header()):
        yield piece
    yield instance.frame(frame)
    rest = each(found.frames[1:])
    async for frame in ahead(rest, lambda one: decode(archive, original, description, one), AHEAD):
        yield instance.frame(frame)
    async for piece in from_thread(instance.trailer()):
        yield piece


def icon_decoder(archive: Archive) -> DecodeIcon:
    """Return what decodes icons for threads: in a worker, by way of the event loop."""
    loop = asyncio.get_running_loop()

    def decode_icon(codestream: bytes, description: PixelDescription) -> DecodedFrame | None:
        limit = archive.limits.header_bytes
        decoding = decode_frame(archive.workers, codestream, description, limit)
        try:
            return asyncio.run_coroutine_threadsafe(decoding, loop).result()
        except InvalidDataset:
            return None

    return decode_icon


async def _without_pixels(
    archive: Archive, principal: Principal, place: InstancePlace
) -> AsyncIterator[bytes]:
    """Say in the File Meta Information what the Data Set is without frames: it is explicit VR."""
    try:
        await locate_bulk_value(archive.index, principal.scope, place.ref, "7FE00010")
    except NotFound:
        head = await read_stored(archive, place, 0, min(HEAD_BYTES, place.size))
        yield explicit_file_meta(head)
        offset = place.base_offset + place.dataset_offset
        rest = place.size - place.dataset_offset
        async for chunk in await archive.objects.stream(place.object_key, offset, rest):
            yield chunk
        return
    raise InvalidDataset("the frames of Pixel Data cannot be told apart")


async def from_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Iterate over pieces whose making blocks."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
