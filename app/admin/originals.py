"""The stored bytes of an Instance, as they were received: in whatever Transfer Syntax that was."""

from fastapi import APIRouter, Request, Response

from app.archive.context import Archive
from app.archive.original_file import retrieve_original
from app.dicom.uids import InstanceRef, check_uid
from app.rights import Principal
from app.web import contract
from app.web.conditions import read_conditions
from app.web.deps import ArchiveDep, ConditionsDep, InstancePath, PrincipalDep
from app.web.direct import DirectRoute
from app.web.streams import answer_response

router = APIRouter(tags=["Originals"], default_response_class=Response)

ORIGINAL = "/api/v1/studies/{study}/series/{series}/instances/{instance}/original"

_ORIGINAL: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The stored file, byte for byte; its ETag is its SHA-256",
        "content": {"application/octet-stream": {}},
    },
}


@router.get(ORIGINAL, responses=_ORIGINAL)
async def get_original(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep, conditions: ConditionsDep
) -> Response:
    """Return the file of an Instance as it is stored, whatever its Transfer Syntax."""
    answer = await retrieve_original(archive, principal, ref, conditions.knows)
    return await answer_response(answer, conditions)


async def _original(
    request: Request, archive: Archive, principal: Principal, _: str, names: tuple[str, ...]
) -> Response:
    ref = InstanceRef(*map(check_uid, names))
    return await get_original(ref, archive, principal, read_conditions(request.scope["headers"]))


DIRECT = (DirectRoute("GET", ORIGINAL, _original),)
"""A bridge asks for one after the other (C-MOVE)."""
