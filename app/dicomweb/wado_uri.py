"""WADO-URI (PS3.18 §9): an Instance by query parameters, as DICOM. Rendering is not offered yet."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from app.archive.retrieve import find_instance, retrieve_instances
from app.dicom.delivery import APPLICATION_DICOM
from app.dicom.uids import check_uid
from app.errors import InvalidRequest, NotAcceptable, NotFound
from app.mime.media_types import Form, parse_accept
from app.web.deps import ArchiveDep, ConditionsDep, PrincipalDep
from app.web.problems import PROBLEMS
from app.web.streams import answer_response

router = APIRouter(tags=["Retrieve (WADO-URI)"])

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The Instance", "content": {APPLICATION_DICOM: {}}},
    **PROBLEMS,
}


@router.get("/wado", responses=_RESPONSES, response_class=Response)
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
    if anonymize:
        raise InvalidRequest("anonymize is not offered; nothing was sent")
    if not instance:
        raise InvalidRequest("objectUID was expected")
    wanted = content_type or request.headers.get("accept", "")
    if not any(media.covers(APPLICATION_DICOM) for media in parse_accept(wanted or "image/jpeg")):
        raise NotAcceptable("Rendering is not offered yet", [APPLICATION_DICOM])
    if transfer_syntax not in {"", "*"}:
        check_uid(transfer_syntax)
    syntaxes = (transfer_syntax,) if transfer_syntax else ()
    form = Form(APPLICATION_DICOM, multipart=False, transfer_syntaxes=syntaxes)
    ref = await find_instance(archive, principal, check_uid(instance))
    if study not in {"", ref.study} or series not in {"", ref.series}:
        raise NotFound("Instance", instance)
    answer = await retrieve_instances(archive, principal, ref, [form], asked.knows)
    return await answer_response(answer, asked)
