"""Names for people: what the folders and files of an export are called.

They are made from what the Instances say, so they are cleaned: no separators, no controls, no
leading dots, nothing that a file system reserves. The same Study always gets the same names.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 60
_UNWANTED = re.compile(r"[^\w \-.,+()\[\]]+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

Dataset = Mapping[str, Any]
"""The Metadata of an Instance: a parsed DICOM JSON object."""


def clean(text: str, otherwise: str) -> str:
    """Return `text` as one component of a path on any file system, or `otherwise` if none is left.

    At most 60 characters, so that four levels fit in any path.
    """
    plain = unicodedata.normalize("NFC", text.replace("^", " "))
    plain = " ".join(_UNWANTED.sub("_", plain).split())[:_LONGEST].strip(" .")
    if not plain.strip("_-"):
        return otherwise
    return f"_{plain}" if _RESERVED.fullmatch(plain) else plain


def value(dataset: Dataset, tag: str) -> str:
    """Return the first value of an attribute as text, '' if there is none."""
    values = dataset.get(tag, {}).get("Value") or [""]
    first = values[0]
    if isinstance(first, dict):
        first = next(iter(first.values()), "")
    return "" if first is None else str(first)


def study_folder(dataset: Dataset) -> str:
    """Return `patient/study`; its end tells Studies of one day and description apart."""
    patient = clean(f"{value(dataset, '00100020')} {value(dataset, '00100010')}", "no patient")
    described = f"{value(dataset, '00080020')} {value(dataset, '00081030')}"
    return f"{patient}/{clean(described, 'study')} ({_short(value(dataset, '0020000D'))})"


def series_folder(dataset: Dataset) -> str:
    """Return a name such as `003 CT Thorax`, not always the only one of its kind in a Study."""
    described = f"{value(dataset, '00080060')} {value(dataset, '0008103E')}"
    return clean(f"{_number(value(dataset, '00200011'), 3)} {described}", "series")


@dataclass(frozen=True, slots=True)
class Wish:
    """A name that an entry would like to have, and the UID that makes it the only one."""

    name: str
    uid: str


def distinct(wishes: Iterable[Wish]) -> dict[str, str]:
    """Return a name for each UID; those that want the same one (in any case) get an end."""
    wanted = list(wishes)
    counts = Counter(wish.name.casefold() for wish in wanted)
    return {
        wish.uid: wish.name
        if counts[wish.name.casefold()] == 1
        else f"{wish.name} ({_short(wish.uid)})"
        for wish in wanted
    }


def instance_name(dataset: Dataset) -> str:
    """Return the Instance Number with leading zeros, else the SOP Instance UID; no extension."""
    return _number(value(dataset, "00200013"), 5) or value(dataset, "00080018")


def _number(text: str, digits: int) -> str:
    return text.zfill(digits) if text.isascii() and text.isdecimal() else ""


def _short(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:6]
