"""Storage commitments that bridges asked for: which AE is to be told what came of them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from app.archive.commitment_reports import list_unreported, note_reported
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep, Uid

router = APIRouter(tags=["Storage Commitment"])
NO_STORE = {"Cache-Control": "no-store"}
COMMITMENTS = "/api/v1/commitments"
MOST = 1000


@router.get(COMMITMENTS, responses=contract.FEED)
async def get_commitments(
    archive: ArchiveDep,
    principal: PrincipalDep,
    ae_title: Annotated[str | None, Query(description="Those of one AE alone")] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many of one answer")] = MOST,
) -> JSONResponse:
    """Return the requests made for an AE (`Fileroom-Calling-AE`) that was not told the result.

    The result of one that is `finished` is at `/dicom-web/commitment-requests/{transaction}`.
    """
    found = await list_unreported(archive, principal, ae_title, after, limit)
    listed = [
        {
            "transaction": one.transaction_uid,
            "ae_title": one.ae_title,
            "requested_at": one.requested_at.isoformat(),
            "finished": one.finished,
        }
        for one in found
    ]
    following = found[-1].id if len(found) == limit else None
    return JSONResponse({"commitments": listed, "next": following}, headers=NO_STORE)


@router.post(
    COMMITMENTS + "/{transaction}/reported",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It is listed no more"}},
)
async def post_reported(transaction: Uid, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Note that the AE was told the result; a second time changes nothing."""
    await note_reported(archive, principal, transaction)
    return Response(status_code=204)
