"""The stored bytes of an Instance, as they were received: in whatever Transfer Syntax that was."""

from fastapi import APIRouter, Response

from app.archive.original_file import retrieve_original
from app.web import contract
from app.web.deps import ArchiveDep, ConditionsDep, InstancePath, PrincipalDep
from app.web.streams import answer_response

router = APIRouter(prefix="/api/v1", tags=["Originals"], default_response_class=Response)

_ORIGINAL: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The stored file, byte for byte; its ETag is its SHA-256",
        "content": {"application/octet-stream": {}},
    },
}


@router.get("/studies/{study}/series/{series}/instances/{instance}/original", responses=_ORIGINAL)
async def get_original(
    ref: InstancePath, archive: ArchiveDep, principal: PrincipalDep, conditions: ConditionsDep
) -> Response:
    """Return the file of an Instance as it is stored, whatever its Transfer Syntax."""
    answer = await retrieve_original(archive, principal, ref, conditions.knows)
    return await answer_response(answer, conditions)
