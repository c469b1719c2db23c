"""UIDs (PS3.5 §9.1) and references to Studies, Series and Instances by them.

A non-patient Instance is in no Study and no Series: its `InstanceRef` has '' for both.
"""

import re
from dataclasses import dataclass

from app.errors import InvalidUID

_LENGTH = 64
_COMPONENTS = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)


def check_uid(text: str) -> str:
    """Return `text` if it can name something stored here: numbers with a dot between them.

    Components with leading zeros are let through: real modalities write them (S-33), and they are
    harmless in keys.

    Raises:
        InvalidUID: other characters, an empty component, or more than 64 characters.

    Source: PS3.5 §9.1
    """
    if len(text) > _LENGTH or _COMPONENTS.fullmatch(text) is None:
        raise InvalidUID(
            "What was given is not a UID: numbers with dots between them were expected, "
            f"{_LENGTH} characters at most"
        )
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


@dataclass(frozen=True, slots=True)
class NonPatientRef:
    """Names a category of non-patient Instances (PS3.18 §12.1.1), or one Instance of it."""

    category: str
    instance: str | None = None
