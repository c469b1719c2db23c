"""Answers of a few Data Sets, in any form that PS3.18 §14.1.3 and §15.1.3 name."""

from collections.abc import AsyncIterator, Mapping, Sequence

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.archive.answers import Body, once
from app.web.accept import DICOM_JSON, XML_OFFER, XML_PARTS, Offer, chosen_offer
from app.web.responses import PRIVATE, dicom_json
from app.web.streams import multipart_parts, multipart_type, new_boundary
from app.web.xml_answers import documents_of, xml_response

JSON_PARTS = Offer(DICOM_JSON, multipart=True)
FORMS = (XML_OFFER, XML_PARTS, JSON_PARTS)
CONTENT: dict[str, dict[str, str]] = {DICOM_JSON: {}, **{offer.name: {} for offer in FORMS}}
"""What the contract says of such an answer."""


def chosen_form(request: Request) -> Offer:
    """Return the form that the caller wants most, DICOM JSON unless it says another.

    Raises:
        NotAcceptable: none is accepted.
    """
    return chosen_offer(request, *FORMS)


def dataset_response(
    request: Request,
    datasets: Sequence[str],
    form: Offer,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return DICOM JSON objects in a form; a document of XML alone has but one, so several are
    parts."""
    if form.is_xml:
        parts = form.multipart or len(datasets) != 1
        return xml_response(request, documents_of(datasets), headers, multipart=parts)
    if form.multipart:
        return _json_parts(datasets, headers or {})
    body = f"[{','.join(datasets)}]".encode()
    return dicom_json(request, body, form.media_type, headers)


def _json_parts(datasets: Sequence[str], headers: Mapping[str, str]) -> Response:
    boundary = new_boundary()
    content = {"Content-Type": multipart_type(DICOM_JSON, boundary)}
    pieces = multipart_parts(_bodies(datasets), boundary)
    return StreamingResponse(pieces, headers={**PRIVATE, "Vary": "Accept", **headers, **content})


async def _bodies(datasets: Sequence[str]) -> AsyncIterator[Body]:
    for dataset in datasets:
        document = f"[{dataset}]".encode()
        yield Body({"Content-Type": DICOM_JSON}, len(document), once(document))
