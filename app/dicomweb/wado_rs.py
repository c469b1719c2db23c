"""WADO-RS: Instances, Metadata and Bulk Data (PS3.18 §10.4). Frames are in `frames`."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.archive.answers import Answer
from app.archive.bulk_data import retrieve_bulk_data
from app.archive.context import Archive
from app.archive.metadata import metadata_etag, retrieve_metadata
from app.archive.metadata_xml import retrieve_metadata_xml
from app.archive.retrieve import retrieve_instances
from app.archive.zipped import ZIP, ZipRequest, retrieve_zip
from app.dicom.uids import InstanceRef, Ref
from app.errors import InvalidRequest, NotAcceptable
from app.mime.media_types import Form
from app.rights import Principal
from app.web import contract
from app.web.accept import (
    DICOM_JSON,
    DICOM_XML,
    XML_OFFER,
    XML_PARTS,
    Offer,
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
from app.web.responses import not_modified
from app.web.streams import answer_response, metadata_response
from app.web.xml_answers import xml_response

router = APIRouter(tags=["Retrieve (WADO-RS)"], default_response_class=Response)

STUDY = "/studies/{study}"
SERIES = STUDY + "/series/{series}"
INSTANCE = SERIES + "/instances/{instance}"
_LEFT_OUT = "Those that can be made in the accepted form; others were left out"
_INSTANCES: contract.Responses = {
    **contract.READ,
    200: {
        "description": "The Instances, one a part",
        "content": {'multipart/related; type="application/dicom"': {}, ZIP: {}},
    },
    206: {"description": _LEFT_OUT},
}
_INSTANCE: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The Instance, as the only part or alone",
        "content": {**_INSTANCES[200]["content"], "application/dicom": {}},
    },
}
_METADATA: contract.Responses = {
    **contract.READ,
    200: {
        "description": "A JSON array, one object an Instance; or one XML document an Instance",
        "content": {DICOM_JSON: {}, XML_PARTS.name: {}},
    },
}
_METADATA_OF_ONE: contract.Responses = {
    **_METADATA,
    200: {
        "description": "A JSON array of one object; or one XML document, as the only part or alone",
        "content": {DICOM_JSON: {}, DICOM_XML: {}, XML_PARTS.name: {}},
    },
}
_BULK_DATA: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The value's bytes, little endian",
        "content": {
            "application/octet-stream": {},
            'multipart/related; type="application/octet-stream"': {},
        },
    },
}


async def _dicomdir(
    dicomdir: Annotated[
        str, Query(description="yes: a zip has names as on a medium, and a DICOMDIR")
    ] = "",
) -> bool:
    if dicomdir.lower() not in {"", "yes", "no"}:
        raise InvalidRequest("dicomdir=yes or dicomdir=no was expected")
    return dicomdir.lower() == "yes"


_DicomdirDep = Annotated[bool, Depends(_dicomdir)]


@router.get(STUDY, responses=_INSTANCES)
async def get_study(
    ref: StudyPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
    dicomdir: _DicomdirDep,
) -> Response:
    """Retrieve the Instances of a Study (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked, dicomdir=dicomdir)


@router.get(SERIES, responses=_INSTANCES)
async def get_series(
    ref: SeriesPath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
    dicomdir: _DicomdirDep,
) -> Response:
    """Retrieve the Instances of a Series (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked, dicomdir=dicomdir)


@router.get(INSTANCE, responses=_INSTANCE)
async def get_instance(
    ref: InstancePath,
    archive: ArchiveDep,
    principal: PrincipalDep,
    wanted: WantedDep,
    asked: ConditionsDep,
    dicomdir: _DicomdirDep,
) -> Response:
    """Retrieve an Instance, as a multipart or alone (PS3.18 §10.4.1.1.1)."""
    return await _instances(archive, principal, ref, wanted, asked, dicomdir=dicomdir)


async def _instances(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    wanted: Sequence[Form],
    asked: Conditions,
    *,
    dicomdir: bool,
) -> Response:
    answer = await _retrieve(archive, principal, ref, wanted, asked, dicomdir=dicomdir)
    return await answer_response(answer, asked)


async def _retrieve(
    archive: Archive,
    principal: Principal,
    ref: Ref,
    wanted: Sequence[Form],
    asked: Conditions,
    *,
    dicomdir: bool,
) -> Answer:
    """Return the Instances as parts or as a zip, whichever is wanted first and can be made."""
    places = [at for at, form in enumerate(wanted) if form.media_type == ZIP and not form.multipart]
    if dicomdir and not places:
        raise InvalidRequest(f"dicomdir=yes goes with a zip alone: accept {ZIP}")
    if not places:
        return await retrieve_instances(archive, principal, ref, wanted, asked.settled_by)
    if places[0] and not dicomdir:
        with suppress(NotAcceptable):
            before = wanted[: places[0]]
            return await retrieve_instances(archive, principal, ref, before, asked.settled_by)
    zipped = ZipRequest(wanted[places[0]].transfer_syntaxes, dicomdir)
    return await retrieve_zip(archive, principal, ref, zipped, asked.settled_by)


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


@router.get(INSTANCE + "/metadata", responses=_METADATA_OF_ONE)
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
    zipped = gzip_accepted(request.headers.get("accept-encoding", ""))
    tags = {tag.removeprefix("W/").strip('"'): tag for tag in _tags(etag, offer, zipped=zipped)}
    conditions = read_conditions(request.scope["headers"])
    conditions.check(*tags, strong=not offer.multipart)
    for version, known in tags.items():
        if conditions.knows(version):
            return not_modified(known)
    tag = next(iter(tags.values()))
    if offer.is_xml:
        documents = await retrieve_metadata_xml(archive, principal, ref, base_url)
        return xml_response(request, documents, {"ETag": tag}, multipart=offer.multipart)
    metadata = await retrieve_metadata(archive, principal, ref, base_url, etag)
    return metadata_response(metadata, offer.media_type, tag, zipped=zipped)


def _tags(etag: str, offer: Offer, *, zipped: bool) -> list[str]:
    """Return the ETags of an answer as it goes out now, and in the other content coding.

    Each coding has its own (RFC 9110 §8.8.1), and whoever has one of them has the content. A
    multipart has a boundary of its own each time, so its ETag is a weak one.
    """
    weak = "W/" if offer.multipart else ""
    version = etag.strip('"') + ("-xml" if offer.is_xml else "")
    plain, in_gzip = f'{weak}"{version}"', f'{weak}"{version}-gzip"'
    return [in_gzip, plain] if zipped else [plain, in_gzip]


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
    path = path.upper()  # the digits of tags, which callers write in any case
    url = _bulk_data_url(base_url, ref, path)
    answer = await retrieve_bulk_data(archive, principal, ref, path, wanted, url, asked.settled_by)
    return await answer_response(answer, asked)


def _bulk_data_url(base_url: str, ref: InstanceRef, path: str) -> str:
    return f"{instance_url(base_url, ref)}/bulkdata/{path}"


def instance_url(base_url: str, ref: InstanceRef) -> str:
    """Return the address of an Instance."""
    uids = {"study": ref.study, "series": ref.series, "instance": ref.instance}
    return base_url + INSTANCE.format(**uids)
