"""What is deleted and can be brought back, and until when."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.archive.context import Archive
from app.archive.restoring import list_deleted, list_deleted_non_patient, purged_at
from app.dicom.non_patient import category_of
from app.dicom.uids import check_uid
from app.index.removed import DeletedNonPatient, DeletedStudy
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep

router = APIRouter(tags=["Retention"])
NO_STORE = {"Cache-Control": "no-store"}
MOST = 1000


@router.get("/api/v1/removed", responses=contract.FEED)
async def get_removed(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[str, Query(description="`next` of the answer before")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST, description="Studies of one answer")] = MOST,
) -> JSONResponse:
    """Return the Studies of which something is deleted and not yet purged, in order of UID.

    `purged_at` is when the first of it goes for good, null if that is not by itself.
    """
    found = await list_deleted(archive, principal, check_uid(after) if after else "", limit)
    body = {
        "removed": [_study(archive, one) for one in found],
        "next": found[-1].study if len(found) == limit else None,
    }
    return JSONResponse(body, headers=NO_STORE)


@router.get("/api/v1/removed/non-patient", responses=contract.FEED)
async def get_removed_non_patient(
    archive: ArchiveDep,
    principal: PrincipalDep,
    after: Annotated[int, Query(ge=0, le=2**62, description="`next` of the answer before")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Instances of one answer")] = MOST,
) -> JSONResponse:
    """Return the deleted Instances of no Patient that are not yet purged."""
    found = await list_deleted_non_patient(archive, principal, after, limit)
    body = {
        "removed": [_non_patient(archive, one) for one in found],
        "next": found[-1].id if len(found) == limit else None,
    }
    return JSONResponse(body, headers=NO_STORE)


def _study(archive: Archive, one: DeletedStudy) -> dict[str, Any]:
    return {
        "study": one.study,
        "instances": one.instances,
        "bytes": one.bytes,
        "deleted_at": one.last_at.isoformat(),
        "purged_at": _text(purged_at(archive, one.first_at, held=one.held)),
        "held": one.held,
    }


def _non_patient(archive: Archive, one: DeletedNonPatient) -> dict[str, Any]:
    category = category_of(one.sop_class_uid)
    return {
        "category": category.name if category else None,
        "instance": one.instance,
        "bytes": one.bytes,
        "deleted_at": one.at.isoformat(),
        "purged_at": _text(purged_at(archive, one.at)),
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
