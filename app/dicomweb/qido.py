"""QIDO-RS: the Search transaction at three levels (PS3.18 §10.6)."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from app.archive.context import Archive
from app.archive.search import SearchResult, search
from app.dicom.attributes import Level
from app.dicom.uids import check_uid
from app.dicomweb.query import read_query
from app.rights import Principal
from app.web import contract
from app.web.accept import DICOM_JSON, XML_PARTS, Offer, chosen_offer
from app.web.deps import ArchiveDep, BaseUrlDep, PrincipalDep, SeriesPath, StudyPath
from app.web.direct import DirectRoute
from app.web.responses import PRIVATE, dicom_json
from app.web.xml_answers import documents_of, xml_response

router = APIRouter(tags=["Search (QIDO-RS)"])

SEARCH_ANSWERS: contract.Responses = {
    **contract.SEARCH,
    200: {
        "description": "The matches, newest Studies first. A Warning header tells how many more"
        " there are and what of the request was not heeded",
        "content": {DICOM_JSON: {}, XML_PARTS.name: {}},
    },
    204: {"description": "Nothing matches, or no more from this offset on"},
}
_PARAMETERS = [
    ("limit", "integer", "The most matches to return"),
    ("offset", "integer", "How many matches to skip"),
    ("includefield", "string", "Attributes to return as well, by keyword or tag, or `all`"),
    ("fuzzymatching", "boolean", "Names that are written or sound nearly so match as well"),
    ("emptyvaluematching", "boolean", 'A value of `""` matches where there is none'),
    ("multiplevaluematching", "boolean", "All of several values have to be there, not any"),
    ("PatientName", "string", "Any matched attribute, by keyword or tag; see the conformance page"),
]
SEARCH_CONTRACT = {
    "parameters": [
        {"name": name, "in": "query", "schema": {"type": kind}, "description": text}
        for name, kind, text in _PARAMETERS
    ]
}


@dataclass(frozen=True, slots=True)
class _Search:
    """One search request but for its level and path."""

    request: Request
    archive: Archive
    principal: Principal
    base_url: str

    async def answer(
        self, level: Level, study: str | None = None, series: str | None = None
    ) -> Response:
        """Search below what the path names."""
        offer = chosen_offer(self.request, XML_PARTS)
        query = read_query(self.request.scope["query_string"], level, study, series)
        result = await search(self.archive, self.principal, query, self.base_url)
        return search_response(self.request, self.base_url, offer, result)


def search_response(
    request: Request, base_url: str, offer: Offer, result: SearchResult
) -> Response:
    """Return the answer to a search in the form that was chosen."""
    headers = search_warnings(base_url, result)
    if not result.rows:
        return Response(status_code=204, headers={**PRIVATE, **headers})
    if offer.is_xml:
        return xml_response(request, documents_of(result.rows), headers)
    body = f"[{','.join(result.rows)}]".encode()
    return dicom_json(request, body, offer.media_type, headers)


def search_warnings(base_url: str, result: SearchResult) -> dict[str, str]:
    """Return the Warning header; its form is that of PS3.18 §8.3.4, not of RFC 9111."""
    texts = list(result.warnings)
    if result.remaining:
        number = f"{'at least ' if result.at_least else ''}{result.remaining}"
        texts.append(f"There are {number} additional results that can be requested")
    warning = ", ".join(f'299 {base_url}: "{text}"' for text in texts)
    return {"Warning": warning} if texts else {}


async def _asked(
    request: Request, archive: ArchiveDep, principal: PrincipalDep, base_url: BaseUrlDep
) -> _Search:
    return _Search(request, archive, principal, base_url)


_SearchDep = Annotated[_Search, Depends(_asked)]


@router.get(
    "/studies",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_studies(asked: _SearchDep) -> Response:
    """Search for Studies (PS3.18 §10.6)."""
    return await asked.answer(Level.STUDY)


@router.get(
    "/series",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_series(asked: _SearchDep) -> Response:
    """Search for Series of all Studies (PS3.18 §10.6)."""
    return await asked.answer(Level.SERIES)


@router.get(
    "/instances",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_instances(asked: _SearchDep) -> Response:
    """Search for Instances of all Studies (PS3.18 §10.6)."""
    return await asked.answer(Level.INSTANCE)


@router.get(
    "/studies/{study}/series",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_series_of_study(ref: StudyPath, asked: _SearchDep) -> Response:
    """Search for Series of a Study (PS3.18 §10.6)."""
    return await asked.answer(Level.SERIES, ref.study)


@router.get(
    "/studies/{study}/instances",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_instances_of_study(ref: StudyPath, asked: _SearchDep) -> Response:
    """Search for Instances of a Study (PS3.18 §10.6)."""
    return await asked.answer(Level.INSTANCE, ref.study)


@router.get(
    "/studies/{study}/series/{series}/instances",
    responses=SEARCH_ANSWERS,
    openapi_extra=SEARCH_CONTRACT,
    response_class=Response,
)
async def search_instances_of_series(ref: SeriesPath, asked: _SearchDep) -> Response:
    """Search for Instances of a Series (PS3.18 §10.6)."""
    return await asked.answer(Level.INSTANCE, ref.study, ref.series)


def _direct(level: Level, template: str) -> DirectRoute:
    async def answer(
        request: Request,
        archive: Archive,
        principal: Principal,
        base_url: str,
        names: tuple[str, ...],
    ) -> Response:
        uids = map(check_uid, names)
        return await _Search(request, archive, principal, base_url).answer(level, *uids)

    return DirectRoute("GET", template, answer)


DIRECT = (
    _direct(Level.STUDY, "/studies"),
    _direct(Level.SERIES, "/studies/{study}/series"),
    _direct(Level.INSTANCE, "/studies/{study}/series/{series}/instances"),
)
