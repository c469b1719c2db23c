"""The change feed: what was stored, removed, rejected and brought back, in commit order."""

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.archive.change_json import change_as_json
from app.archive.changes import LONGEST_WAIT, MOST, read_changes
from app.errors import InvalidRequest
from app.index.events import Position
from app.rights import Verb
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep

router = APIRouter(tags=["Changes"])
_POSITION = re.compile(r"([0-9]{1,19})\.([0-9]{1,18})", re.ASCII)


@router.get("/api/v1/changes", responses=contract.FEED)
async def get_changes(
    archive: ArchiveDep,
    principal: PrincipalDep,
    since: Annotated[
        str, Query(description="`next` of the answer before; without it, all from the beginning")
    ] = "",
    limit: Annotated[int, Query(ge=1, le=MOST, description="Changes of one answer")] = MOST,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait where there is none yet")
    ] = 0,
) -> JSONResponse:
    """Return what has changed since, in commit order: nothing is left out, nothing comes twice."""
    after = _position(since) if since else Position()
    events, last = await read_changes(archive, principal, after, limit, wait)
    named = Verb.ADMINISTER in principal.verbs
    changes = [change_as_json(event, named=named) for event in events]
    body = {"changes": changes, "next": _text(last)}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _position(text: str) -> Position:
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= 2**63:
        raise InvalidRequest("since takes `next` of an answer, such as 812.17")
    return Position(int(match[1]), int(match[2]))


def _text(position: Position) -> str:
    return f"{position.transaction}.{position.number}"
