"""Modality Scheduled Procedure Step Service (PS3.18 chapter 14), and how it is fed."""

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from app.archive.worklist import find_step, schedule_steps, search_steps, unschedule_step
from app.dicom.attributes import Level
from app.dicom.folding import clean_text
from app.dicom.limits import Limits
from app.dicom.scheduled_step import ScheduledStep, read_scheduled_steps
from app.dicomweb.dataset_bodies import DATASET_CONTRACT, read_dataset
from app.dicomweb.qido import SEARCH_CONTRACT, search_warnings
from app.dicomweb.query import read_query
from app.errors import ArchiveError, InvalidRequest
from app.web import contract
from app.web.bodies import Body
from app.web.dataset_answers import CONTENT, chosen_form, dataset_response
from app.web.deps import ArchiveDep, BaseUrlDep, PrincipalDep, Uid
from app.web.problems import problem_of
from app.web.responses import PRIVATE, json_response

router = APIRouter(tags=["Modality Worklist"])

STEPS = "/modality-scheduled-procedure-steps"
STEP = STEPS + "/{study}/{step:path}"
_MOST_BYTES = 16 * 2**20
StepId = Annotated[str, Path(description="Scheduled Procedure Step ID", max_length=64)]
_PUT: dict[str, Any] = {"content": {"application/json": {}}}
_FOUND: contract.Responses = {
    200: {
        "description": "The matches, the next to begin first. A Warning header tells how many more"
        " there are and what of the request was not heeded",
        "content": CONTENT,
    },
    204: {"description": "Nothing matches, or no more from this offset on"},
}


@router.get(
    STEPS,
    responses={**contract.SEARCH, **_FOUND},
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_scheduled_steps(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
) -> Response:
    """Search the worklist (PS3.18 §14.4).

    Keys of a step are given with their Sequence: `ScheduledProcedureStepSequence.Modality`. Steps
    that are over are left out, unless statuses are asked for.
    """
    form = chosen_form(request)
    query = read_query(request.scope["query_string"], Level.INSTANCE)
    result = await search_steps(archive, principal, query)
    headers = search_warnings(base_url, result)
    if not result.rows:
        return Response(status_code=204, headers={**PRIVATE, **headers})
    return dataset_response(request, result.rows, form, headers)


@router.post(
    STEPS,
    responses={
        **contract.SCHEDULE,
        200: {"description": "All of them take the place of steps that were there", **_PUT},
        201: {"description": "They are on the worklist; `new` says which are new", **_PUT},
    },
    openapi_extra=DATASET_CONTRACT,
    response_class=Response,
)
async def post_scheduled_steps(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Schedule steps: Data Sets as a worklist answers them, each with one step or several.

    A step takes the place of the one of its Study and Scheduled Procedure Step ID; without a
    status it keeps that of the one before. All are put, or none.
    """
    body = _body(request, archive.limits)
    try:
        limits = archive.limits
        steps = await read_dataset(request, body, limits, lambda it: _steps(it, limits))
        new = await schedule_steps(archive, principal, steps)
    except ArchiveError as error:
        return await body.finish(problem_of(error))
    said = [
        {"study": one.study_instance_uid, "step": one.step_id, "new": is_new}
        for one, is_new in zip(steps, new, strict=True)
    ]
    response = json_response({"steps": said})
    response.status_code = HTTPStatus.CREATED if any(new) else HTTPStatus.OK
    return response


@router.put(
    STEP,
    status_code=204,
    responses={
        **contract.SCHEDULE,
        201: {"description": "It is on the worklist"},
        204: {"description": "It takes the place of the one that was there"},
    },
    openapi_extra=DATASET_CONTRACT,
    response_class=Response,
)
async def put_scheduled_step(
    request: Request, study: Uid, step: StepId, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Schedule one step, or put it in the place of the one that is there."""
    body = _body(request, archive.limits)
    try:
        limits = archive.limits
        steps = await read_dataset(request, body, limits, lambda it: _steps(it, limits))
        if [(one.study_instance_uid, one.step_id) for one in steps] != [(study, clean_text(step))]:
            raise InvalidRequest("One step was expected, of the Study and ID that the path names")
        (new,) = await schedule_steps(archive, principal, steps)
    except ArchiveError as error:
        return await body.finish(problem_of(error))
    where = {"Location": f"{request.url.path}"} if new else {}
    return Response(status_code=201 if new else 204, headers=where)


@router.get(
    STEP,
    responses={**contract.RESULT, 200: {"description": "The step", "content": CONTENT}},
    response_class=Response,
)
async def get_scheduled_step(
    request: Request, study: Uid, step: StepId, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Return one step, over or not, with all that is known of it."""
    form = chosen_form(request)
    return dataset_response(request, [await find_step(archive, principal, study, step)], form)


@router.delete(
    STEP,
    status_code=204,
    responses={**contract.RULE, 204: {"description": "It is on the worklist no more"}},
    response_class=Response,
)
async def delete_scheduled_step(
    study: Uid, step: StepId, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Take a step off the worklist."""
    await unschedule_step(archive, principal, study, step)
    return Response(status_code=204)


def _body(request: Request, limits: Limits) -> Body:
    return Body(request, replace(limits, request_bytes=min(_MOST_BYTES, limits.request_bytes)))


def _steps(document: Any, limits: Limits) -> list[ScheduledStep]:
    datasets = document if isinstance(document, list) else [document]
    if not datasets:
        raise InvalidRequest("At least one Data Set was expected")
    return [step for dataset in datasets for step in read_scheduled_steps(dataset, limits)]
