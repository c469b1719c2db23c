"""Frames (PS3.18 §10.4.1.1.6): one look-up, then one ranged read for each frame.

Nothing is parsed. What is not a plain range of little-endian bytes is put right after the read:
one-bit frames off byte bounds, big-endian words, several fragments; a frame is decoded or encoded
in a worker process where the caller does not accept it as it is.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.archive.answers import Answer, Body, Known, nothing_known, once
from app.archive.context import Archive
from app.archive.originals import Original, open_original
from app.archive.pixels import Pixels, load_pixels
from app.archive.transcoding import EncodedFrame, encode_frame
from app.archive.workers import decode_frame
from app.dicom.delivery import Delivery, How, deliver_frames
from app.dicom.encodings import VERSION, targets
from app.dicom.native_frames import frame_of_bits, join_fragments, pixel_word, swap_words
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.scanned import FrameKind
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, find
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, InvalidDataset, NotAcceptable
from app.index.frames import FramePlace
from app.index.places import InstancePlace
from app.mime.media_types import Form
from app.rights import Principal, Verb

_ITEM_HEADER = 8
_LONG = 40


@dataclass(frozen=True, slots=True)
class FoundFrames:
    """Frames that were looked up, and how they are delivered."""

    instance: InstancePlace
    frames: Sequence[FramePlace]
    delivery: Delivery
    multipart: bool

    @property
    def version(self) -> str:
        """What changes whenever an answer with these frames may have changed."""
        numbers = ",".join(str(frame.number) for frame in self.frames)
        if len(numbers) > _LONG:
            numbers = hashlib.sha256(numbers.encode()).hexdigest()[:16]
        made = f"{self.delivery.transfer_syntax_uid}-{VERSION}-{self.delivery.media_type}"
        return f"{self.instance.sha256.hex()[:32]}-{numbers}-{made}"

    @property
    def content_type(self) -> str:
        """The Content-Type of a frame; viewers read the Transfer Syntax from it."""
        return f"{self.delivery.media_type}; transfer-syntax={self.delivery.transfer_syntax_uid}"

    @property
    def is_plain(self) -> bool:
        """Say whether each frame is sent exactly as it is stored, in one piece."""
        syntax = find(self.instance.transfer_syntax_uid)
        return (
            self.delivery.how is How.STORED
            and self.instance.frame_kind is not FrameKind.BITS
            and syntax is not None
            and not (syntax.big_endian or syntax.big_endian_pixels or syntax.deflated)
            and not any(frame.fragmented for frame in self.frames)
        )


async def find_frames(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    numbers: Sequence[int],
    forms: Sequence[Form],
) -> FoundFrames:
    """Look up frames (1-based) of an Instance, and choose the first of the forms that can be made.

    Raises:
        NotFound: there is no such Instance or frame, or `principal` may not see its Study.
        NotAcceptable: none of the forms can be made.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    places = await archive.leases.locate(principal.scope, ref, numbers)
    for form in forms:
        if not form.multipart and len(numbers) > 1 and form.media_type != "*/*":
            continue  # one body holds one frame (M-12)
        for delivery in deliver_frames(form, places.instance.transfer_syntax_uid):
            if delivery.how is How.ENCODED and not await is_encodable(
                archive, principal, places.instance, delivery.transfer_syntax_uid
            ):
                continue
            multipart = form.multipart or form.media_type == "*/*"
            return FoundFrames(places.instance, places.frames, delivery, multipart)
    raise await _not_acceptable(archive, principal, places.instance)


async def is_encodable(
    archive: Archive, principal: Principal, instance: InstancePlace, transfer_syntax_uid: str
) -> bool:
    """Say whether the frames of an Instance can be encoded in a Transfer Syntax.

    Raises:
        NotFound: there is no such Instance any more.
    """
    if instance.frame_count == 0 or instance.frame_kind is FrameKind.BITS:
        return False
    try:
        pixels = await load_pixels(archive, principal, instance)
    except InvalidDataset:
        return False
    return pixels.can_be_encoded(transfer_syntax_uid)


async def _not_acceptable(
    archive: Archive, principal: Principal, instance: InstancePlace
) -> NotAcceptable:
    """Return the error that lists what could be had of this very object (M-07)."""
    stored = find(instance.transfer_syntax_uid)
    octets = 'multipart/related; type="application/octet-stream"'
    offered = [f"{octets}; transfer-syntax=*"]
    if stored is not None and stored.encapsulated:
        offered.append(_multipart_of(stored.media_type, stored.uid))
        if stored.decodable:
            offered.append(f"{octets}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}")
    offered += [
        _multipart_of(target.media_type, target.uid)
        for target in targets()
        if target.uid != instance.transfer_syntax_uid
        and not (target.lossy and stored is not None and stored.lossy)
        and await is_encodable(archive, principal, instance, target.uid)
    ]
    return NotAcceptable("The frames are not offered in any form that was asked for", offered)


def _multipart_of(media_type: str, transfer_syntax_uid: str) -> str:
    return f'multipart/related; type="{media_type}"; transfer-syntax={transfer_syntax_uid}'


