"""All Bulk Data of a Study, Series or Instance at once (PS3.18 §10.4.1.1.5, Table H-1)."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.archive.bulk_data import AllBulkData, retrieve_all_bulk_data
from app.archive.context import Archive
from app.dicom.uids import Ref
from app.dicomweb.wado_rs import INSTANCE, SERIES, STUDY, instance_url
from app.rights import Principal
from app.web import contract
from app.web.accept import wanted_forms
from app.web.conditions import Conditions
from app.web.deps import (
    ArchiveDep,
    BaseUrlDep,
    ConditionsDep,
    InstancePath,
    PrincipalDep,
    SeriesPath,
    StudyPath,
)
from app.web.streams import answer_response

router = APIRouter(tags=["Retrieve (WADO-RS)"], default_response_class=Response)

_VALUES: contract.Responses = {
    **contract.READ,
    200: {
        "description": "The values, one a part; encapsulated Pixel Data as its frames",
        "content": {'multipart/related; type="application/octet-stream"': {}},
    },
    206: {"description": "Those that can be made in the accepted form; others were left out"},
}


class _Asked:
    """One request but for its path."""

    def __init__(
        self,
        request: Request,
        archive: ArchiveDep,
        principal: PrincipalDep,
        base_url: BaseUrlDep,
        conditions: ConditionsDep,
    ) -> None:
        self._request = request
        self._archive: Archive = archive
        self._principal: Principal = principal
        self._base_url = base_url
        self._conditions: Conditions = conditions

    async def answer(self, ref: Ref, *, pixels_only: bool) -> Response:
        """Send what there is at or below `ref`."""
        forms = wanted_forms(self._request)
        url = partial(instance_url, self._base_url)
        wanted = AllBulkData(ref, forms, url, pixels_only)
        known = self._conditions.knows
        answer = await retrieve_all_bulk_data(self._archive, self._principal, wanted, known)
        return await answer_response(answer, self._conditions)


_AskedDep = Annotated[_Asked, Depends()]


@router.get(STUDY + "/bulkdata", responses=_VALUES)
async def get_bulk_data_of_study(ref: StudyPath, asked: _AskedDep) -> Response:
    """Retrieve all Bulk Data of a Study (PS3.18 §10.4.1.1.5)."""
    return await asked.answer(ref, pixels_only=False)


@router.get(SERIES + "/bulkdata", responses=_VALUES)
async def get_bulk_data_of_series(ref: SeriesPath, asked: _AskedDep) -> Response:
    """Retrieve all Bulk Data of a Series (PS3.18 §10.4.1.1.5)."""
    return await asked.answer(ref, pixels_only=False)


@router.get(INSTANCE + "/bulkdata", responses=_VALUES)
async def get_bulk_data_of_instance(ref: InstancePath, asked: _AskedDep) -> Response:
    """Retrieve all Bulk Data of an Instance (PS3.18 §10.4.1.1.5)."""
    return await asked.answer(ref, pixels_only=False)


@router.get(STUDY + "/pixeldata", responses=_VALUES)
async def get_pixel_data_of_study(ref: StudyPath, asked: _AskedDep) -> Response:
    """Retrieve the Pixel Data of a Study (PS3.18 §10.4.1.1.6)."""
    return await asked.answer(ref, pixels_only=True)


@router.get(SERIES + "/pixeldata", responses=_VALUES)
async def get_pixel_data_of_series(ref: SeriesPath, asked: _AskedDep) -> Response:
    """Retrieve the Pixel Data of a Series (PS3.18 §10.4.1.1.6)."""
    return await asked.answer(ref, pixels_only=True)


@router.get(INSTANCE + "/pixeldata", responses=_VALUES)
async def get_pixel_data_of_instance(ref: InstancePath, asked: _AskedDep) -> Response:
    """Retrieve the Pixel Data of an Instance (PS3.18 §10.4.1.1.6)."""
    return await asked.answer(ref, pixels_only=True)
