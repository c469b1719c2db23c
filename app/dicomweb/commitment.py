"""Storage Commitment Service (PS3.18 chapter 13)."""

from dataclasses import replace
from functools import partial
from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from app.archive.commitment import check_commitment, request_commitment
from app.dicom.commitment import read_request
from app.dicom.uids import check_uid
from app.dicomweb.dataset_bodies import DATASET_CONTRACT, read_dataset
from app.errors import ArchiveError
from app.web import contract
from app.web.accept import DICOM_JSON, DICOM_XML, XML_OFFER, Offer, chosen_offer
from app.web.acting import CALLING_AE_CONTRACT
from app.web.bodies import Body
from app.web.deps import ArchiveDep, PrincipalDep, Uid
from app.web.problems import problem_of
from app.web.responses import PRIVATE, dicom_json
from app.web.xml_answers import documents_of, xml_response

router = APIRouter(tags=["Storage Commitment"])

REQUEST = "/commitment-requests/{transaction}"
_FRAME_BYTES, _REFERENCE_BYTES = 64 * 2**10, 640
"""Of a body: as much as there may be around the references, and of one of them in XML."""
_RETRY_SECONDS = 5
_RESULT: contract.Responses = {
    200: {
        "description": "What is committed, and what is not with the reason",
        "content": {DICOM_JSON: {}, DICOM_XML: {}},
    },
    202: {"description": "It is worked on; ask for the result after `Retry-After` seconds"},
}


@router.post(
    REQUEST,
    responses={**contract.COMMITMENT, **_RESULT},
    openapi_extra={**CALLING_AE_CONTRACT, **DATASET_CONTRACT},
    response_class=Response,
)
async def post_commitment_request(
    request: Request, transaction: Uid, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Request storage commitment of Instances (PS3.18 §13.4)."""
    limits = archive.limits
    most = _FRAME_BYTES + _REFERENCE_BYTES * limits.commitment_references
    bounded = replace(limits, request_bytes=min(most, limits.request_bytes))
    body = Body(request, bounded)
    try:
        uid = check_uid(transaction)
        offer = chosen_offer(request, XML_OFFER)
        references = await read_dataset(
            request, body, bounded, partial(read_request, most=limits.commitment_references)
        )
        result = await request_commitment(archive, principal, uid, references)
    except ArchiveError as error:
        return await body.finish(problem_of(error))
    return _answer(request, result, offer)


@router.get(REQUEST, responses={**contract.RESULT, **_RESULT}, response_class=Response)
async def get_commitment_result(
    request: Request, transaction: Uid, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Check for the result of a request for storage commitment (PS3.18 §13.5)."""
    offer = chosen_offer(request, XML_OFFER)
    result = await check_commitment(archive, principal, check_uid(transaction))
    return _answer(request, result, offer)


def _answer(request: Request, result: bytes | None, offer: Offer) -> Response:
    if result is None:
        headers = {**PRIVATE, "Retry-After": str(_RETRY_SECONDS)}
        return Response(status_code=HTTPStatus.ACCEPTED, headers=headers)
    if offer.is_xml:
        return xml_response(request, documents_of([result]), multipart=False)
    return dicom_json(request, result, offer.media_type)
