"""Modality Performed Procedure Step Service (PS3.18 chapter 15)."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.performed_steps import (
    create_performed_step,
    retrieve_performed_step,
    update_performed_step,
)
from app.dicom.plain_dataset import LONGEST
from app.dicom.uids import check_uid
from app.dicomweb.dataset_bodies import DATASET_CONTRACT, read_dataset
from app.errors import ArchiveError, InvalidRequest
from app.web import contract
from app.web.bodies import Body
from app.web.dataset_answers import CONTENT, chosen_form, dataset_response
from app.web.deps import ArchiveDep, PrincipalDep, Uid
from app.web.problems import problem_of
from app.web.responses import PRIVATE

router = APIRouter(tags=["Modality Performed Procedure Steps"])

STEP = "/modality-performed-procedure-steps/{uid}"
_UPDATE: dict[str, Any] = {
    "parameters": [
        {
            "name": "update",
            "in": "query",
            "allowEmptyValue": True,
            "schema": {"type": "string"},
            "description": "Change the step that is there",
        }
    ],
    **DATASET_CONTRACT,
}


@router.post(
    STEP,
    responses={
        **contract.PERFORM,
        200: {"description": "The step is changed"},
        201: {"description": "The step is created"},
    },
    openapi_extra=_UPDATE,
    response_class=Response,
)
async def post_performed_step(
    request: Request, uid: Uid, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Create a performed step (PS3.18 §15.4), or change one with `?update` (§15.5).

    A problem says by its `reason` what is wrong: `duplicate`, `final`, `missing-attribute`,
    `invalid-attribute`.
    """
    bounded = replace(archive.limits, request_bytes=min(4 * LONGEST, archive.limits.request_bytes))
    body = Body(request, bounded)
    update = "update" in request.query_params
    try:
        name = check_uid(uid)
        dataset = await read_dataset(request, body, bounded, _only)
        act = update_performed_step if update else create_performed_step
        await act(archive, principal, name, dataset)
    except ArchiveError as error:
        return await body.finish(problem_of(error))
    return Response(status_code=200 if update else 201, headers=PRIVATE)


@router.get(
    STEP,
    responses={**contract.RESULT, 200: {"description": "The step", "content": CONTENT}},
    response_class=Response,
)
async def get_performed_step(
    request: Request, uid: Uid, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Retrieve a performed step (PS3.18 §15.6)."""
    form = chosen_form(request)
    return dataset_response(
        request, [await retrieve_performed_step(archive, principal, check_uid(uid))], form
    )


def _only(document: Any) -> Any:
    """Return the one Data Set of a document."""
    if not isinstance(document, list):
        return document
    if len(document) != 1:
        raise InvalidRequest("One Data Set was expected")
    return document[0]
