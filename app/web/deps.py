"""What routes ask for: the archive, who asks, the base of URLs, and what a path names."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.archive.context import Archive
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef, check_uid
from app.mime.media_types import Form
from app.rights import Principal
from app.web.accept import wanted_forms
from app.web.conditions import Conditions, read_conditions
from app.web.forwarded import base_url_of


async def _archive(request: Request) -> Archive:
    archive: Archive = request.app.state.archive
    return archive


async def _principal(request: Request) -> Principal:
    principal: Principal = await request.app.state.identity.principal(request.scope)
    return principal


async def _base_url(request: Request) -> str:
    return base_url_of(request.scope, request.app.state)


async def _wanted(request: Request) -> tuple[Form, ...]:
    return wanted_forms(request)


Uid = Annotated[str, Path(json_schema_extra={"pattern": r"^[0-9]+(\.[0-9]+)*$", "maxLength": 64})]
"""A UID, as the contract says it; `check_uid` checks it."""


async def _study(study: Uid) -> StudyRef:
    return StudyRef(check_uid(study))


async def _series(study: Uid, series: Uid) -> SeriesRef:
    return SeriesRef(check_uid(study), check_uid(series))


async def _instance(study: Uid, series: Uid, instance: Uid) -> InstanceRef:
    return InstanceRef(check_uid(study), check_uid(series), check_uid(instance))


async def _conditions(request: Request) -> Conditions:
    return read_conditions(request.scope["headers"])


ArchiveDep = Annotated[Archive, Depends(_archive)]
PrincipalDep = Annotated[Principal, Depends(_principal)]
BaseUrlDep = Annotated[str, Depends(_base_url)]
"""The DICOMweb base, absolute and without a slash at its end; never made from `Host`."""
ConditionsDep = Annotated[Conditions, Depends(_conditions)]
"""What the caller has already, and which bytes it wants."""
WantedDep = Annotated[tuple[Form, ...], Depends(_wanted)]
StudyPath = Annotated[StudyRef, Depends(_study)]
SeriesPath = Annotated[SeriesRef, Depends(_series)]
InstancePath = Annotated[InstanceRef, Depends(_instance)]
