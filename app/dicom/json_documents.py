"""DICOM JSON from outside: well formed, and no name twice in one object (PS3.18 Annex F).

It is read twice: by orjson, which is strict (UTF-8, no surrogates, no NaN, bounded depth) and says
where it fails; and by the standard library, which gives whole numbers as they are and shows every
name, while orjson keeps the last of two and makes 10**30 another number.
"""

import json
import re
from collections import Counter
from typing import Any

import orjson

from app.errors import InvalidRequest

_SAYABLE = re.compile(r"[0-9A-Za-z]{1,16}")


def read_json(document: bytes) -> Any:
    """Return what a JSON document says.

    Raises:
        InvalidRequest: it is none, with line and column (from 1); or an object has a name twice.

    Source: PS3.18 §F.2; RFC 8259 §4
    """
    try:
        orjson.loads(document)
        return json.loads(document.decode(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:  # its own message may quote what was sent
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidRequest(f"metadata that is JSON was expected ({place})") from error
    except RecursionError as error:
        raise InvalidRequest("the metadata is nested too deep") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        said = twice if _SAYABLE.fullmatch(twice) else "a name"
        raise InvalidRequest(f"{said} stands twice in one object of the metadata")
    return found
