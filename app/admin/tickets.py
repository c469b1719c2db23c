"""Tickets: made, listed and revoked."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.tickets import MOST_MINUTES, list_tickets, make_ticket, revoke_ticket
from app.dicom.uids import check_uid
from app.index.tickets import Ticket
from app.rights import Verb
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Tickets"])
NO_STORE = {"Cache-Control": "no-store"}
MOST = 1000
TICKETS = "/api/v1/tickets"
Given = Literal["search", "view", "download"]
Number = Annotated[int, Path(ge=1, le=2**63 - 1, description="`number` of the ticket")]


class TicketWanted(BaseModel):
    """Which Study, for how many minutes, and what of `search`, `view` and `download`."""

    model_config = ConfigDict(extra="forbid")
    study: Annotated[str, Field(max_length=64)]
    minutes: Annotated[float, Field(gt=0, le=MOST_MINUTES)] = 15
    verbs: Annotated[list[Given], Field(min_length=1, max_length=9)] = ["view"]


@router.post(
    TICKETS,
    status_code=201,
    responses=contract.SAID,
    openapi_extra=json_contract(TicketWanted),
)
async def post_ticket(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Make a ticket for one Study, for a viewer or an `<img>` that can send no header.

    It is shown once. It stands behind an address that reads the Study as `?ticket=…`, or in
    `Authorization: Bearer …`, and allows what its maker is allowed of it, until it ends or is
    revoked.
    """
    wanted = await read_json(request, TicketWanted)
    study = check_uid(wanted.study)
    verbs = [Verb(verb) for verb in wanted.verbs]
    made, secret = await make_ticket(archive, principal, study, wanted.minutes, verbs)
    body = {"ticket": secret, **_shown(made)}
    return JSONResponse(body, status_code=201, headers=NO_STORE)


@router.get(TICKETS, responses=contract.FEED)
async def get_tickets(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Tickets of one answer")] = MOST,
) -> JSONResponse:
    """Return the tickets in force: one's own, or all for who administers. Never their secrets."""
    found = await list_tickets(archive, principal, after, limit)
    following = found[-1].number if len(found) == limit else None
    body = {"tickets": [_shown(one) for one in found], "next": following}
    return JSONResponse(body, headers=NO_STORE)


@router.delete(
    TICKETS + "/{ticket}",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It opens nothing any more"}},
)
async def delete_ticket(ticket: Number, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Revoke a ticket of one's own, or anybody's for who administers."""
    await revoke_ticket(archive, principal, ticket)
    return Response(status_code=204)


def _shown(ticket: Ticket) -> dict[str, Any]:
    return {
        "number": ticket.number,
        "study": ticket.study,
        "verbs": sorted(ticket.verbs),
        "by": ticket.maker,
        "made": ticket.made_at.isoformat(),
        "expires": ticket.expires_at.isoformat(),
    }
