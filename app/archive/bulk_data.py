"""Bulk Data (PS3.18 §10.4.1.1.5): the place is in the index, the bytes are one ranged read.

Values come in little endian, whatever they are stored in. Encapsulated Pixel Data is no run of
bytes that means anything: it comes as its frames.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from app.archive.answers import Answer, Body, Known, after, as_iterator, begun, nothing_known
from app.archive.context import Archive
from app.archive.frames import find_frames, open_frames
from app.archive.originals import BLOCK, Original, open_original
from app.archive.pixels import load_pixels
from app.archive.rendered_documents import SANDBOX
from app.dicom.delivery import deliver_frames
from app.dicom.encodings import VERSION
from app.dicom.native_frames import WORDS, pixel_word, swap_words
from app.dicom.scanned import BulkPlace
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, OCTET_STREAM, find
from app.dicom.uids import InstanceRef, Ref
from app.errors import Forbidden, InvalidDataset, NotAcceptable, NotFound
from app.index.frames import list_bulk_values, locate_bulk_value
from app.index.packing import unpack_metadata
from app.index.places import InstancePlace, load_metadata, locate_instances
from app.index.stock import take_stock
from app.mime.media_types import Form
from app.rights import Principal, Verb
from app.turns import asker

_PIXEL_DATA = "7FE00010"
_PIXELS = frozenset({_PIXEL_DATA, "7FE00008", "7FE00009"})
_DOCUMENT = "00420011"
_INERT = frozenset({OCTET_STREAM, "application/pdf"})
_DOCUMENT_TYPES = frozenset(
    {"application/pdf", "text/xml", "model/stl", "model/obj", "model/mtl", "application/zip"}
)
"""MIME Types of Encapsulated Document that are passed on; pages are not."""
_ANY = InstanceRef("0", "0", "0")


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
        InvalidDataset: it is of frames that cannot be told apart, or decoded.
        Unavailable: the object store does not answer.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    instance, place = await locate_bulk_value(archive.index, principal.scope, ref, path)
    if path == _PIXEL_DATA and _is_encapsulated(instance.transfer_syntax_uid):
        if not instance.frame_count:
            raise InvalidDataset("the frames of Pixel Data cannot be told apart")
        numbers = range(1, instance.frame_count + 1)
        found = await find_frames(archive, principal, ref, numbers, forms)
        return await open_frames(archive, principal, found, known)
    document = await _document_type(archive, principal, ref) if path == _DOCUMENT else ""
    form, media_type = first_fitting(forms, document)
    version = f"{instance.sha256.hex()[:32]}-{path.replace('/', '-')}-{media_type}"
    if known(version):
        return Answer(media_type, form.multipart, (), version=version)
    body = await open_value(archive, principal, instance, (path, place), url, media_type)
    return Answer(media_type, form.multipart, [body], version=version)


@dataclass(frozen=True, slots=True)
class AllBulkData:
    """The bulk values of Instances, or those of Pixel Data alone, in one of some forms.

    `url` makes the address of an Instance, so that each part says what it is (Content-Location).
    """

    ref: Ref
    forms: Sequence[Form]
    url: Callable[[InstanceRef], str]
    pixels_only: bool = False


async def retrieve_all_bulk_data(
    archive: Archive, principal: Principal, wanted: AllBulkData, known: Known = nothing_known
) -> Answer:
    """Return all bulk values, each as a part; encapsulated Pixel Data comes as its frames.

    Frames that cannot be decoded here come as they are stored, under their own media type, where
    the caller takes any; else they are left out, and the answer is then not complete.

    Raises:
        NotFound: there is no such resource, or no Bulk Data in it, or `principal` may not see it.
        NotAcceptable: the forms take no multipart of octets, or nothing can be made in them.
        Busy: too many are being sent already.
        Unavailable: the first value cannot be read.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    if not isinstance(wanted.ref, InstanceRef):
        await asker().hold(archive.budgets.downloads)
    taken = [form for form in wanted.forms if form.multipart or form.media_type == "*/*"]
    syntaxes, ref = first_fitting(taken, "", alone=False)[0].transfer_syntaxes, wanted.ref
    forms = [Form(OCTET_STREAM, multipart=True, transfer_syntaxes=syntaxes)]
    forms += [form for form in taken if form.media_type == "*/*"]
    made = "\n".join((wanted.url(_ANY), str(VERSION), str(wanted.pixels_only), *map(repr, forms)))
    digest = hashlib.sha256(made.encode()).hexdigest()[:12]
    stock = await take_stock(archive.index, principal.scope, ref)
    version = f"{stock.version}-{digest}"
    if known(version):
        return Answer(OCTET_STREAM, multipart=True, bodies=(), version=version)
    complete = all(_is_offered(forms, uid) for uid in stock.transfer_syntax_uids)
    places = await locate_instances(archive.index, principal.scope, ref)
    bodies = _all_values(archive, principal, places, wanted, forms)
    try:
        first = await anext(bodies)
    except StopAsyncIteration:
        if not complete:
            offered = [f'multipart/related; type="{OCTET_STREAM}"; transfer-syntax=*']
            raise NotAcceptable("The pixels are offered as they are stored only", offered) from None
        raise NotFound("Bulk Data of", getattr(ref, "instance", ref.study)) from None
    root = first.headers["Content-Type"].partition(";")[0]
    return Answer(
        root, multipart=True, bodies=after(first, bodies), complete=complete, version=version
    )


