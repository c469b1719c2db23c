"""Bodies that are Data Sets: DICOM JSON or XML, bounded, in gzip if they say so."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from app.dicom.json_documents import read_json
from app.dicom.limits import Limits
from app.dicom.xml_reader import read_xml
from app.errors import InvalidRequest, UnsupportedMediaType
from app.mime.media_types import parse_media_type
from app.web.accept import DICOM_JSON, DICOM_XML
from app.web.bodies import Body
from app.web.content_coding import decoded

_JSON_TYPES = frozenset({DICOM_JSON, "application/json"})
DATASET_CONTRACT: dict[str, Any] = {
    "requestBody": {"required": True, "content": {DICOM_JSON: {}, DICOM_XML: {}}}
}
_Read = TypeVar("_Read")


async def read_dataset(
    request: Request, body: Body, limits: Limits, read: Callable[[Any], _Read]
) -> _Read:
    """Return what `read` makes, in a thread, of the document in a body.

    That of XML is one DICOM JSON object; that of JSON may be anything.

    Raises:
        UnsupportedMediaType: it is neither DICOM JSON nor XML.
        InvalidRequest, TooLarge: it cannot be read, or is over a limit.
    """
    content_type = request.headers.get("content-type", "")
    media = parse_media_type(content_type)
    if media is None or media.type not in {*_JSON_TYPES, DICOM_XML}:
        expected = f"{DICOM_JSON} or {DICOM_XML} was expected"
        raise UnsupportedMediaType(f"{expected}, not {content_type[:200]!r}")
    data = b"".join([chunk async for chunk in decoded(request, body.chunks(), limits)])
    if not data:
        raise InvalidRequest("The body is empty")
    is_xml = media.type == DICOM_XML
    return await asyncio.to_thread(
        lambda: read(read_xml(data, limits) if is_xml else read_json(data))
    )
