"""API keys, for administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.api_keys import (
    DEFAULT_DAYS,
    MOST_DAYS,
    WantedKey,
    list_keys,
    make_key,
    revoke_key,
)
from app.archive.granting import MOST_LABELS, NAME
from app.index.api_keys import ApiKey
from app.rights import Role
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["API keys"])
NO_STORE = {"Cache-Control": "no-store"}
KEYS = "/api/v1/keys"
KeyName = Annotated[str, Path(json_schema_extra={"pattern": f"^{NAME}$", "maxLength": 64})]


class KeyWanted(BaseModel):
    """A key to be made. Without labels it is for all studies; with `days` of null for ever."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=64)]
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]
    labels: Annotated[list[str], Field(min_length=1, max_length=MOST_LABELS)] | None = None
    days: Annotated[int, Field(strict=True, ge=1, le=MOST_DAYS)] | None = DEFAULT_DAYS


@router.get(KEYS, responses=contract.KNOWN)
async def get_api_keys(archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Return all API keys, revoked ones too; never what callers send."""
    keys = await list_keys(archive, principal)
    return JSONResponse({"keys": [_shown(key) for key in keys]}, headers=NO_STORE)


@router.post(KEYS, status_code=201, responses=contract.SAID, openapi_extra=json_contract(KeyWanted))
async def post_api_key(
    request: Request, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Make an API key. `key` of the answer is what callers send, and is shown this once."""
    wanted = await read_json(request, KeyWanted)
    asked = WantedKey(wanted.name, wanted.roles, wanted.labels, wanted.days)
    made = await make_key(archive, principal, asked)
    body = {**_shown(made.key), "key": made.text}
    return JSONResponse(body, status_code=201, headers=NO_STORE)


@router.delete(
    KEYS + "/{name}",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It counts no more, in no process"}},
)
async def delete_api_key(name: KeyName, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Revoke an API key."""
    await revoke_key(archive, principal, name)
    return Response(status_code=204)


def _shown(key: ApiKey) -> dict[str, Any]:
    times = {
        name: at.isoformat() if at else None
        for name, at in (
            ("created_at", key.created_at),
            ("expires_at", key.expires_at),
            ("revoked_at", key.revoked_at),
            ("last_used_at", key.last_used_at),
        )
    }
    labels = None if key.labels is None else list(key.labels)
    rights = {"roles": list(key.roles), "labels": labels}
    return {"id": key.id, "name": key.name, **rights, "created_by": key.created_by, **times}
