"""Objects that are known to be lost: found by the scrubber or `verify`, and not repaired yet."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.archive.findings import MOST, list_findings
from app.index.findings import FoundFault
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep

router = APIRouter(tags=["Operation"])


@router.get("/api/v1/findings", responses=contract.FEED)
async def get_findings(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[
        int, Query(ge=0, lt=2**63, description="`next` of the answer before; without it, all")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Findings of one answer")] = MOST,
) -> JSONResponse:
    """Return objects that are damaged or missing in a store, in quarantine, or lost: in all."""
    found = await list_findings(archive, principal, after, limit)
    body = {
        "findings": [_finding(one) for one in found],
        "next": found[-1].id if found else after,
    }
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _finding(one: FoundFault) -> dict[str, Any]:
    return {
        "object": one.object_key,
        "store": one.store,
        "state": one.state,
        "since": one.since.isoformat(),
        "study": one.study,
        "instance": one.instance,
        "detail": one.detail,
    }
