"""The tables from what the archive answers to DIMSE statuses (PS3.4 Table B.2-1, PS3.7 Annex C)."""

from http import HTTPStatus

SUCCESS = 0x0000
INVALID_ATTRIBUTE_VALUE, PROCESSING_FAILURE, NO_SUCH_SOP_INSTANCE = 0x0106, 0x0110, 0x0112
INVALID_SOP_INSTANCE, NO_SUCH_SOP_CLASS = 0x0117, 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
NOT_AUTHORIZED, RESOURCE_LIMITATION = 0x0124, 0x0213
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
ELEMENTS_DISCARDED = 0xB006
OTHER_IDENTITY = 0xB007
"""Stored, but the data set is not what the request named."""

_STORE_REASONS = {
    0x0110: 0xC110,
    0x0111: 0xC111,
}
"""Failure Reasons of PS3.18 Annex I that PS3.4 has no C-STORE status for: among its Cxxx."""
_STORE_KEPT = frozenset({SOP_CLASS_NOT_SUPPORTED, NOT_AUTHORIZED})

STORE_HTTP: dict[int, int] = {
    HTTPStatus.BAD_REQUEST: CANNOT_UNDERSTAND,
    HTTPStatus.UNAUTHORIZED: NOT_AUTHORIZED,
    HTTPStatus.FORBIDDEN: NOT_AUTHORIZED,
    HTTPStatus.NOT_FOUND: CANNOT_UNDERSTAND,
    HTTPStatus.CONFLICT: CANNOT_UNDERSTAND,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: CANNOT_UNDERSTAND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: OUT_OF_RESOURCES,
    HTTPStatus.TOO_MANY_REQUESTS: OUT_OF_RESOURCES,
    HTTPStatus.INSUFFICIENT_STORAGE: OUT_OF_RESOURCES,
    HTTPStatus.SERVICE_UNAVAILABLE: OUT_OF_RESOURCES,
}
"""Of a Store request as a whole. What is not here may pass by itself: out of resources."""

FIND_HTTP: dict[int, int] = {
    HTTPStatus.BAD_REQUEST: 0xA900,
    HTTPStatus.UNAUTHORIZED: NOT_AUTHORIZED,
    HTTPStatus.FORBIDDEN: NOT_AUTHORIZED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: OUT_OF_RESOURCES,
}
"""Of a Search (PS3.4 Table C.4-1). What is not here: out of resources."""

PERFORMED_REASONS = {
    "duplicate": 0x0111,
    "final": PROCESSING_FAILURE,
    "missing-attribute": 0x0120,
    "invalid-attribute": INVALID_ATTRIBUTE_VALUE,
}
"""Of N-CREATE and N-SET, by what the archive says is wrong (PS3.4 §F.7.2)."""

PERFORMED_HTTP: dict[int, int] = {
    HTTPStatus.BAD_REQUEST: PROCESSING_FAILURE,
    HTTPStatus.UNAUTHORIZED: NOT_AUTHORIZED,
    HTTPStatus.FORBIDDEN: NOT_AUTHORIZED,
    HTTPStatus.NOT_FOUND: NO_SUCH_SOP_INSTANCE,
    HTTPStatus.CONFLICT: PROCESSING_FAILURE,
}
"""Of N-CREATE and N-SET. What is not here: resource limitation."""


def store_status(reason: int) -> int:
    """Return the status for a Failure Reason that a Store report gives for an Instance."""
    if reason in _STORE_KEPT or reason >> 8 in {0xA7, 0xA9} or reason >> 12 == 0xC:
        return reason
    return _STORE_REASONS.get(reason, CANNOT_UNDERSTAND)


def of_store_request(code: int) -> int:
    """Return the status for the answer to a Store request that is no report."""
    return STORE_HTTP.get(code, OUT_OF_RESOURCES)


def of_search(code: int) -> int:
    """Return the status for the answer to a Search that is no list of matches."""
    return FIND_HTTP.get(code, OUT_OF_RESOURCES)


def of_performed_step(code: int, reason: str) -> int:
    """Return the status for what the archive answers to a step that it does not take.

    `reason` is the member of that name of its problem document, '' if it has none.
    """
    return PERFORMED_REASONS.get(reason) or PERFORMED_HTTP.get(code, RESOURCE_LIMITATION)
