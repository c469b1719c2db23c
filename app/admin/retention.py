"""Retention rules: how long Studies stay, at least and at most."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.archive.retention import (
    MOST_DAYS,
    activate_rule,
    add_rule,
    deactivate_rule,
    list_rules,
    preview_rule,
    remove_rule,
)
from app.index.retention_rules import Action, CountedFrom, Rule, Terms, described
from app.web import contract
from app.web.deps import ArchiveDep, PrincipalDep
from app.web.json_bodies import json_contract, read_json

router = APIRouter(tags=["Retention"])
NO_STORE = {"Cache-Control": "no-store"}
RULES = "/api/v1/retention-rules"
RuleNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Values = Annotated[list[str], Field(max_length=100)]


class RuleWanted(BaseModel):
    """A rule about Series of these modalities, stations and institutions; none is any.

    With labels it is about Studies alone that bear one of them.
    """

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=64)]
    action: Literal["delete", "keep"]
    days: Annotated[int, Field(strict=True, ge=1, le=MOST_DAYS)]
    counted_from: Literal["study-date", "stored"] = "study-date"
    modalities: Values = []
    stations: Values = []
    institutions: Values = []
    labels: Values = []

    def terms(self) -> Terms:
        """Return it as the archive takes it."""
        lists = (self.modalities, self.stations, self.institutions, self.labels)
        words = Action(self.action), self.days, CountedFrom(self.counted_from)
        return Terms(self.name, *words, *map(tuple, lists))


@router.get(RULES, responses=contract.KNOWN)
async def get_rules(archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Return all retention rules."""
    rules = await list_rules(archive, principal)
    return JSONResponse({"rules": [_shown(one) for one in rules]}, headers=NO_STORE)


@router.post(
    RULES, status_code=201, responses=contract.SAID, openapi_extra=json_contract(RuleWanted)
)
async def post_rule(request: Request, archive: ArchiveDep, principal: PrincipalDep) -> JSONResponse:
    """Make a rule, as a draft: it does nothing until it is activated.

    A rule that deletes takes a Study whole, softly, if each of its Series meets the rule; one that
    keeps refuses to delete a Study that has such a Series and is younger.
    """
    wanted = await read_json(request, RuleWanted)
    made = await add_rule(archive, principal, wanted.terms())
    return JSONResponse(_shown(made), status_code=201, headers=NO_STORE)


@router.get(RULES + "/{rule}/preview", responses=contract.RULE)
async def get_preview(
    rule: RuleNumber, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Count what a rule would delete now, or what it keeps from being deleted."""
    found = await preview_rule(archive, principal, rule)
    body = {
        "studies": found.studies,
        "instances": found.instances,
        "bytes": found.bytes,
        "held": found.held,
        "kept": found.kept,
        "sample": list(found.sample),
    }
    return JSONResponse(body, headers=NO_STORE)


@router.post(RULES + "/{rule}/activate", responses=contract.RULE)
async def post_activation(
    rule: RuleNumber, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Let a rule act: one that keeps at once, one that deletes once a day."""
    return JSONResponse(_shown(await activate_rule(archive, principal, rule)), headers=NO_STORE)


@router.post(RULES + "/{rule}/deactivate", responses=contract.RULE)
async def post_deactivation(
    rule: RuleNumber, archive: ArchiveDep, principal: PrincipalDep
) -> JSONResponse:
    """Let a rule rest: it is a draft again, and neither deletes nor keeps."""
    return JSONResponse(_shown(await deactivate_rule(archive, principal, rule)), headers=NO_STORE)


@router.delete(
    RULES + "/{rule}",
    status_code=204,
    response_class=Response,
    responses={**contract.RULE, 204: {"description": "It acts no more"}},
)
async def delete_rule(rule: RuleNumber, archive: ArchiveDep, principal: PrincipalDep) -> Response:
    """Take a rule away."""
    await remove_rule(archive, principal, rule)
    return Response(status_code=204)


def _shown(rule: Rule) -> dict[str, Any]:
    activated = rule.activated_at
    return {
        "id": rule.id,
        **described(rule.terms),
        "state": "active" if activated else "draft",
        "made_by": rule.made_by,
        "made_at": rule.made_at.isoformat(),
        "activated_at": activated.isoformat() if activated else None,
    }
