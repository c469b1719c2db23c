"""The change feed: what was stored, removed, rejected and brought back, in commit order."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.archive.changes import LONGEST_WAIT, MOST, read_changes
from app.errors import InvalidRequest
from app.index.events import Event, Position
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
    changes = [_change(event, named=named) for event in events]
    body = {"changes": changes, "next": _text(last)}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _position(text: str) -> Position:
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= 2**63:
        raise InvalidRequest("since takes `next` of an answer, such as 812.17")
    return Position(int(match[1]), int(match[2]))


def _text(position: Position) -> str:
    return f"{position.transaction}.{position.number}"


def _change(event: Event, *, named: bool) -> dict[str, Any]:
    """Return a change as JSON; who made it, and why, is for administrators."""
    change: dict[str, Any] = {
        "position": _text(event.position),
        "at": event.at.isoformat(),
        "kind": event.kind,
        **event.payload,
    }
    if "series" in change:
        change["series"] = {uid: _digests(those) for uid, those in change["series"].items()}
    if isinstance(change.get("instances"), dict):
        change["instances"] = _digests(change["instances"])
    if named:
        return {**change, "actor": event.actor}
    change.pop("because", None)  # why a Study is held
    return change


def _digests(instances: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of each Instance; where it lies, which the log has too, is ours."""
    return {uid: one[0] if isinstance(one, list) else one for uid, one in instances.items()}
