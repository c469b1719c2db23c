"""A DICOMDIR: which files of a medium it names (PS3.10 §8, PS3.3 Annex F)."""

from typing import Any

import orjson

from app.dicom.scan import scan
from app.dicom.source import Source

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
"""The SOP Class of a DICOMDIR, in its File Meta Information."""
_RECORDS = 0x00041220
_REFERENCED_FILE = "00041500"


def referenced_files(source: Source) -> list[tuple[str, ...]]:
    """Return the File IDs that a DICOMDIR names, in its order, each as its components.

    They are as the medium says, so no path yet: a component may be anything.

    Raises:
        InvalidDataset: it cannot be read.

    Source: PS3.3 §F.3.2.2, PS3.10 §8.2
    """
    member = scan(source).fragments.get(_RECORDS)
    if member is None:
        return []
    (sequence,) = orjson.loads(b"{%b}" % member).values()
    files = (_components(record) for record in sequence.get("Value", ()))
    return [file for file in files if file]


def _components(record: dict[str, Any]) -> tuple[str, ...]:
    values = record.get(_REFERENCED_FILE, {}).get("Value", ())
    return tuple(str(value) for value in values if value)
