"""STOW-RS: the Store transaction (PS3.18 §10.5)."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.context import Archive
from app.archive.store import admit_upload, store_instances
from app.archive.store_metadata import store_metadata
from app.dicom.store_report import Outcome, StoreReport, report_json
from app.dicom.uids import NonPatientRef, StudyRef, check_uid
from app.dicomweb.stow_bodies import DICOM, Instances, read_body
from app.errors import ArchiveError
from app.rights import Principal
from app.web import contract
from app.web.accept import DICOM_JSON, DICOM_XML, XML_OFFER, chosen_offer
from app.web.acting import CALLING_AE_CONTRACT
from app.web.bodies import Body
from app.web.content_coding import decoded
from app.web.deps import ArchiveDep, BaseUrlDep, PrincipalDep, StudyPath
from app.web.direct import DirectRoute
from app.web.problems import problem_of
from app.web.responses import dicom_json
from app.web.xml_answers import documents_of, xml_response

router = APIRouter(tags=["Store (STOW-RS)"])

_STATUS = {
    Outcome.ALL_STORED: HTTPStatus.OK,
    Outcome.SOME_STORED: HTTPStatus.ACCEPTED,
    Outcome.NONE_STORED: HTTPStatus.CONFLICT,
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
STORE_CONTRACT: dict[str, Any] = {
    **CALLING_AE_CONTRACT,
    "requestBody": {
        "required": True,
        "description": "Instances: one as it is, or any number as parts; or their metadata in JSON"
        " (an array, one object an Instance) or in XML (one document an Instance), with the Bulk"
        " Data that it refers to as parts that have its BulkDataURI as Content-Location. In gzip"
        " if a Content-Encoding says so",
        "content": {
            DICOM: _BINARY,
            f'multipart/related; type="{DICOM}"': _BINARY,
            DICOM_JSON: {"schema": {"type": "array", "items": {"type": "object"}}},
            f'multipart/related; type="{DICOM_JSON}"': _BINARY,
            DICOM_XML: _BINARY,
            f'multipart/related; type="{DICOM_XML}"': _BINARY,
        },
    },
}
STORE_ANSWERS: contract.Responses = {
    **contract.STORE,
    200: {"description": "All Instances are stored", "content": {DICOM_JSON: {}, DICOM_XML: {}}},
    202: {
        "description": "Some are stored; the others and why not are listed. Or all, with a warning",
        "content": {DICOM_JSON: {}, DICOM_XML: {}},
    },
    409: {
        "description": "None is stored; each is listed with its reason",
        "content": {DICOM_JSON: {}, DICOM_XML: {}},
    },
}


@router.post(
    "/studies", responses=STORE_ANSWERS, openapi_extra=STORE_CONTRACT, response_class=Response
)
async def post_studies(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
) -> Response:
    """Store Instances of any Studies (PS3.18 §10.5)."""
    return await answer_store(request, archive, principal, base_url, None)


@router.post(
    "/studies/{study}",
    responses=STORE_ANSWERS,
    openapi_extra=STORE_CONTRACT,
    response_class=Response,
)
async def post_study(
    request: Request,
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    base_url: BaseUrlDep,
) -> Response:
    """Store Instances of one Study; those of others fail (PS3.18 §10.5)."""
    return await answer_store(request, archive, principal, base_url, ref)


async def _post(
    request: Request,
    archive: Archive,
    principal: Principal,
    base_url: str,
    names: tuple[str, ...],
) -> Response:
    study = StudyRef(check_uid(names[0])) if names else None
    return await answer_store(request, archive, principal, base_url, study)


DIRECT = (DirectRoute("POST", "/studies", _post), DirectRoute("POST", "/studies/{study}", _post))


async def answer_store(
    request: Request,
    archive: Archive,
    principal: Principal,
    base_url: str,
    into: StudyRef | NonPatientRef | None,
) -> Response:
    """Store what the body holds, and answer with the report (PS3.18 §10.5.3, §12.5.3)."""
    body, calling = Body(request, archive.limits), principal.calling_ae
    try:
        await admit_upload(archive, principal)
        offer = chosen_offer(request, XML_OFFER)
        chunks = decoded(request, body.chunks(), archive.limits)
        held = await read_body(request, chunks, archive.limits)
        if isinstance(held, Instances):
            report = await store_instances(archive, principal, held.parts, into, calling)
        else:
            report = await store_metadata(archive, principal, held.parts, into, calling)
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
