"""UIDs (PS3.5 §9.1) and references to Studies, Series and Instances by them."""

import re
from dataclasses import dataclass

from app.errors import InvalidUID

_SAFE = re.compile(r"[0-9.]{1,64}", re.ASCII)


def check_uid(text: str) -> str:
    """Return `text` if it can name something stored here: 1 to 64 digits and dots.

    Components with leading zeros are let through: real modalities write them (S-33), and they are
    harmless in keys.

    Raises:
        InvalidUID: other characters, empty, or longer than 64.

    Source: PS3.5 §9.1
    """
    if _SAFE.fullmatch(text) is None or set(text) == {"."}:
        raise InvalidUID(f"{text[:80]!r} is not a UID: up to 64 digits and dots were expected")
    return text


@dataclass(frozen=True, slots=True)
class StudyRef:
    """Names a Study."""

    study: str


@dataclass(frozen=True, slots=True)
class SeriesRef:
    """Names a Series of a Study."""

    study: str
    series: str


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """Names an Instance of a Series of a Study."""

    study: str
    series: str
    instance: str


Ref = StudyRef | SeriesRef | InstanceRef
