"""DELETE of Studies, Series and Instances, and their rejection, at URLs that viewers use.

The standard has no such transactions; these are the ones that OHIF, Slicer and dicomweb-client
send, and that other archives answer. Beside them is the way back from a DELETE.
"""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from app.archive.removal import delete, reject, restore
from app.archive.restoring import restore_deleted
from app.dicomweb.wado_rs import INSTANCE, SERIES, STUDY
from app.index.restoring import Restored
from app.web import contract
from app.web.deps import (
    ArchiveDep,
    ConditionsDep,
    InstancePath,
    PrincipalDep,
    SeriesPath,
    StudyPath,
)

router = APIRouter(tags=["Delete and reject"], default_response_class=Response)

_DELETED: contract.Responses = {**contract.CHANGE, 204: {"description": "It is gone"}}
_REJECTED: contract.Responses = {
    **contract.CHANGE,
    204: {"description": "It is hidden, and will be refused if it comes again"},
}
_RESTORED: contract.Responses = {**contract.CHANGE, 204: {"description": "It is back"}}
BACK: contract.Responses = {
    **contract.CHANGE,
    200: {
        "description": "How many Instances are back, and how many were here with the same content",
        "content": {"application/json": {}},
    },
}
_REJECT = "/reject/{code}"
_RESTORE = "/restore"


def _done() -> Response:
    return Response(status_code=204)


def back(restored: Restored) -> Response:
    """Return how many Instances were brought back."""
    return JSONResponse({"restored": restored.instances, "present": restored.present})


@router.delete(STUDY, status_code=204, responses=_DELETED)
async def delete_study(
    ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep, asked: ConditionsDep
) -> Response:
    """Delete a Study. Its Instances may be stored again."""
    await delete(archive, principal, ref, asked.check_change)
    return _done()


@router.delete(SERIES, status_code=204, responses=_DELETED)
async def delete_series(
    ref: SeriesPath, archive: ArchiveDep, principal: PrincipalDep, asked: ConditionsDep
) -> Response:
    """Delete a Series. Its Instances may be stored again."""
    await delete(archive, principal, ref, asked.check_change)
    return _done()


@router.delete(INSTANCE, status_code=204, responses=_DELETED)
async def delete_instance(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep, asked: ConditionsDep
) -> Response:
    """Delete an Instance. It may be stored again."""
    await delete(archive, principal, ref, asked.check_change)
    return _done()


@router.post(STUDY + _REJECT, status_code=204, responses=_REJECTED)
async def reject_study(
    ref: StudyPath, code: str, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Reject a Study, for a reason of PS3.16 CID 7011 such as `113001^DCM`."""
    await reject(archive, principal, ref, code)
    return _done()


@router.post(SERIES + _REJECT, status_code=204, responses=_REJECTED)
async def reject_series(
    ref: SeriesPath, code: str, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Reject a Series, for a reason of PS3.16 CID 7011 such as `113001^DCM`."""
    await reject(archive, principal, ref, code)
    return _done()


@router.post(INSTANCE + _REJECT, status_code=204, responses=_REJECTED)
async def reject_instance(
    ref: InstancePath, code: str, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Reject an Instance, for a reason of PS3.16 CID 7011 such as `113001^DCM`."""
    await reject(archive, principal, ref, code)
    return _done()


@router.delete(STUDY + "/reject", status_code=204, responses=_RESTORED)
async def restore_study(ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Bring back all that is rejected of a Study."""
    await restore(archive, principal, ref)
    return _done()


@router.delete(SERIES + "/reject", status_code=204, responses=_RESTORED)
async def restore_series(ref: SeriesPath, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Bring back all that is rejected of a Series."""
    await restore(archive, principal, ref)
    return _done()


@router.delete(INSTANCE + "/reject", status_code=204, responses=_RESTORED)
async def restore_instance(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Bring back a rejected Instance."""
    await restore(archive, principal, ref)
    return _done()


@router.post(STUDY + _RESTORE, responses=BACK)
async def undelete_study(ref: StudyPath, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Bring back all that was deleted of a Study and is not purged, or nothing."""
    return back(await restore_deleted(archive, principal, ref))


@router.post(SERIES + _RESTORE, responses=BACK)
async def undelete_series(
    ref: SeriesPath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Bring back all that was deleted of a Series and is not purged, or nothing."""
    return back(await restore_deleted(archive, principal, ref))


@router.post(INSTANCE + _RESTORE, responses=BACK)
async def undelete_instance(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep
) -> Response:
    """Bring back a deleted Instance."""
    return back(await restore_deleted(archive, principal, ref))
