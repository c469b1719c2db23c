"""For whom a bridge asks: the AE that a service names, which then stands in the log beside it."""

from dataclasses import replace
from typing import Any

from app.errors import InvalidRequest
from app.rights import Principal

CALLING_AE = "Fileroom-Calling-AE"
LONGEST_AE = 16
_NAME = CALLING_AE.lower().encode()


def acting(principal: Principal, scope: dict[str, Any]) -> Principal:
    """Return a service with the AE that a request (an ASGI scope) says it is for.

    Of others it is not read.

    Raises:
        InvalidRequest: that is no AE Title, or there are two.

    Source: PS3.5 Table 6.2-1 (AE)
    """
    if principal.kind != "service":
        return principal
    said = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == _NAME]
    if not said:
        return principal
    title = said[0]
    if len(said) > 1 or not title or len(title) > LONGEST_AE or not _is_title(title):
        raise InvalidRequest(f"{CALLING_AE} should be one AE Title of up to {LONGEST_AE} letters")
    return replace(principal, calling_ae=title)


def _is_title(text: str) -> bool:
    return text.isascii() and text.isprintable() and "\\" not in text
