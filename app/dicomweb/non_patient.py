"""The Non-Patient Instance service (PS3.18 §12): one set of routes for each category."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from app.archive.non_patient import (
    NonPatientInstance,
    delete_non_patient,
    find_non_patient,
    retrieve_non_patient,
    retrieve_non_patient_value,
    search_non_patient,
)
from app.archive.restoring import restore_deleted_non_patient
from app.dicom.attributes import Level
from app.dicom.delivery import APPLICATION_DICOM, Delivery
from app.dicom.non_patient import CATEGORIES, Category
from app.dicom.uids import NonPatientRef, check_uid
from app.dicomweb.qido import SEARCH_ANSWERS, SEARCH_CONTRACT, search_response
from app.dicomweb.query import read_query
from app.dicomweb.removal import BACK, back
from app.dicomweb.stow import STORE_ANSWERS, STORE_CONTRACT, answer_store
from app.errors import NotAcceptable
from app.mime.media_types import Form
from app.web import contract
from app.web.accept import (
    JSON_OFFERS,
    XML_OFFER,
    XML_PARTS,
    Offer,
    chosen_offer,
)
from app.web.deps import ArchiveDep, BaseUrlDep, ConditionsDep, PrincipalDep, Uid, WantedDep
from app.web.responses import dicom_json, not_modified
from app.web.streams import answer_response
from app.web.xml_answers import documents_of, xml_response

router = APIRouter(tags=["Non-patient Instances"], default_response_class=Response)

_PART10 = Offer(APPLICATION_DICOM)
_PART10_PARTS = Offer(APPLICATION_DICOM, multipart=True)
_OFFERS = (*JSON_OFFERS, _PART10, _PART10_PARTS, XML_OFFER, XML_PARTS)
"""In the order of a wildcard; JSON is the default, as of searches (PS3.18 Table 12.1.3-1)."""
_INSTANCE: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The Instance: what it says as JSON or XML, or as it is",
        "content": {offer.name: {} for offer in _OFFERS if offer.media_type != "application/json"},
    },
}
_VALUE: contract.Responses = {
    **contract.READ_RANGES,
    200: {
        "description": "The value's bytes, little endian",
        "content": {
            "application/octet-stream": {},
            'multipart/related; type="application/octet-stream"': {},
        },
    },
}
_DELETED: contract.Responses = {**contract.CHANGE, 204: {"description": "It is gone"}}


class _Resource:
    """The resources of one category."""

    def __init__(self, category: Category) -> None:
        self._name = category.name

    async def search(
        self, request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
    ) -> Response:
        """Search for Instances of this category (PS3.18 §12.6)."""
        offer = chosen_offer(request, XML_PARTS)
        query = read_query(request.scope["query_string"], Level.INSTANCE)
        result = await search_non_patient(archive, principal, self._name, query, base_url)
        return search_response(request, base_url, offer, result)

    async def store(
        self, request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
    ) -> Response:
        """Store Instances of this category (PS3.18 §12.5)."""
        ref = NonPatientRef(self._name)
        return await answer_store(request, archive, principal, base_url, ref)

    async def store_one(
        self,
        request: Request,
        uid: Uid,
        archive: ArchiveDep,
        principal: PrincipalDep,
        base_url: BaseUrlDep,
    ) -> Response:
        """Store the Instance that has this UID; others fail (PS3.18 §12.5)."""
        ref = NonPatientRef(self._name, check_uid(uid))
        return await answer_store(request, archive, principal, base_url, ref)

    async def retrieve(  # noqa: PLR0913, PLR0917
        self,
        request: Request,
        uid: Uid,
        archive: ArchiveDep,
        principal: PrincipalDep,
        wanted: WantedDep,
        base_url: BaseUrlDep,
        asked: ConditionsDep,
    ) -> Response:
        """Retrieve an Instance, as JSON, as XML, or as it is stored (PS3.18 §12.4)."""
        instance = await find_non_patient(archive, principal, self._name, uid, base_url)
        offer, delivery = _chosen(wanted, instance)
        if delivery is not None:
            answer = await retrieve_non_patient(
                archive, principal, instance, delivery, asked.knows, multipart=offer.multipart
            )
            return await answer_response(answer, asked)
        version = instance.version(offer.name)
        headers = {"ETag": f'W/"{version}"'}  # one for plain and gzip, which differ in bytes
        if asked.knows(version):
            return not_modified(headers["ETag"])
        metadata = await asyncio.to_thread(lambda: instance.metadata)
        if offer.is_xml:
            documents = documents_of([metadata[1:-1]])
            return xml_response(request, documents, headers, multipart=offer.multipart)
        return await asyncio.to_thread(dicom_json, request, metadata, offer.media_type, headers)

    async def delete(self, uid: Uid, archive: ArchiveDep, principal: PrincipalDep) -> Response:
        """Delete an Instance. It may be stored again."""
        await delete_non_patient(archive, principal, self._name, uid)
        return Response(status_code=204)

    async def undelete(self, uid: Uid, archive: ArchiveDep, principal: PrincipalDep) -> Response:
        """Bring back an Instance that was deleted and is not purged."""
        return back(await restore_deleted_non_patient(archive, principal, self._name, uid))

    async def retrieve_value(  # noqa: PLR0913, PLR0917
        self,
        uid: Uid,
        path: str,
        archive: ArchiveDep,
        principal: PrincipalDep,
        wanted: WantedDep,
        base_url: BaseUrlDep,
        asked: ConditionsDep,
    ) -> Response:
        """Retrieve a bulk value by the BulkDataURI that the Instance's JSON names."""
        instance = await find_non_patient(archive, principal, self._name, uid, base_url)
        answer = await retrieve_non_patient_value(
            archive, principal, instance, path.upper(), wanted, asked.knows
        )
        return await answer_response(answer, asked)


