"""Rendered resources and thumbnails (PS3.18 §10.4.1.1.3, §10.4.1.1.4)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.context import Archive
from app.archive.render import Rendering, plan_frames, plan_instance, plan_many
from app.archive.thumbnails import plan_thumbnail
from app.dicom.pictures import FORMATS
from app.dicom.uids import InstanceRef, Ref, SeriesRef, check_uid
from app.dicomweb.frames import FRAMES, frame_numbers
from app.dicomweb.rendering_parameters import render_request, thumbnail_request
from app.dicomweb.wado_rs import INSTANCE, SERIES, STUDY
from app.errors import InvalidRequest
from app.rights import Principal
from app.web import contract
from app.web.conditions import read_conditions
from app.web.deps import ArchiveDep, InstancePath, PrincipalDep, SeriesPath, StudyPath
from app.web.direct import DirectRoute
from app.web.responses import not_modified
from app.web.streams import answer_response

router = APIRouter(tags=["Retrieve rendered (WADO-RS)"], default_response_class=Response)

_PICTURES: dict[str, Any] = {media_type: {} for media_type in FORMATS}
_MULTIPART: dict[str, Any] = {'multipart/related; type="image/jpeg"': {}}


def _parameter(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "query", "description": description, "schema": schema}


_VIEWPORT = _parameter("viewport", "width,height: the box that the picture fits into")
_PARAMETERS = [
    _parameter("viewport", "width,height, and left,top,width,height of a region; negative flips"),
    _parameter("window", "center,width,function: linear, linear-exact or sigmoid"),
    _parameter("quality", "1 to 100, for what is compressed with loss"),
    _parameter("annotation", "patient, technique, or both: text in the picture's corners"),
    _parameter("iccprofile", "no, yes, srgb, adobergb or rommrgb"),
]
_SEGMENTATION = _parameter(
    "segmentation", "SOP Instance UID of a segmentation to draw over the image; not of the standard"
)


def _rendered(*, several: bool) -> dict[str, Any]:
    content = _MULTIPART if several else _PICTURES | _MULTIPART
    if not several:
        others = ("application/pdf", "text/html", "text/plain", "text/xml", "video/mp4")
        content = content | {other: {} for other in others}
    row = contract.READ if several else contract.READ_RANGES
    responses: contract.Responses = {
        **row,
        200: {"description": "Pictures, or what else there is to see", "content": content},
    }
    parameters = _PARAMETERS if several else [*_PARAMETERS, _SEGMENTATION]
    return {"responses": responses, "openapi_extra": {"parameters": parameters}}


_THUMBNAIL: dict[str, Any] = {
    "responses": {
        **contract.READ_RANGES,
        200: {"description": "A small picture", "content": _PICTURES},
    },
    "openapi_extra": {"parameters": [_VIEWPORT]},
}


async def rendering_response(request: Request, rendering: Rendering) -> Response:
    """Return the response of a planned rendering, or 304 to who has it already."""
    version, conditions = rendering.etag.strip('"'), read_conditions(request.scope["headers"])
    conditions.check(version)
    if conditions.knows(version):
        return not_modified(rendering.etag)
    answer = await rendering.open()
    return await answer_response(replace(answer, version=answer.version or version), conditions)


@router.get(STUDY + "/rendered", **_rendered(several=True))
async def get_rendered_study(
    request: Request, ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve all Instances of a Study rendered, one a part (PS3.18 §10.4.1.1.3)."""
    rendering = await plan_many(archive, principal, ref, render_request(request))
    return await rendering_response(request, rendering)


@router.get(SERIES + "/rendered", **_rendered(several=True))
async def get_rendered_series(
    request: Request, ref: SeriesPath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve all Instances of a Series rendered, one a part (PS3.18 §10.4.1.1.3)."""
    rendering = await plan_many(archive, principal, ref, render_request(request))
    return await rendering_response(request, rendering)


@router.get(INSTANCE + "/rendered", **_rendered(several=False))
async def get_rendered_instance(
    request: Request, ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve an Instance rendered: a picture, a document, a report (PS3.18 §10.4.1.1.3)."""
    rendering = await plan_instance(archive, principal, ref, render_request(request))
    return await rendering_response(request, rendering)


@router.get(FRAMES + "/rendered", **_rendered(several=False))
async def get_rendered_frames(
    request: Request, ref: InstancePath, frames: str, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve frames rendered; several are parts of a multipart (PS3.18 §10.4.1.1.3)."""
    wanted = render_request(request)
    rendering = await plan_frames(archive, principal, ref, frame_numbers(frames), wanted)
    return await rendering_response(request, rendering)


async def _thumbnail(
    request: Request, archive: Archive, principal: Principal, ref: Ref, number: int | None = None
) -> Response:
    wanted = thumbnail_request(request)
    rendering = await plan_thumbnail(archive, principal, ref, wanted, number)
    return await rendering_response(request, rendering)


@router.get(STUDY + "/thumbnail", **_THUMBNAIL)
async def get_study_thumbnail(
    request: Request, ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve a small picture that stands for a Study (PS3.18 §10.4.1.1.4)."""
    return await _thumbnail(request, archive, principal, ref)


@router.get(SERIES + "/thumbnail", **_THUMBNAIL)
async def get_series_thumbnail(
    request: Request, ref: SeriesPath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve a small picture that stands for a Series (PS3.18 §10.4.1.1.4)."""
    return await _thumbnail(request, archive, principal, ref)


@router.get(INSTANCE + "/thumbnail", **_THUMBNAIL)
async def get_instance_thumbnail(
    request: Request, ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve a small picture of an Instance (PS3.18 §10.4.1.1.4)."""
    return await _thumbnail(request, archive, principal, ref)


@router.get(FRAMES + "/thumbnail", **_THUMBNAIL)
async def get_frame_thumbnail(
    request: Request, ref: InstancePath, frames: str, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve a small picture of a frame (PS3.18 §10.4.1.1.4)."""
    numbers = frame_numbers(frames)
    if len(numbers) != 1:
        raise InvalidRequest("A thumbnail is of one frame")
    return await _thumbnail(request, archive, principal, ref, numbers[0])


_Endpoint = Callable[..., Awaitable[Response]]
_BUSIEST: Mapping[str, tuple[type[Ref], _Endpoint]] = {
    SERIES + "/thumbnail": (SeriesRef, get_series_thumbnail),
    INSTANCE + "/thumbnail": (InstanceRef, get_instance_thumbnail),
    INSTANCE + "/rendered": (InstanceRef, get_rendered_instance),
    FRAMES + "/rendered": (InstanceRef, get_rendered_frames),
}


def _direct(template: str, level: type[Ref], endpoint: _Endpoint) -> DirectRoute:
    uids = len(fields(level))

    async def answer(
        request: Request, archive: Archive, principal: Principal, _: str, names: tuple[str, ...]
    ) -> Response:
        ref = level(*map(check_uid, names[:uids]))
        frames = {"frames": names[uids]} if len(names) > uids else {}
        return await endpoint(request, ref=ref, archive=archive, principal=principal, **frames)

    return DirectRoute("GET", template, answer)


DIRECT = tuple(_direct(template, *route) for template, route in _BUSIEST.items())
