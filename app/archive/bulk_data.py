"""Bulk Data (PS3.18 §10.4.1.1.5): the place is in the index, the bytes are one ranged read.

Values come in little endian, whatever they are stored in. Encapsulated Pixel Data is no run of
bytes that means anything: it comes as its frames.
"""

from collections.abc import AsyncIterator, Sequence

from app.archive.answers import Answer, Body, Known, begun, nothing_known
from app.archive.context import Archive
from app.archive.frames import find_frames, open_frames
from app.archive.originals import BLOCK, Original, open_original
from app.archive.pixels import load_pixels
from app.dicom.native_frames import pixel_word, swap_words
from app.dicom.scanned import BulkPlace
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM, find
from app.dicom.uids import InstanceRef
from app.errors import Forbidden, NotAcceptable
from app.index.frames import locate_bulk_value
from app.index.places import InstancePlace
from app.mime.media_types import Form, covers
from app.rights import Principal, Verb

_PIXEL_DATA = "7FE00010"
_WORDS = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


async def retrieve_bulk_data(  # noqa: PLR0913, PLR0917 - what a caller has and wants
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    path: str,
    forms: Sequence[Form],
    url: str,
    known: Known = nothing_known,
) -> Answer:
    """Return a bulk value; `path` is what follows `bulkdata/` in its URI, `url` the whole URI.

    The first block is read before this returns, so a missing object is a clean error.

    Raises:
        NotFound: there is no such value, or `principal` may not see its Study.
        NotAcceptable: none of the forms can be made.
        Unavailable: the object store does not answer.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    instance, place = await locate_bulk_value(archive.index, principal.scope, ref, path)
    syntax = find(instance.transfer_syntax_uid)
    if path == _PIXEL_DATA and syntax is not None and syntax.encapsulated:
        numbers = range(1, instance.frame_count + 1)
        found = await find_frames(archive, principal, ref, numbers, forms)
        return await open_frames(archive, principal, found, known)
    form = _first_fitting(forms)
    version = f"{instance.sha256.hex()[:32]}-{path.replace('/', '-')}"
    if known(version):
        return Answer(OCTET_STREAM, form.multipart, (), version=version)
    word = 1
    if syntax is not None and (syntax.big_endian or syntax.big_endian_pixels):
        word = await _word(archive, principal, instance, path, place)
    original = await open_original(archive, instance)

    async def section(offset: int, length: int) -> AsyncIterator[bytes]:
        return await begun(_blocks(original, place, word, offset, length))

    chunks = await section(0, place.length)
    headers = {
        "Content-Type": f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}",
        "Content-Location": url,
    }
    body = Body(headers, place.length, chunks, section)
    return Answer(OCTET_STREAM, form.multipart, [body], version=version)


def _first_fitting(forms: Sequence[Form]) -> Form:
    for form in forms:
        syntaxes = form.transfer_syntaxes
        named = not syntaxes or "*" in syntaxes or EXPLICIT_LITTLE_ENDIAN in syntaxes
        if covers(form.media_type, OCTET_STREAM) and named:
            return form
    offered = [f'multipart/related; type="{OCTET_STREAM}"', OCTET_STREAM]
    raise NotAcceptable("Bulk Data comes as octets", offered)


async def _word(
    archive: Archive, principal: Principal, instance: InstancePlace, path: str, place: BulkPlace
) -> int:
    syntax = find(instance.transfer_syntax_uid)
    if path == _PIXEL_DATA:
        pixels = await load_pixels(archive, principal, instance)
        return pixel_word(place.vr, pixels.description.bits_allocated)
    return _WORDS.get(place.vr, 1) if syntax is not None and syntax.big_endian else 1


async def _blocks(
    original: Original, place: BulkPlace, word: int, offset: int, length: int
) -> AsyncIterator[bytes]:
    """Yield `length` bytes from `offset` of a value; whole words are read and swapped."""
    whole = place.length - place.length % word
    skip, end = offset % word, offset + length
    for start in range(offset - skip, max(end, 1), BLOCK):
        block = await original.read(place.offset + start, min(BLOCK, place.length - start))
        if word > 1:
            cut = max(min(len(block), whole - start), 0)
            block = swap_words(block[:cut], word) + block[cut:]
        yield block[skip : end - start]
        skip = 0
