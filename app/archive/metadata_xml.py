"""Metadata as XML (PS3.18 §10.4): one document for each Instance, made of the stored JSON.

Nothing of it is kept: few ask for it, and it is larger than JSON. Documents are made in threads, a
few at a time, while those before them are sent.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice

import orjson

from app.archive.context import Archive
from app.archive.metadata import documents
from app.dicom.uids import Ref
from app.dicom.xml_model import write_xml
from app.errors import Forbidden
from app.index.places import MetadataPage, load_metadata
from app.rights import Principal, Verb

_AT_ONCE = 16
"""Documents made in one go; those of enhanced objects are large."""


async def retrieve_metadata_xml(
    archive: Archive, principal: Principal, ref: Ref, base_url: str
) -> AsyncIterator[bytes]:
    """Look up the Metadata of a Study, Series or Instance, and return it as XML documents.

    BulkDataURIs begin with `base_url`.

    Raises:
        NotFound: there is no such resource, or `principal` may not see its Study.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    return _written(await load_metadata(archive.index, principal.scope, ref), base_url)


async def _written(pages: AsyncIterator[MetadataPage], base_url: str) -> AsyncIterator[bytes]:
    async for page in pages:
        unpacked = documents(page, base_url)
        while some := await asyncio.to_thread(_write_some, unpacked):
            for document in some:
                yield document


def _write_some(unpacked: Iterator[bytes]) -> list[bytes]:
    return [write_xml(orjson.loads(document)) for document in islice(unpacked, _AT_ONCE)]
