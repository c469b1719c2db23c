"""What the caller accepts: the `accept` query parameter, then the Accept header (PS3.18 §8.3.3.1).

What can be made of it depends on what is stored, so the use case chooses among these forms; here
is only the choice that depends on nothing stored.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from app.errors import NotAcceptable
from app.mime.media_types import Form, accepted_forms

DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"


def wanted_forms(request: Request) -> tuple[Form, ...]:
    """Return the forms that a request would take, most wanted first.

    Those of the query parameter come first, and the header's follow: a parameter that nothing here
    can satisfy falls back to the header (G-06, G-07). Several Accept headers count as one.
    """
    header = ", ".join(request.headers.getlist("accept"))
    return forms_of(header, request.query_params.getlist("accept"))


def forms_of(header: str, parameters: Sequence[str] = ()) -> tuple[Form, ...]:
    """Return the forms of an Accept header, those of `accept` query parameters before them."""
    # an unescaped + of application/dicom+json arrives as a space
    asked = re.sub(r"(?<=\w) (?=\w)", "+", ", ".join(parameters))
    return (*accepted_forms(asked), *accepted_forms(header)) if asked else accepted_forms(header)


@dataclass(frozen=True, slots=True)
class Offer:
    """A form in which a Data Set can be answered: `multipart` has one in each part."""

    media_type: str
    multipart: bool = False

    @property
    def name(self) -> str:
        """How it is written in an Accept header."""
        if not self.multipart:
            return self.media_type
        return f'multipart/related; type="{self.media_type}"'

    @property
    def is_xml(self) -> bool:
        """Whether it is of the Native DICOM Model."""
        return self.media_type == DICOM_XML


JSON_OFFER = Offer(DICOM_JSON)
JSON_OFFERS = (JSON_OFFER, Offer("application/json"))
XML_OFFER = Offer(DICOM_XML)
XML_PARTS = Offer(DICOM_XML, multipart=True)


def chosen_offer(request: Request, *xml: Offer) -> Offer:
    """Return the JSON or XML form to answer with, the most wanted one (PS3.18 §8.7.8.1).

    JSON is the default, and the DICOM type of it unless only the plain one is asked for. `xml` are
    the forms that the resource has in XML.

    Raises:
        NotAcceptable: none is accepted.
    """
    offers = (*JSON_OFFERS, *xml)
    for form in wanted_forms(request):
        for offer in offers:
            if form.multipart == offer.multipart and form.covers(offer.media_type):
                return offer
    names = tuple(offer.name for offer in offers)
    kinds = "DICOM JSON or XML" if xml else "DICOM JSON"
    raise NotAcceptable(f"Only {kinds} is offered here", names)


def json_accepted(request: Request) -> str:
    """Return the JSON media type to answer with where there is nothing else.

    Raises:
        NotAcceptable: none is accepted.
    """
    return chosen_offer(request).media_type


def gzip_accepted(header: str) -> bool:
    """Say whether an Accept-Encoding header takes gzip (RFC 9110 §12.5.3)."""
    for member in header.lower().split(","):
        coding, _, weight = member.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False
