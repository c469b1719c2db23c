"""Metadata (PS3.18 §10.4): the stored fragments, joined; no object is opened.

A Study's or Series' whole answer is kept as a gzip file in the cache, made at the first read and
named after the version of what it was made from: reading it again costs one look-up and one file.
An Instance's own is joined each time.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isal import isal_zlib

from app.archive.answers import once
from app.archive.cache import open_file
from app.archive.context import Archive
from app.dicom.scanned import BULK_DATA_PLACEHOLDER
from app.dicom.uids import InstanceRef, Ref
from app.errors import Forbidden
from app.index.packing import metadata_unpacker
from app.index.places import MetadataPage, load_metadata, locate_version
from app.rights import Principal, Verb

_GZIP = 31
_LEVEL = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metadata:
    """A JSON array in gzip; `length` is the number of bytes, None where it is not known yet."""

    length: int | None
    gzipped: AsyncIterator[bytes]


async def metadata_etag(archive: Archive, principal: Principal, ref: Ref, base_url: str) -> str:
    """Return the ETag of what `retrieve_metadata` would answer now; one cheap query.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    version = await locate_version(archive.index, principal.scope, ref)
    return f'"{version}-{hashlib.sha256(base_url.encode()).hexdigest()[:8]}"'


async def retrieve_metadata(
    archive: Archive, principal: Principal, ref: Ref, base_url: str, etag: str
) -> Metadata:
    """Return the Metadata of a Study, Series or Instance as one JSON array.

    BulkDataURIs begin with `base_url`; `etag` is the one that `metadata_etag` returned.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
    """
    if isinstance(ref, InstanceRef):
        pages = await load_metadata(archive.index, principal.scope, ref)
        document = b"".join([piece async for piece in _gzipped(pages, base_url)])
        return Metadata(len(document), once(document))
    level = type(ref).__name__.removesuffix("Ref").lower()
    name = f"{level}-{etag.strip(chr(34))}.json.gz"
    path = archive.cache.find(name)
    if path is None:
        async with archive.cache.making(name):
            path = archive.cache.find(name) or await _keep(archive, principal, ref, base_url, name)
    if path is not None:
        with suppress(FileNotFoundError):
            return Metadata(*await open_file(path))
    pages = await load_metadata(archive.index, principal.scope, ref)
    return Metadata(None, _gzipped(pages, base_url))


async def _keep(
    archive: Archive, principal: Principal, ref: Ref, base_url: str, name: str
) -> Path | None:
    """Make the cached file; None if the cache cannot be written, which must not stop a reader."""
    pages = await load_metadata(archive.index, principal.scope, ref)
    temporary = archive.cache.temporary()
    try:
        with temporary.open("wb") as file:
            async for piece in _gzipped(pages, base_url):
                await asyncio.to_thread(file.write, piece)
        return await asyncio.to_thread(archive.cache.add, name, temporary)
    except OSError:
        _log.warning("the cache of metadata cannot be written", exc_info=True)
        return None
    finally:
        temporary.unlink(missing_ok=True)


async def _gzipped(pages: AsyncIterator[MetadataPage], base_url: str) -> AsyncIterator[bytes]:
    """Join pages to one JSON array and compress it, a page at a time, in threads."""
    engine = isal_zlib.compressobj(_LEVEL, wbits=_GZIP)
    before = b"["
    async for page in pages:
        if not page.instances:  # removed meanwhile
            continue
        yield await asyncio.to_thread(_compressed, engine, before, page, base_url)
        before = b","
    yield engine.compress(b"]" if before == b"," else b"[]") + engine.flush()


def _compressed(engine: Any, before: bytes, page: MetadataPage, base_url: str) -> bytes:
    return bytes(engine.compress(before + b",".join(documents(page, base_url))))


def documents(page: MetadataPage, base_url: str) -> Iterator[bytes]:
    """Yield the Metadata of each Instance of a page, its BulkDataURIs beginning with `base_url`."""
    unpack = metadata_unpacker(page.dictionary)
    series = f"{base_url}/studies/{page.ref.study}/series/{page.ref.series}/instances"
    placeholder_start = BULK_DATA_PLACEHOLDER.removesuffix(b"bulkdata/")
    for instance, packed in page.instances:
        absolute = f"{series}/{instance}/bulkdata/".encode()
        yield unpack(packed).replace(BULK_DATA_PLACEHOLDER, placeholder_start + absolute)
