"""STOW-RS: the Store transaction (PS3.18 §10.5)."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.context import Archive
from app.archive.store import store_instances
from app.dicom.store_report import FailureReason, Outcome, StoreReport, report_json
from app.dicom.uids import StudyRef, check_uid
from app.errors import (
    ArchiveError,
    InvalidDataset,
    InvalidMultipart,
    InvalidRequest,
    UnsupportedMediaType,
)
from app.mime.media_types import MediaType, parse_media_type
from app.mime.multipart import Part, PartLimits, read_parts
from app.rights import Principal
from app.web.accept import DICOM_JSON, DICOM_XML, XML_OFFER, chosen_offer
from app.web.bodies import Body
from app.web.deps import ArchiveDep, BaseUrlDep, PrincipalDep, StudyPath
from app.web.direct import DirectRoute
from app.web.problems import problem_of
from app.web.responses import dicom_json
from app.web.xml_answers import documents_of, xml_response

router = APIRouter(tags=["Store (STOW-RS)"])

DICOM = "application/dicom"
_TAKEN = {DICOM, "application/octet-stream"}
_PLAIN_ENCODINGS = {"", "7bit", "8bit", "binary"}

_STATUS = {
    Outcome.ALL_STORED: HTTPStatus.OK,
    Outcome.SOME_STORED: HTTPStatus.ACCEPTED,
    Outcome.NONE_STORED: HTTPStatus.CONFLICT,
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_CONTRACT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Instances: one as it is, or any number as parts",
        "content": {DICOM: _BINARY, f'multipart/related; type="{DICOM}"': _BINARY},
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "All Instances are stored", "content": {DICOM_JSON: {}, DICOM_XML: {}}},
    202: {
        "description": "Some are stored; the others and why not are listed",
        "content": {DICOM_JSON: {}, DICOM_XML: {}},
    },
    400: {"description": "The request is malformed; nothing was stored"},
    409: {
        "description": "None is stored; each is listed with its reason",
        "content": {DICOM_JSON: {}, DICOM_XML: {}},
    },
    413: {"description": "The request, or a part, is over a limit; nothing was stored"},
    415: {"description": "The body is of a media type that is not taken; nothing was stored"},
    507: {"description": "There is no room left; nothing was stored"},
}


@router.post("/studies", responses=_ANSWERS, openapi_extra=_CONTRACT, response_class=Response)
async def post_studies(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
) -> Response:
    """Store Instances of any Studies (PS3.18 §10.5)."""
    return await _store(request, archive, principal, base_url, None)


@router.post(
    "/studies/{study}", responses=_ANSWERS, openapi_extra=_CONTRACT, response_class=Response
)
async def post_study(
    request: Request,
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    base_url: BaseUrlDep,
) -> Response:
    """Store Instances of one Study; those of others fail (PS3.18 §10.5)."""
    return await _store(request, archive, principal, base_url, ref)


async def _post(
    request: Request,
    archive: Archive,
    principal: Principal,
    base_url: str,
    names: tuple[str, ...],
) -> Response:
    study = StudyRef(check_uid(names[0])) if names else None
    return await _store(request, archive, principal, base_url, study)


DIRECT = (DirectRoute("POST", "/studies", _post), DirectRoute("POST", "/studies/{study}", _post))


async def _store(
    request: Request, archive: Archive, principal: Principal, base_url: str, study: StudyRef | None
) -> Response:
    body = Body(request, archive.limits)
    try:
        offer = chosen_offer(request, XML_OFFER)
        parts = _parts(request, archive, body)
        report = await store_instances(archive, principal, parts, study)
    except ArchiveError as error:
        return await body.finish(problem_of(error))
    document = report_json(report, base_url)
    if offer.is_xml:
        response = xml_response(request, documents_of([document]), multipart=False)
    else:
        response = dicom_json(request, document, offer.media_type)
    response.status_code = _status(report)
    return response


def _status(report: StoreReport) -> HTTPStatus:
    return _STATUS[report.outcome]


def _parts(request: Request, archive: Archive, body: Body) -> AsyncIterator[AsyncIterator[bytes]]:
    """Return the parts that the body has by its media type, S-28 included.

    Raises:
        UnsupportedMediaType: it is neither an Instance nor a multipart of Instances.
        InvalidMultipart: no boundary is named.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("A body without Content-Encoding was expected")
    content_type = request.headers.get("content-type", "")
    media = parse_media_type(content_type)
    if media is not None and media.type in _TAKEN:
        return _one_part(body.chunks())
    if media is None or media.type != "multipart/related" or not _is_of_instances(media):
        raise UnsupportedMediaType(
            f'{DICOM} or multipart/related; type="{DICOM}" was expected, not {content_type[:200]!r}'
        )
    boundary = media.get("boundary")
    if boundary is None:
        raise InvalidMultipart("The Content-Type names no boundary")
    limits = PartLimits(archive.limits.parts, archive.limits.part_header_bytes)
    return _checked(read_parts(body.chunks(), boundary, limits))


def _is_of_instances(media: MediaType) -> bool:
    return (media.get("type") or DICOM).lower() in _TAKEN


async def _one_part(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    first = await anext(chunks, None)
    if first is None:
        raise InvalidRequest("The body is empty")
    yield _rejoined(first, chunks)


async def _rejoined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _checked(parts: AsyncIterator[Part]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the parts; one that is no Instance as it is fails when it is read."""
    async for part in parts:
        why = _why_refused(part)
        yield part if why is None else _refused(why)


def _why_refused(part: Part) -> str | None:
    content_type = part.headers.get("content-type", DICOM)
    media = parse_media_type(content_type)
    if media is None or media.type not in _TAKEN:
        return f"parts of {DICOM} are taken, not {content_type[:200]!r}"
    encoding = part.headers.get("content-transfer-encoding", "")
    if encoding.lower() not in _PLAIN_ENCODINGS or "content-encoding" in part.headers:
        return "parts without an encoding are taken"
    return None


async def _refused(why: str) -> AsyncIterator[bytes]:
    raise InvalidDataset(why, FailureReason.CANNOT_UNDERSTAND)
    yield b""  # so that it is an iterator