async def open_frames(
    archive: Archive, principal: Principal, found: FoundFrames, known: Known = nothing_known
) -> Answer:
    """Return the bodies of frames that were found, each read when its turn comes.

    A version that is `known` comes without bodies. The first is read, and decoded if need be,
    before this returns: what fails is a clean error.

    Raises:
        Unavailable: the object store or a worker does not answer.
        InvalidDataset: a frame cannot be decoded.
    """
    if known(found.version):
        return Answer(found.delivery.media_type, found.multipart, (), version=found.version)
    read = await _reader(archive, principal, found)
    first = await read(found.frames[0])
    headers = {"Content-Type": found.content_type}
    lengths = _lengths(found, first)

    async def chunks(place: FramePlace, data: bytes | None) -> AsyncIterator[bytes]:
        yield await read(place) if data is None else data

    async def cut(offset: int, length: int) -> AsyncIterator[bytes]:
        return once(first[offset : offset + length])

    bodies = [
        Body(headers, length, chunks(place, None if index else first), None if index else cut)
        for index, (place, length) in enumerate(zip(found.frames, lengths, strict=True))
    ]
    media_type = found.delivery.media_type
    return Answer(media_type, found.multipart, bodies, version=found.version)


def _lengths(found: FoundFrames, first: bytes) -> list[int | None]:
    """Return what is known of each frame's length: of decoded ones that all are alike."""
    if found.delivery.how is How.DECODED:
        return [len(first)] * len(found.frames)
    if found.delivery.how is How.ENCODED:
        return [len(first), *[None] * (len(found.frames) - 1)]
    if found.is_plain:
        return [place.length for place in found.frames]
    fragmented = any(place.fragmented for place in found.frames)
    return [None if fragmented else len(first)] * len(found.frames)


async def _reader(
    archive: Archive, principal: Principal, found: FoundFrames
) -> Callable[[FramePlace], Awaitable[bytes]]:
    """Return the function that reads one frame and puts it right."""
    if found.delivery.how is How.ENCODED:
        encode = await frame_encoder(archive, principal, found)

        async def encoded(place: FramePlace) -> bytes:
            return (await encode(place)).data

        return encoded
    original = await open_original(archive, found.instance)
    if found.delivery.how is How.DECODED:
        description = (await load_pixels(archive, principal, found.instance)).description

        async def decoded(place: FramePlace) -> bytes:
            return (await decode(archive, original, description, place)).data

        return decoded
    turned = _is_big_endian(found.instance)
    pixels = await load_pixels(archive, principal, found.instance) if turned else None
    return _stored_reader(original, found.instance, pixels)


def _is_big_endian(instance: InstancePlace) -> bool:
    syntax = find(instance.transfer_syntax_uid)
    return syntax is not None and (syntax.big_endian or syntax.big_endian_pixels)


def _stored_reader(
    original: Original, instance: InstancePlace, pixels: Pixels | None
) -> Callable[[FramePlace], Awaitable[bytes]]:
    """Return what reads a frame in its stored Transfer Syntax, native ones little endian."""
    if pixels is not None and _is_big_endian(instance):
        word = pixel_word(pixels.vr, pixels.description.bits_allocated)
        return lambda place: _native(original, place, word)
    if instance.frame_kind is FrameKind.TABLE:
        return lambda place: _codestream(original, place)
    return lambda place: _native(original, place, word=1)


async def frame_encoder(
    archive: Archive, principal: Principal, found: FoundFrames
) -> Callable[[FramePlace], Coroutine[Any, Any, EncodedFrame]]:
    """Return the function that reads a frame and encodes it as `found` says.

    Raises:
        NotFound: there is no such Instance any more.
        InvalidDataset: no frame can be as its description says.
        Unavailable: the object store does not answer.
    """
    instance, uid = found.instance, found.delivery.transfer_syntax_uid
    pixels = await load_pixels(archive, principal, instance)
    pixels.description.check(archive.limits.decoded_bytes)
    read = _stored_reader(await open_original(archive, instance), instance, pixels)

    async def encode(place: FramePlace) -> EncodedFrame:
        reading = partial(read, place)
        return await encode_frame(archive, instance, pixels.description, uid, place.number, reading)

    return encode


async def decode(
    archive: Archive, original: Original, description: PixelDescription, place: FramePlace
) -> DecodedFrame:
    """Read and decode one frame.

    Raises:
        InvalidDataset: it cannot be decoded.
        Unavailable: the object store or a worker does not answer.
    """
    async with archive.budgets.pixels.turn():
        codestream = await _codestream(original, place)
        limit = archive.limits.decoded_bytes
        return await decode_frame(archive.workers, codestream, description, limit)


async def _codestream(original: Original, place: FramePlace) -> bytes:
    if not place.fragmented:
        return await original.read(place.offset, place.length)
    items = await original.read(place.offset - _ITEM_HEADER, place.length + _ITEM_HEADER)
    return join_fragments(items)


async def _native(original: Original, place: FramePlace, word: int) -> bytes:
    """Read whole words around a frame, turn them to little endian, and cut the frame out."""
    before = (place.number - 1) * (place.bits or 8 * place.length) // 8 % word
    wanted = before + place.length
    data = await original.read(place.offset - before, wanted + -wanted % word)
    if word > 1:
        data = swap_words(data, word)
    data = data[before : before + place.length]
    return frame_of_bits(data, place.skip, place.bits) if place.bits else data
