"""Studies that are opened in an emergency: opened, listed and ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.admin.metrics import BROKEN_GLASS
from app.archive.overrides import (
    LONGEST_REASON,
    SHORTEST_REASON,
    break_glass,
    end_override,
    list_overrides,
)
from app.dicom.uids import check_uid
from app.errors import Forbidden, InvalidRequest
from app.index.overrides import Override
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Emergencies"])
NO_STORE = {"Cache-Control": "no-store"}
MOST = 1000
OVERRIDES = "/api/v1/overrides"
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="`number` of the override")]


class OverrideWanted(BaseModel):
    """Which Study, why, and for how many minutes. No patient's name: it is kept in the log for
    good."""

    model_config = ConfigDict(extra="forbid")
    study: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(min_length=SHORTEST_REASON, max_length=LONGEST_REASON)]
    minutes: Annotated[float | None, Field(gt=0, le=1440)] = None


@router.post(
    OVERRIDES,
    status_code=201,
    responses=contract.SAID,
    openapi_extra=json_contract(OverrideWanted),
)
async def post_override(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Open one Study beyond one's labels in an emergency: for people with the role `emergency`.

    It is for reading, for `FILEROOM_AUTH__OVERRIDE_SECONDS` at most, which are the default, and it
    is told: in the audit trail, to webhooks and audit repositories, in the server's log.
    """
    most: float = request.app.state.override_seconds
    wanted = await read_json(request, OverrideWanted)
    seconds = most if wanted.minutes is None else 60 * wanted.minutes
    if not most:
        raise Forbidden("Opening studies in an emergency is switched off")
    if seconds > most:
        raise InvalidRequest(f"A study is opened for up to {most / 60:g} minutes")
    study = check_uid(wanted.study)
    made = await break_glass(archive, principal, study, wanted.reason, seconds)
    BROKEN_GLASS.inc()
    return JSONResponse(_shown(made), status_code=201, headers=NO_STORE)


@router.get(OVERRIDES, responses=contract.FEED)
async def get_overrides(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Overrides of one answer")] = MOST,
) -> JSONResponse:
    """Return what is open in an emergency: one's own, or all for who administers or audits."""
    found = await list_overrides(archive, principal, after, limit)
    following = found[-1].number if len(found) == limit else None
    body = {"overrides": [_shown(one) for one in found], "next": following}
    return JSONResponse(body, headers=NO_STORE)


@router.delete(
    OVERRIDES + "/{override}",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "The Study is not open any more"}},
)
async def delete_override(
    override: Number, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """End one of one's own, or anybody's for who administers."""
    await end_override(archive, principal, override)
    return Response(status_code=204)


def _shown(made: Override) -> dict[str, Any]:
    return {
        "number": made.number,
        "study": made.study,
        "by": made.name,
        "reason": made.reason,
        "begun": made.begun_at.isoformat(),
        "expires": made.expires_at.isoformat(),
    }
