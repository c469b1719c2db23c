"""The change feed: what was stored, removed, rejected and brought back, in commit order."""

import re
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from app.archive.change_json import change_as_json
from app.archive.changes import LONGEST_WAIT, MOST, Still, follow_changes, read_changes
from app.errors import Forbidden, InvalidRequest, Unauthenticated
from app.index.events import Event, Position
from app.mime.media_types import Form
from app.rights import Principal, Verb
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep, WantedDep

router = APIRouter(tags=["Changes"])
JSON, EVENTS = "application/json", "text/event-stream"
_STREAM = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep them back
}
_ANSWERS: contract.Responses = {
    **contract.PLACE,
    200: {
        "description": "Changes and the position to go on from; or a stream of events, each a"
        " change with its position as `id`",
        "content": {JSON: {}, EVENTS: {}},
    },
}
_POSITION = re.compile(r"([0-9]{1,19})\.([0-9]{1,18})", re.ASCII)


async def _place(
    since: Annotated[
        str, Query(description="`next` of the answer before; without it, all from the beginning")
    ] = "",
    last_event_id: Annotated[
        str, Header(description="The last `id` of a stream; goes before `since`")
    ] = "",
) -> Position:
    return read_position(last_event_id or since, "since")


@router.get("/api/v1/changes", responses=_ANSWERS, response_class=Response)
async def get_changes(  # noqa: PLR0913, PLR0917 - what FastAPI hands in
    request: Request,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    after: Annotated[Position, Depends(_place)],
    limit: Annotated[int, Query(ge=1, le=MOST, description="Changes of one answer")] = MOST,
    wait: Annotated[
        float, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait where there is none yet")
    ] = 0,
) -> Response:
    """Return what has changed since, in commit order: nothing is left out, nothing comes twice.

    As `text/event-stream` changes follow as they come; `limit` and `wait` are for JSON.
    """
    named = Verb.ADMINISTER in principal.verbs
    if _is_stream(wanted):
        changes = await follow_changes(archive, principal, after, _still(request, principal))
        return StreamingResponse(_told(changes, named=named), headers=_STREAM, media_type=EVENTS)
    events, last = await read_changes(archive, principal, after, limit, wait)
    if wait and await request.app.state.identity.principal(request.scope) != principal:
        events, last = [], after  # its rights have changed meanwhile; it comes again
    body = {"changes": [change_as_json(event, named=named) for event in events], "next": str(last)}
    return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _still(request: Request, principal: Principal) -> Still:
    """Return what asks again who makes a request that goes on for long."""

    async def still() -> bool:
        try:
            return bool(await request.app.state.identity.principal(request.scope) == principal)
        except (Unauthenticated, Forbidden):
            return False

    return still


def _is_stream(wanted: Sequence[Form]) -> bool:
    """Say whether a stream of events is wanted more than JSON, which is the default."""
    for form in wanted:
        if not form.multipart and (form.covers(JSON) or form.covers(EVENTS)):
            return not form.covers(JSON)
    return False


async def _told(
    changes: AsyncIterator[tuple[list[Event], Position]], *, named: bool
) -> AsyncIterator[bytes]:
    """Yield changes as a stream of events; where there are none, a comment and the position."""
    yield b": changes\n\n"
    async for events, last in changes:
        for event in events:
            data = orjson.dumps(change_as_json(event, named=named)).decode()
            yield f"id: {event.position}\ndata: {data}\n\n".encode()
        if not events:
            yield f": nothing\nid: {last}\n\n".encode()


def read_position(text: str, name: str) -> Position:
    """Return the position that a parameter names; the beginning where it is empty.

    Raises:
        InvalidRequest: it is none.
    """
    if not text:
        return Position()
    match = _POSITION.fullmatch(text)
    if match is None or int(match[1]) >= 2**63:
        raise InvalidRequest(f"{name} takes `next` of an answer, such as 812.17")
    return Position(int(match[1]), int(match[2]))
