"""Application Entity Titles (PS3.5 §6.2, AE)."""

import re

from app.errors import InvalidRequest

PATTERN = r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"
_TITLE = re.compile(PATTERN)


def check_ae_title(title: str) -> str:
    """Return an AE Title without the spaces around it, which are not significant.

    Raises:
        InvalidRequest: it is none.

    Source: PS3.5 §6.2, AE
    """
    stripped = title.strip(" ")
    if not _TITLE.fullmatch(stripped):
        raise InvalidRequest("An AE Title has 1 to 16 characters of ASCII, and no backslash")
    return stripped
