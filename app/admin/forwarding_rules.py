"""Where Instances can be sent to, and by which rules they are."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.forwarding import (
    MOST_VALUES,
    add_rule,
    find_destination,
    list_destinations,
    list_rules,
    put_destination,
    remove_destination,
    remove_rule,
)
from app.index.forwarding_rules import Address, Destination, Rule, Terms
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Forwarding"])
NO_STORE = {"Cache-Control": "no-store"}
DESTINATIONS = "/api/v1/destinations"
DESTINATION = DESTINATIONS + "/{ae_title}"
RULES = "/api/v1/forwarding-rules"
Title = Annotated[str, Path(max_length=16, description="An AE Title")]
RuleNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Values = Annotated[list[str], Field(max_length=MOST_VALUES)]


class DestinationWanted(BaseModel):
    """Where an AE listens."""

    model_config = ConfigDict(extra="forbid")
    host: Annotated[str, Field(min_length=1, max_length=255)]
    port: Annotated[int, Field(strict=True, ge=1, le=65_535)]
    tls: Annotated[bool, Field(strict=True)] = False


class RuleWanted(BaseModel):
    """A rule: what came from these AEs, of these modalities and SOP Classes; none is any."""

    model_config = ConfigDict(extra="forbid")
    destination: str
    sources: Values = []
    modalities: Values = []
    sop_classes: Values = []


@router.get(DESTINATIONS, responses=contract.FEED)
async def get_destinations(archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Return all AEs that Instances can be sent to, by their titles."""
    found = await list_destinations(archive, principal)
    return JSONResponse({"destinations": [_shown(one) for one in found]}, headers=NO_STORE)


@router.get(DESTINATION, responses=contract.RULE)
async def get_destination(
    ae_title: Title, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Return where an AE listens."""
    return JSONResponse(
        _shown(await find_destination(archive, principal, ae_title)), headers=NO_STORE
    )


@router.put(
    DESTINATION,
    status_code=204,
    response_class=Response,
    responses={
        **contract.SAID,
        201: {"description": "It is new"},
        204: {"description": "It takes the place of what was known of this AE"},
    },
    openapi_extra=json_contract(DestinationWanted),
)
async def put_destination_(
    request: Request, ae_title: Title, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Keep where an AE listens."""
    wanted = await read_json(request, DestinationWanted)
    address = Address(ae_title, wanted.host, wanted.port, wanted.tls)
    new = await put_destination(archive, principal, address)
    return Response(status_code=201 if new else 204)


@router.delete(
    DESTINATION,
    status_code=204,
    response_class=Response,
    responses={**contract.SAID, 204: {"description": "Nothing can be sent there any more"}},
)
async def delete_destination(
    ae_title: Title, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Forget an AE; 409 while a rule names it or something waits to be sent there."""
    await remove_destination(archive, principal, ae_title)
    return Response(status_code=204)


@router.get(RULES, responses=contract.FEED)
async def get_forwarding_rules(archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Return all rules, oldest first."""
    rules = await list_rules(archive, principal)
    return JSONResponse({"rules": [_described(one) for one in rules]}, headers=NO_STORE)


@router.post(
    RULES, status_code=201, responses=contract.SAID, openapi_extra=json_contract(RuleWanted)
)
async def post_forwarding_rule(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Forward what is stored from now on: every Instance that meets the rule goes there, too.

    What came from the destination itself does not go back.
    """
    wanted = await read_json(request, RuleWanted)
    lists = map(tuple, (wanted.sources, wanted.modalities, wanted.sop_classes))
    made = await add_rule(archive, principal, Terms(wanted.destination, *lists))
    return JSONResponse(_described(made), status_code=201, headers=NO_STORE)


@router.delete(
    RULES + "/{rule}",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It queues nothing more"}},
)
async def delete_forwarding_rule(
    rule: RuleNumber, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Take a rule away; what it has queued is forwarded all the same."""
    await remove_rule(archive, principal, rule)
    return Response(status_code=204)


def _shown(one: Destination) -> dict[str, Any]:
    address = one.address
    return {
        "ae_title": address.ae_title,
        "host": address.host,
        "port": address.port,
        "tls": address.tls,
        "made_by": one.made_by,
        "made_at": one.made_at.isoformat(),
    }


def _described(rule: Rule) -> dict[str, Any]:
    terms = rule.terms
    return {
        "id": rule.id,
        "destination": terms.destination,
        "sources": list(terms.sources),
        "modalities": list(terms.modalities),
        "sop_classes": list(terms.sop_classes),
        "made_by": rule.made_by,
        "made_at": rule.made_at.isoformat(),
    }
