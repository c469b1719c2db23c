"""Labels on Studies."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse

from app.archive.labels import (
    PATTERN,
    label_study,
    labels_of,
    list_labelled,
    list_labels,
    unlabel_study,
)
from app.dicom.uids import check_uid
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep, StudyPath

router = APIRouter(tags=["Labels"])
NO_STORE = {"Cache-Control": "no-store"}
MOST = 1000
OF_STUDY = "/api/v1/studies/{study}/labels"
LABELS = "/api/v1/labels"
Label = Annotated[str, Path(json_schema_extra={"pattern": f"^{PATTERN}$", "maxLength": 64})]
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many of one answer")]
After = Annotated[str, Query(description="`next` of the answer before")]


@router.get(OF_STUDY, responses=contract.RECEIPT)
async def get_labels_of_study(
    ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Return the labels of a Study."""
    found = await labels_of(archive, principal, ref.study)
    return JSONResponse({"study": ref.study, "labels": list(found)}, headers=NO_STORE)


@router.put(
    OF_STUDY + "/{label}",
    status_code=204,
    response_class=Response,
    responses={
        **contract.LABEL,
        201: {"description": "The Study bears it now"},
        204: {"description": "It bore it already"},
    },
)
async def put_label(
    ref: StudyPath, label: Label, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Put a label on a Study: lower-case letters, digits, `-`, `.`, `_` and `:`; no patient's name.

    Labels are of the Study's UID: they are there again when a deleted Study comes back.
    """
    new = await label_study(archive, principal, ref.study, [label])
    return Response(status_code=201 if new else 204)


@router.delete(
    OF_STUDY + "/{label}",
    status_code=204,
    response_class=Response,
    responses={**contract.LABEL, 204: {"description": "It does not bear it"}},
)
async def delete_label(
    ref: StudyPath, label: Label, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Take a label off a Study, if it is there."""
    await unlabel_study(archive, principal, ref.study, [label])
    return Response(status_code=204)


@router.get(LABELS, responses=contract.FEED)
async def get_labels(
    archive: ArchiveDep, principal: PrincipalDep, after: After = "", limit: Limit = MOST
) -> JSONResponse:
    """Return all labels in order, each with the number of Studies that bear it."""
    found = await list_labels(archive, principal, after, limit)
    body = {
        "labels": [{"label": one.label, "studies": one.studies} for one in found],
        "next": found[-1].label if len(found) == limit else None,
    }
    return JSONResponse(body, headers=NO_STORE)


@router.get(LABELS + "/{label}", responses=contract.FEED)
async def get_labelled(
    label: Label,
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: After = "",
    limit: Limit = MOST,
) -> JSONResponse:
    """Return the Studies that bear a label, in order of Study Instance UID."""
    begin = check_uid(after) if after else ""
    found = await list_labelled(archive, principal, label, begin, limit)
    following = found[-1] if len(found) == limit else None
    body = {"label": label, "studies": list(found), "next": following}
    return JSONResponse(body, headers=NO_STORE)
