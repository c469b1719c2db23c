"""Search for Patients: ours, beside the DICOMweb resources, by the same rules."""

from fastapi import APIRouter, Request, Response

from app.archive.patients import search_patients
from app.dicom.attributes import Level
from app.dicomweb.qido import SEARCH_ANSWERS, SEARCH_CONTRACT, search_response
from app.dicomweb.query import read_query
from app.web.accept import XML_PARTS, chosen_offer
from app.web.deps import ArchiveDep, BaseUrlDep, PrincipalDep

router = APIRouter(tags=["Patients"])


@router.get(
    "/api/v1/patients",
    responses={
        **SEARCH_ANSWERS,
        200: {**SEARCH_ANSWERS[200], "description": "The Patients, in the order of Patient IDs"},
    },
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def get_patients(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
) -> Response:
    """Search for Patients (Patient ID and its issuer): those with a Study that meets all keys.

    Each is described as the newest of those Studies has it; the numbers of Studies, Series and
    Instances are of all that the caller may see.
    """
    offer = chosen_offer(request, XML_PARTS)
    query = read_query(request.scope["query_string"], Level.STUDY)
    result = await search_patients(archive, principal, query)
    return search_response(request, base_url, offer, result)