def _chosen(
    wanted: tuple[Form, ...], instance: NonPatientInstance
) -> tuple[Offer, Delivery | None]:
    """Return the most wanted form, and for a Part 10 stream how it is delivered."""
    for form in wanted:
        for offer in _OFFERS:
            if form.multipart != offer.multipart or not form.covers(offer.media_type):
                continue
            if offer.media_type != APPLICATION_DICOM:
                return offer, None
            if (delivery := instance.delivery(form)) is not None:
                return offer, delivery
    names = tuple(offer.name for offer in _OFFERS)
    raise NotAcceptable("Instances of this kind are not offered in any accepted form", names)


def _add_routes(category: Category) -> None:
    resource = _Resource(category)
    every, one = f"/{category.name}", f"/{category.name}/{{uid}}"
    kind = category.name.replace("-", "_")
    value = f"{one}/bulkdata/{{path:path}}"
    searching: dict[str, Any] = {"responses": SEARCH_ANSWERS, "openapi_extra": SEARCH_CONTRACT}
    storing: dict[str, Any] = {"responses": STORE_ANSWERS, "openapi_extra": STORE_CONTRACT}
    deleting: dict[str, Any] = {"responses": _DELETED, "status_code": 204}
    add = router.add_api_route
    add(every, resource.search, methods=["GET"], name=f"search_{kind}", **searching)
    add(every, resource.store, methods=["POST"], name=f"store_{kind}", **storing)
    add(one, resource.store_one, methods=["POST"], name=f"store_one_of_{kind}", **storing)
    add(one, resource.retrieve, methods=["GET"], name=f"retrieve_{kind}", responses=_INSTANCE)
    add(one, resource.delete, methods=["DELETE"], name=f"delete_{kind}", **deleting)
    undone = f"{one}/restore"
    add(undone, resource.undelete, methods=["POST"], name=f"undelete_{kind}", responses=BACK)
    add(value, resource.retrieve_value, methods=["GET"], name=f"value_of_{kind}", responses=_VALUE)


for _category in CATEGORIES.values():
    _add_routes(_category)
