"""For whom a bridge asks: the AE that a service names, which then stands in the log beside it."""

from dataclasses import replace
from typing import Any

from app.dicom.ae_titles import check_ae_title
from app.errors import InvalidRequest
from app.rights import Principal

CALLING_AE = "Fileroom-Calling-AE"
LONGEST_AE = 16
CALLING_AE_CONTRACT: dict[str, Any] = {
    "parameters": [
        {
            "name": CALLING_AE,
            "in": "header",
            "schema": {"type": "string", "maxLength": LONGEST_AE},
            "description": "The AE that a bridge acts for; it is read of services, and of who"
            " administers everything",
        }
    ]
}
_NAME = CALLING_AE.lower().encode()


def acting(principal: Principal, scope: dict[str, Any]) -> Principal:
    """Return a service with the AE that a request (an ASGI scope) says it is for.

    It is read of administrators, too, who set what follows from it: such is a bridge where there is
    one key, or none. Of others it is not.

    Raises:
        InvalidRequest: that is no AE Title, or there are two.
    """
    said = [value.decode("latin-1").strip() for name, value in scope["headers"] if name == _NAME]
    if not said or not (principal.kind == "service" or principal.administers_all):
        return principal
    if len(said) > 1:
        raise InvalidRequest(f"{CALLING_AE} should be one AE Title")
    try:
        return replace(principal, calling_ae=check_ae_title(said[0]))
    except InvalidRequest as error:
        raise InvalidRequest(f"{CALLING_AE}: {error}") from None