def _is_offered(forms: Sequence[Form], transfer_syntax_uid: str) -> bool:
    """Say whether Pixel Data can be delivered; `first_fitting` saw to it that it may be decoded."""
    if not _is_encapsulated(transfer_syntax_uid):
        return True
    return any(deliver_frames(form, transfer_syntax_uid) for form in forms)


async def _all_values(
    archive: Archive,
    principal: Principal,
    places: AsyncIterator[InstancePlace],
    wanted: AllBulkData,
    forms: Sequence[Form],
) -> AsyncIterator[Body]:
    async for place in places:
        base = wanted.url(place.ref)
        values = await list_bulk_values(archive.index, principal.scope, place.ref)
        for path, value in values.items():
            if wanted.pixels_only and path not in _PIXELS:
                continue
            if path == _PIXEL_DATA and _is_encapsulated(place.transfer_syntax_uid):
                async for body in _frames(archive, principal, place, forms, base):
                    yield body
            else:
                named = f"{base}/bulkdata/{path}"
                of = (path, value)
                yield await open_value(archive, principal, place, of, named, OCTET_STREAM)


async def _frames(
    archive: Archive,
    principal: Principal,
    place: InstancePlace,
    forms: Sequence[Form],
    base: str,
) -> AsyncIterator[Body]:
    numbers = range(1, place.frame_count + 1)
    if not numbers or not _is_offered(forms, place.transfer_syntax_uid):
        return
    found = await find_frames(archive, principal, place.ref, numbers, forms)
    number = 0
    async for body in as_iterator((await open_frames(archive, principal, found)).bodies):
        number += 1
        where = {"Content-Location": f"{base}/frames/{number}"}
        yield replace(body, headers={**body.headers, **where})


async def open_value(
    archive: Archive,
    principal: Principal,
    instance: InstancePlace,
    value: tuple[str, BulkPlace],
    url: str,
    media_type: str,
) -> Body:
    """Return the body of a value, given by its path and place, its first block read.

    Raises:
        Unavailable: the bytes cannot be read.
    """
    path, place = value
    syntax, word = find(instance.transfer_syntax_uid), 1
    if syntax is not None and (syntax.big_endian or syntax.big_endian_pixels):
        word = await _word(archive, principal, instance, path, place)
    original = await open_original(archive, instance)

    async def section(offset: int, length: int) -> AsyncIterator[bytes]:
        return await begun(_blocks(original, place, word, offset, length))

    chunks = await section(0, place.length)
    octets = f"{OCTET_STREAM}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}"
    content_type = octets if media_type == OCTET_STREAM else media_type
    headers = {"Content-Type": content_type, "Content-Location": url}
    if media_type not in _INERT:
        headers |= SANDBOX
    return Body(headers, place.length, chunks, section)


def _is_encapsulated(transfer_syntax_uid: str) -> bool:
    syntax = find(transfer_syntax_uid)
    return syntax is not None and syntax.encapsulated


def first_fitting(forms: Sequence[Form], document: str, *, alone: bool = True) -> tuple[Form, str]:
    """Return the first form that can be made, and its media type; `document` is that of one.

    Raises:
        NotAcceptable: none can be made; what could is listed, single parts if `alone`.
    """
    for form in forms:
        syntaxes = form.transfer_syntaxes
        named = not syntaxes or "*" in syntaxes or EXPLICIT_LITTLE_ENDIAN in syntaxes
        if document and form.covers(document):
            return form, document
        if form.covers(OCTET_STREAM) and named:
            return form, OCTET_STREAM
    offered = [f'multipart/related; type="{OCTET_STREAM}"']
    offered += [OCTET_STREAM] if alone else []
    offered += [document] if document else []
    raise NotAcceptable("Bulk Data comes as octets", offered)


async def _document_type(archive: Archive, principal: Principal, ref: InstanceRef) -> str:
    """Return the media type of an encapsulated document if it is one that does no harm."""
    pages = await load_metadata(archive.index, principal.scope, ref)
    page = await anext(pages)
    metadata = orjson.loads(unpack_metadata(page.dictionary, page.instances[0][1]))
    said = str(next(iter(metadata.get("00420012", {}).get("Value", ())), "")).strip().lower()
    return said if said in _DOCUMENT_TYPES else ""


async def _word(
    archive: Archive, principal: Principal, instance: InstancePlace, path: str, place: BulkPlace
) -> int:
    syntax = find(instance.transfer_syntax_uid)
    if path == _PIXEL_DATA:
        pixels = await load_pixels(archive, principal, instance)
        return pixel_word(place.vr, pixels.description.bits_allocated)
    return WORDS.get(place.vr, 1) if syntax is not None and syntax.big_endian else 1


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
