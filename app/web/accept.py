"""What the caller accepts: the `accept` query parameter, then the Accept header (PS3.18 §8.3.3.1).

What can be made of it depends on what is stored, so the use case chooses among these forms; here
is only the choice that depends on nothing stored.
"""

import re
from collections.abc import Sequence

from fastapi import Request

from app.errors import NotAcceptable
from app.mime.media_types import Form, accepted_forms, covers

DICOM_JSON = "application/dicom+json"
_JSON_TYPES = (DICOM_JSON, "application/json")


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


def json_accepted(request: Request) -> str:
    """Return the JSON media type to answer with: the DICOM one unless only the plain one is asked.

    Raises:
        NotAcceptable: neither is accepted.
    """
    for form in wanted_forms(request):
        for offered in _JSON_TYPES:
            if not form.multipart and covers(form.media_type, offered):
                return offered
    raise NotAcceptable("Only DICOM JSON is offered here", _JSON_TYPES)


def gzip_accepted(header: str) -> bool:
    """Say whether an Accept-Encoding header takes gzip (RFC 9110 §12.5.3)."""
    for member in header.lower().split(","):
        coding, _, weight = member.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight) is None
    return False
