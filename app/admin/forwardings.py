"""The queue of forwarding: shown, filled and emptied by operators, worked off by bridges."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.forwarding import (
    LEASE_SECONDS,
    MOST_CLAIMED,
    claim,
    discard,
    forward,
    let_go,
    list_forwardings,
    renew_claim,
    retry,
    settle_claim,
)
from app.index.forwardings import Item, Listed
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Forwarding"])
NO_STORE = {"Cache-Control": "no-store"}
FORWARDINGS = "/api/v1/forwardings"
CLAIM = FORWARDINGS + "/claims/{claim}"
MOST = 1000
_LEAST, _LONGEST = LEASE_SECONDS
Number = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
Seconds = Annotated[int, Field(strict=True, ge=_LEAST, le=_LONGEST)]
ClaimName = Annotated[str, Path(json_schema_extra={"pattern": "^[0-9a-f]{32}$"})]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wanted(_Body):
    """What is to be sent where: a Study, one of its Series, or one Instance."""

    destination: str
    study: str
    series: str | None = None
    instance: str | None = None


class Chosen(_Body):
    """Which of the queue: by number, or all of a destination; `dead` those alone."""

    ids: Annotated[list[Number], Field(max_length=10_000)] = []
    destination: str | None = None
    dead: bool = False


class ClaimWanted(_Body):
    """How many are to be claimed at most, for how long, and for which destination if not any."""

    destination: str | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=MOST_CLAIMED)] = 100
    seconds: Seconds = 60


class Renewed(_Body):
    """For how many seconds from now a claim is to be held."""

    seconds: Seconds = 60


class Failure(_Body):
    """One that could not be sent, and why; no patient's name."""

    id: Number
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Results(_Body):
    """What became of some of a claim."""

    done: Annotated[list[Number], Field(max_length=MOST_CLAIMED)] = []
    failed: Annotated[list[Failure], Field(max_length=MOST_CLAIMED)] = []


@router.get(FORWARDINGS, responses=contract.FEED)
async def get_forwardings(
    archive: ArchiveDep,
    principal: PrincipalDep,
    destination: Annotated[str | None, Query(description="An AE Title")] = None,
    state: Annotated[Literal["waiting", "claimed", "dead"] | None, Query()] = None,
    after: Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many of one answer")] = MOST,
) -> JSONResponse:
    """Return what is to be forwarded, in the order in which it was queued."""
    found = await list_forwardings(archive, principal, destination, state, after, limit)
    following = found[-1].item.id if len(found) == limit else None
    body = {"forwardings": [_listed(one) for one in found], "next": following}
    return JSONResponse(body, headers=NO_STORE)


@router.post(
    FORWARDINGS, status_code=201, responses=contract.SAID, openapi_extra=json_contract(Wanted)
)
async def post_forwarding(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Queue a Study, a Series or an Instance by hand; what is dead is tried again.

    `queued` is the number of Instances that were not waiting already.
    """
    wanted = await read_json(request, Wanted)
    names = (wanted.study, wanted.series, wanted.instance)
    queued = await forward(archive, principal, wanted.destination, *names)
    return JSONResponse({"queued": queued}, status_code=201, headers=NO_STORE)


@router.post(FORWARDINGS + "/retry", responses=contract.SAID, openapi_extra=json_contract(Chosen))
async def post_retry(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Let some be due at once, as if they were new."""
    chosen = await read_json(request, Chosen)
    count = await retry(archive, principal, chosen.ids, chosen.destination, dead=chosen.dead)
    return JSONResponse({"retried": count}, headers=NO_STORE)


@router.post(FORWARDINGS + "/discard", responses=contract.SAID, openapi_extra=json_contract(Chosen))
async def post_discard(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Give some up: they are not sent."""
    chosen = await read_json(request, Chosen)
    count = await discard(archive, principal, chosen.ids, chosen.destination, dead=chosen.dead)
    return JSONResponse({"discarded": count}, headers=NO_STORE)


@router.post(
    FORWARDINGS + "/claims",
    responses={**contract.SAID, 204: {"description": "Nothing is due"}},
    openapi_extra=json_contract(ClaimWanted),
    response_class=JSONResponse,
)
async def post_claim(request: Request, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Claim what is due for one destination, Series by Series, until a moment.

    What is not told of by then, nor renewed, is due again. A claim counts as a try.
    """
    wanted = await read_json(request, ClaimWanted)
    made = await claim(archive, principal, wanted.destination, wanted.limit, wanted.seconds)
    if made is None:
        return Response(status_code=204, headers=NO_STORE)
    name, claimed = made
    address = claimed.destination
    body = {
        "claim": name,
        "until": claimed.until.isoformat(),
        "destination": {
            "ae_title": address.ae_title,
            "host": address.host,
            "port": address.port,
            "tls": address.tls,
        },
        "instances": [_item(one) for one in claimed.items],
    }
    return JSONResponse(body, headers=NO_STORE)


@router.put(CLAIM, responses=contract.SAID, openapi_extra=json_contract(Renewed))
async def put_claim(
    request: Request, claim: ClaimName, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Hold what is left of a claim for longer; 404 where nothing is left of it."""
    wanted = await read_json(request, Renewed)
    until = await renew_claim(archive, principal, claim, wanted.seconds)
    return JSONResponse({"until": until}, headers=NO_STORE)


@router.post(CLAIM + "/results", responses=contract.SAID, openapi_extra=json_contract(Results))
async def post_results(
    request: Request, claim: ClaimName, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Tell what became of some of a claim; what failed is tried again later, for three days.

    The answer counts those that were heeded. The others were no longer of this claim.
    """
    results = await read_json(request, Results)
    failed = {one.id: one.reason for one in results.failed}
    told = await settle_claim(archive, principal, claim, results.done, failed)
    return JSONResponse({"done": told.done, "failed": told.failed}, headers=NO_STORE)


@router.delete(
    CLAIM,
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "What was left of it is due again"}},
)
async def delete_claim(claim: ClaimName, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Leave what is left of a claim to whoever asks next; for those it was no try."""
    await let_go(archive, principal, claim)
    return Response(status_code=204)


def _item(one: Item) -> dict[str, Any]:
    return {
        "id": one.id,
        "study": one.study,
        "series": one.series,
        "instance": one.instance,
        "sop_class": one.sop_class,
        "transfer_syntax": one.transfer_syntax,
        "size": one.size,
        "tries": one.tries,
    }


def _listed(one: Listed) -> dict[str, Any]:
    return {
        **_item(one.item),
        "destination": one.destination,
        "state": one.state,
        "reason": one.reason,
        "made_at": one.made_at.isoformat(),
        "due_at": one.due_at.isoformat(),
    }
