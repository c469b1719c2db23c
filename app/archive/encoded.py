"""An Instance handed out in another, encapsulated Transfer Syntax, encoded frame by frame."""

import asyncio
from collections.abc import AsyncIterator

from app.archive.answers import ahead, each
from app.archive.context import Archive
from app.archive.decoded import AHEAD, from_thread, icon_decoder
from app.archive.frames import find_frames, frame_encoder
from app.archive.originals import inflated_source
from app.archive.pixels import load_pixels
from app.dicom.decoded_instance import NativePixels
from app.dicom.encoded_instance import EncodedInstance
from app.dicom.transfer_syntaxes import OCTET_STREAM
from app.index.places import InstancePlace
from app.mime.media_types import Form
from app.rights import Principal


async def encoded_instance(
    archive: Archive, principal: Principal, place: InstancePlace, transfer_syntax_uid: str
) -> AsyncIterator[bytes]:
    """Yield the pieces of an Instance; the first comes after its first frame was encoded.

    Raises:
        NotAcceptable: its frames cannot be encoded so.
        InvalidDataset: they cannot be decoded, or the Data Set not be understood.
        Unavailable: the object store or a worker does not answer.
    """
    numbers = range(1, place.frame_count + 1)
    form = Form(OCTET_STREAM, multipart=True, transfer_syntaxes=(transfer_syntax_uid,))
    found = await find_frames(archive, principal, place.ref, numbers, (form,))
    stored = await load_pixels(archive, principal, place)
    stored.check_number(place.frame_count)
    encode = await frame_encoder(archive, principal, found)
    first = await encode(found.frames[0])
    pixels = NativePixels(
        stored.description,
        len(numbers),
        first.photometric_interpretation,
        planar_configuration=0,
    )
    source = await inflated_source(archive, place)
    icons = icon_decoder(archive)
    instance = await asyncio.to_thread(
        EncodedInstance, source, pixels, transfer_syntax_uid, icons, archive.limits
    )
    async for piece in from_thread(instance.header()):
        yield piece
    yield instance.frame(first.data, first.photometric_interpretation)
    async for frame in ahead(each(found.frames[1:]), encode, AHEAD):
        yield instance.frame(frame.data, frame.photometric_interpretation)
    async for piece in from_thread(instance.trailer()):
        yield piece
