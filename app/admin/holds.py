"""Legal holds on Studies."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.holds import LONGEST_REASON, find_hold, hold_study, list_holds, release_study
from app.dicom.uids import check_uid
from app.index.holds import Hold
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep, StudyPath
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Retention"])
NO_STORE = {"Cache-Control": "no-store"}
MOST = 1000
HOLD = "/api/v1/studies/{study}/hold"


class HoldWanted(BaseModel):
    """Why a Study is held. No patient's name: it is kept in the log for good."""

    model_config = ConfigDict(extra="forbid")
    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_REASON)]


@router.put(HOLD, responses=contract.SAID, openapi_extra=json_contract(HoldWanted))
async def put_hold(
    request: Request, ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Put a Study under legal hold: it is neither deleted nor rejected nor purged."""
    wanted = await read_json(request, HoldWanted)
    held = await hold_study(archive, principal, ref.study, wanted.reason)
    return JSONResponse(_shown(held), headers=NO_STORE)


@router.get(HOLD, responses=contract.RULE)
async def get_hold(ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Return the hold on a Study; the reason is for administrators."""
    held = await find_hold(archive, principal, ref.study)
    return JSONResponse(_shown(held), headers=NO_STORE)


@router.delete(
    HOLD,
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It is not held any more"}},
)
async def delete_hold(ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Take the hold off a Study."""
    await release_study(archive, principal, ref.study)
    return Response(status_code=204)


@router.get("/api/v1/holds", responses=contract.FEED)
async def get_holds(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[str, Query(description="`next` of the answer before")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST, description="Holds of one answer")] = MOST,
) -> JSONResponse:
    """Return all holds, in order of Study Instance UID."""
    found = await list_holds(archive, principal, check_uid(after) if after else "", limit)
    following = found[-1].study if len(found) == limit else None
    body = {"holds": [_shown(one) for one in found], "next": following}
    return JSONResponse(body, headers=NO_STORE)


def _shown(held: Hold) -> dict[str, Any]:
    shown: dict[str, Any] = {"study": held.study, "at": held.at.isoformat()}
    return {**shown, "reason": held.reason, "by": held.by} if held.reason else shown
