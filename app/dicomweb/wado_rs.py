"""WADO-RS: Instances, Metadata and Bulk Data (PS3.18 §10.4). Frames are in `frames`."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.answers import Answer
from app.archive.bulk_data import retrieve_bulk_data
from app.archive.context import Archive
from app.archive.metadata import metadata_etag, retrieve_metadata
from app.archive.metadata_xml import retrieve_metadata_xml
from app.archive.retrieve import retrieve_instances
from app.archive.zipped import ZIP, retrieve_zip
from app.dicom.uids import InstanceRef, Ref
from app.errors import NotAcceptable
from app.mime.media_types import Form
from app.rights import Principal
from app.web.accept import (
    DICOM_JSON,
    DICOM_XML,
    XML_OFFER,
    XML_PARTS,
    chosen_offer,
    gzip_accepted,
)
from app.web.conditions import Conditions, read_conditions
from app.web.deps import (
    ArchiveDep,
    BaseUrlDep,
    ConditionsDep,
    InstancePath,
    PrincipalDep,
    SeriesPath,
    StudyPath,
    WantedDep,
)
from app.web.problems import PROBLEMS
from app.web.responses import not_modified
from app.web.streams import answer_response, metadata_response
from app.web.xml_answers import xml_response

router = APIRouter(tags=["Retrieve (WADO-RS)"], default_response_class=Response)

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"
_INSTANCES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The Instances, one a part",
        "content": {'multipart/related; type="application/dicom"': {}, ZIP: {}},
    },
    206: {"description": "Those that can be made in the accepted form; others were left out"},
    **PROBLEMS,
}
_METADATA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JSON array, one object an Instance; or one XML document an Instance",
        "content": {DICOM_JSON: {}, DICOM_XML: {}, XML_PARTS.name: {}},
    },
    304: {"description": "The caller has it already"},
    **PROBLEMS,
}
_BULK_DATA: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The value's bytes, little endian",
        "content": {
            "application/octet-stream": {},
            'multipart/related; type="application/octet-stream"': {},
        },
    },
    **PROBLEMS,
}


@router.get(STUDY, responses=_INSTANCES)
async def get_study(
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
) -> Response:
    """Retrieve the Instances of a Study (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked)


@router.get(SERIES, responses=_INSTANCES)
async def get_series(
    ref: SeriesPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
) -> Response:
    """Retrieve the Instances of a Series (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked)


@router.get(INSTANCE, responses=_INSTANCES)
async def get_instance(
    ref: InstancePath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
) -> Response:
    """Retrieve an Instance, as a multipart or alone (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked)


async def _instances(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    wanted: Sequence[Form],
    asked: Conditions,
) -> Response:
    answer = await _retrieve(archive, principal, ref, wanted, asked)
    return await answer_response(answer, asked)


async def _retrieve(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    wanted: Sequence[Form],
    asked: Conditions,
) -> Answer:
    """Return the Instances as parts or as a zip, whichever is wanted first and can be made."""
    places = [at for at, form in enumerate(wanted) if form.media_type == ZIP and not form.multipart]
    if not places:
        return await retrieve_instances(archive, principal, ref, wanted, asked.settled_by)
    if places[0]:
        with suppress(NotAcceptable):
            before = wanted[: places[0]]
            return await retrieve_instances(archive, principal, ref, before, asked.settled_by)
    syntaxes = wanted[places[0]].transfer_syntaxes
    return await retrieve_zip(archive, principal, ref, syntaxes, asked.settled_by)


@router.get(STUDY + "/metadata", responses=_METADATA)
async def get_study_metadata(
    request: Request,
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    base_url: BaseUrlDep,
) -> Response:
    """Retrieve the Metadata of a Study (PS3.18 §10.4.1.1.2)."""
    return await _metadata(request, archive, principal, ref, base_url)


@router.get(SERIES + "/metadata", responses=_METADATA)
async def get_series_metadata(
    request: Request,
    ref: SeriesPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    base_url: BaseUrlDep,
) -> Response:
    """Retrieve the Metadata of a Series (PS3.18 §10.4.1.1.2)."""
    return await _metadata(request, archive, principal, ref, base_url)


@router.get(INSTANCE + "/metadata", responses=_METADATA)
async def get_instance_metadata(
    request: Request,
    ref: InstancePath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    base_url: BaseUrlDep,
) -> Response:
    """Retrieve the Metadata of an Instance (PS3.18 §10.4.1.1.2)."""
    return await _metadata(request, archive, principal, ref, base_url)


async def _metadata(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, ref: Ref, base_url: str
) -> Response:
    xml = (XML_PARTS, XML_OFFER) if isinstance(ref, InstanceRef) else (XML_PARTS,)
    offer = chosen_offer(request, *xml)
    etag = await metadata_etag(archive, principal, ref, base_url)
    if offer.is_xml:
        etag = f'{etag[:-1]}-xml"'
    conditions = read_conditions(request.scope["headers"])
    conditions.check(etag.strip('"'))
    if conditions.knows(etag.strip('"')):
        return not_modified(etag)
    if offer.is_xml:
        documents = await retrieve_metadata_xml(archive, principal, ref, base_url)
        return xml_response(request, documents, {"ETag": etag}, multipart=offer.multipart)
    metadata = await retrieve_metadata(archive, principal, ref, base_url, etag)
    zipped = gzip_accepted(request.headers.get("accept-encoding", ""))
    return metadata_response(metadata, offer.media_type, etag, zipped=zipped)


@router.get(INSTANCE + "/bulkdata/{path:path}", responses=_BULK_DATA)
async def get_bulk_data(  # noqa: PLR0913, PLR0917 - what FastAPI hands in
    ref: InstancePath,
    path: str,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    base_url: BaseUrlDep,
    asked: ConditionsDep,
) -> Response:
    """Retrieve a bulk value by the BulkDataURI of the Metadata (PS3.18 §10.4.1.1.5)."""
    url = _bulk_data_url(base_url, ref, path)
    answer = await retrieve_bulk_data(archive, principal, ref, path, wanted, url, asked.settled_by)
    return await answer_response(answer, asked)


def _bulk_data_url(base_url: str, ref: InstanceRef, path: str) -> str:
    return f"{instance_url(base_url, ref)}/bulkdata/{path}"


def instance_url(base_url: str, ref: InstanceRef) -> str:
    """Return the address of an Instance."""
    uids = {"study": ref.study, "series": ref.series, "instance": ref.instance}
    return base_url + INSTANCE.format(**uids)
