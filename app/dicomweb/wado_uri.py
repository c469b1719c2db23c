"""WADO-URI (PS3.18 §9): one Instance by query parameters, as DICOM or rendered."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.archive.context import Archive
from app.archive.deidentified import retrieve_deidentified
from app.archive.render import RenderRequest, plan_object
from app.archive.retrieve import find_instance, retrieve_instances
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.pictures import Wanted
from app.dicom.uids import InstanceRef, check_uid
from app.dicom.viewport import Region, Viewport
from app.dicom.voi import Window
from app.dicomweb.rendered import rendering_response
from app.dicomweb.rendering_parameters import (
    parse_annotation,
    parse_number,
    parse_quality,
    parse_side,
    parse_window,
)
from app.errors import InvalidRequest, NotAcceptable, NotFound
from app.mime.media_types import Form, MediaType, accepted_forms, parse_accept
from app.rights import Principal
from app.web import contract
from app.web.audited import STUDY
from app.web.conditions import Conditions
from app.web.deps import ArchiveDep, ConditionsDep, PrincipalDep
from app.web.streams import answer_response

router = APIRouter(tags=["Retrieve (WADO-URI)"])

_CONTENT: dict[str, Any] = {
    media_type: {}
    for media_type in (
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/jp2",
        "text/html",
        "text/plain",
        "application/pdf",
        APPLICATION_DICOM,
    )
}
_RESPONSES: contract.Responses = {
    **contract.READ_RANGES,
    200: {"description": "The Instance, rendered or as DICOM", "content": _CONTENT},
}
_ANYTHING = Form("*/*", multipart=False)
_OTHERS = {
    "frameNumber": "the frame, from 1",
    "rows": "most rows of the picture",
    "columns": "most columns of the picture",
    "region": "left,top,right,bottom as parts of the image, 0 to 1",
    "windowCenter": "with windowWidth",
    "windowWidth": "with windowCenter",
    "imageQuality": "1 to 100",
    "annotation": "patient, technique, or both",
    "presentationUID": "a presentation state to show the image with",
    "presentationSeriesUID": "its Series",
}
_PARAMETERS = [
    {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
    for name, text in _OTHERS.items()
]


@router.get(
    "/wado",
    responses=_RESPONSES,
    response_class=Response,
    openapi_extra={"parameters": _PARAMETERS},
)
async def get_object(  # noqa: PLR0913, PLR0917 - the parameters of the standard
    request: Request,
    archive: ArchiveDep,
    principal: PrincipalDep,
    asked: ConditionsDep,
    request_type: Annotated[str, Query(alias="requestType")] = "",
    study: Annotated[str, Query(alias="studyUID")] = "",
    series: Annotated[str, Query(alias="seriesUID")] = "",
    instance: Annotated[str, Query(alias="objectUID")] = "",
    content_type: Annotated[str, Query(alias="contentType")] = "",
    transfer_syntax: Annotated[str, Query(alias="transferSyntax")] = "",
    anonymize: Annotated[str, Query()] = "",
) -> Response:
    """Retrieve an Instance (PS3.18 §9.4). Study and Series UIDs may be left empty."""
    if request_type != "WADO":
        raise InvalidRequest("requestType=WADO was expected")
    without_identity = _anonymize(anonymize)
    if not instance:
        raise InvalidRequest("objectUID was expected")
    forms = _forms(request, content_type)
    if transfer_syntax not in {"", "*"}:
        check_uid(transfer_syntax)
    ref = await find_instance(archive, principal, check_uid(instance))
    if study not in {"", ref.study} or series not in {"", ref.series}:
        raise NotFound("Instance", instance)
    request.scope[STUDY] = ref.study
    number, state = _frame_number(request), await _state(request, archive, principal)
    texts = _annotations(request, without_identity=without_identity)
    wanted = RenderRequest(forms, _wanted(request), texts, deidentified=without_identity)
    rendering = await plan_object(archive, principal, ref, number, state, wanted)
    if rendering is None:
        retrieve = _deidentified if without_identity else _as_dicom
        return await retrieve(archive, principal, ref, transfer_syntax, asked)
    if transfer_syntax:
        raise InvalidRequest("transferSyntax goes with contentType=application/dicom alone")
    return await rendering_response(request, rendering)


def _anonymize(text: str) -> bool:
    if text.lower() not in {"", "yes", "no"}:
        raise InvalidRequest("anonymize=yes or anonymize=no was expected; nothing was sent")
    return text.lower() == "yes"


def _forms(request: Request, content_type: str) -> Sequence[Form]:
    """Return the media types that would do: of the parameter, else of the header.

    A multipart is none here, and a header that has nothing else asks for the default.
    """
    if not content_type:
        header = ", ".join(request.headers.getlist("accept"))
        alone = [form for form in accepted_forms(header) if not form.multipart]
        return alone or [_ANYTHING]
    ranges = parse_accept(content_type)
    if any(media.all("transfer-syntax") for media in ranges):
        raise InvalidRequest("Name a transfer syntax by transferSyntax, not within contentType")
    return [_form(media) for media in ranges]


def _form(media: MediaType) -> Form:
    return Form(media.type, multipart=False)


def _frame_number(request: Request) -> int | None:
    """Return the 1-based frame; viewers send `frame`, too."""
    given = request.query_params
    text = given.get("frameNumber") or given.get("frame")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:10])):
        raise InvalidRequest("A frame number from 1 was expected")
    return int(text[:10])


async def _state(request: Request, archive: Archive, principal: Principal) -> InstanceRef | None:
    """Return the presentation state that is asked for."""
    given = request.query_params
    text = given.get("presentationUID")
    if not text:
        return None
    if given.get("windowCenter") or given.get("windowWidth") or given.get("region"):
        raise InvalidRequest("A presentation state has its own window and region")
    state = await find_instance(archive, principal, check_uid(text))
    if given.get("presentationSeriesUID") not in {None, "", state.series}:
        raise NotFound("Presentation state", text)
    return state


def _wanted(request: Request) -> Wanted:
    given = request.query_params
    return Wanted(
        quality=parse_quality(given.get("imageQuality")),
        viewport=_viewport(given.get("rows"), given.get("columns"), given.get("region")),
        window=_window(given.get("windowCenter"), given.get("windowWidth")),
    )


def _annotations(request: Request, *, without_identity: bool) -> tuple[str, ...]:
    texts = parse_annotation(request.query_params.get("annotation"))
    if without_identity and "patient" in texts:
        raise InvalidRequest("annotation=patient and anonymize=yes exclude each other")
    return texts


def _viewport(rows: str | None, columns: str | None, region: str | None) -> Viewport | None:
    if not (rows or columns or region):
        return None
    return Viewport(
        parse_side(columns, "columns") if columns else None,
        parse_side(rows, "rows") if rows else None,
        _region(region) if region else Region(),
    )


def _region(text: str) -> Region:
    parts = [parse_number(part, "region") for part in text.split(",")]
    if len(parts) != 4 or not all(0 <= part <= 1 for part in parts):
        raise InvalidRequest("region=left,top,right,bottom was expected, each from 0 to 1")
    left, top, right, bottom = parts
    if right <= left or bottom <= top:
        raise InvalidRequest("The region has nothing of the image in it")
    return Region(left, top, right - left, bottom - top, relative=True)


def _window(center: str | None, width: str | None) -> Window | None:
    if not center and not width:
        return None
    if not center or not width:
        raise InvalidRequest("windowCenter and windowWidth go together")
    return parse_window(center, width)


def _dicom_form(transfer_syntax: str) -> Form:
    syntaxes = (transfer_syntax,) if transfer_syntax else ()
    return Form(APPLICATION_DICOM, multipart=False, transfer_syntaxes=syntaxes)


async def _as_dicom(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    transfer_syntax: str,
    asked: Conditions,
) -> Response:
    try:
        form = _dicom_form(transfer_syntax)
        answer = await retrieve_instances(archive, principal, ref, [form], asked.settled_by)
        return await answer_response(answer, asked)
    except NotAcceptable as error:
        alone = [form for form in error.offered if not form.startswith("multipart/")]
        raise NotAcceptable(str(error), alone) from error


async def _deidentified(
    archive: Archive,
    principal: Principal,
    ref: InstanceRef,
    transfer_syntax: str,
    asked: Conditions,
) -> Response:
    answer = await retrieve_deidentified(archive, principal, ref, transfer_syntax, asked.knows)
    return await answer_response(answer, asked)
