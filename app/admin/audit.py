"""The audit trail: who read, stored and deleted what, for auditors."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from app.admin.changes import read_position
from app.archive.audit import MOST, entry_as_json, read_audit
from app.dicom.uids import check_uid
from app.errors import InvalidRequest
from app.index.audit_log import Wanted
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep

router = APIRouter(tags=["Audit"])
NO_STORE = {"Cache-Control": "no-store"}
_TIME = "ISO 8601, UTC if it does not say else"
_TAKEN = ("study", "principal", "action", "from", "to", "after", "limit")


async def _wanted(
    request: Request,
    study: Annotated[str, Query(description="Study Instance UID")] = "",
    principal: Annotated[str, Query(description="Name of who did it", max_length=256)] = "",
    action: Annotated[
        list[str] | None, Query(description="Such as viewed or removed; may be repeated")
    ] = None,
    since: Annotated[str, Query(alias="from", description=f"Not before this time: {_TIME}")] = "",
    until: Annotated[str, Query(alias="to", description=f"Before this time: {_TIME}")] = "",
) -> Wanted:
    if set(request.query_params).difference(_TAKEN):
        raise InvalidRequest(f"only these parameters are taken: {', '.join(_TAKEN)}")
    return Wanted(
        study=check_uid(study) if study else "",
        principal=principal,
        kinds=tuple(action or ()),
        since=read_moment(since, "from"),
        until=read_moment(until, "to"),
    )


@router.get("/api/v1/audit", responses=contract.FEED)
async def get_audit(
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: Annotated[Wanted, Depends(_wanted)],
    after: Annotated[str, Query(description="`next` of the answer before")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST, description="Entries of one answer")] = MOST,
) -> JSONResponse:
    """Return entries of the audit trail, reads and writes, in the order of the log.

    An answer may be short, or empty, and `more` be true all the same: go on from `next`.
    """
    place = read_position(after, "after")
    page = await read_audit(archive, principal, wanted, place, limit)
    body = {
        "entries": [entry_as_json(event) for event in page.events],
        "next": str(page.following),
        "more": page.more,
    }
    return JSONResponse(body, headers=NO_STORE)


def read_moment(text: str, name: str) -> datetime | None:
    """Return the moment that a parameter names, None where it is empty.

    Raises:
        InvalidRequest: it is none.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} takes a time such as 2026-01-31T08:00:00Z") from None
