"""Small Data Sets without Bulk Data, such as those of procedure steps, in one form.

Whatever they came as (DICOM JSON, XML, a file in any encoding), they are kept as the scanner writes
them: DICOM JSON in UTF-8, in tag order, each value checked against its VR.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from pydicom.uid import ExplicitVRLittleEndian

from app.dicom.file_meta import add_file_meta
from app.dicom.json_dataset import Reference, encode_dataset
from app.dicom.limits import Limits
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.errors import InvalidAttribute, InvalidDataset

LONGEST = 2**20
"""Bytes of one."""
_META = add_file_meta("", "", ExplicitVRLittleEndian)

Dataset = dict[str, Any]


def plain_dataset(dataset: Any, limits: Limits) -> Dataset:
    """Return a DICOM JSON object from outside as it is kept.

    Raises:
        InvalidAttribute: it is none, is over a limit, or has a value that its VR does not allow.

    Source: PS3.18 §F.2
    """
    try:
        elements = encode_dataset(dataset, limits).elements.values()
    except InvalidDataset as error:
        raise InvalidAttribute(str(error)) from error
    pieces = [piece for element in elements for piece in element]
    if any(isinstance(piece, Reference) for piece in pieces):
        raise InvalidAttribute("Bulk Data is not taken here")
    return read_plain_dataset(b"".join((_META, *map(_bytes, pieces))), limits)


def _bytes(piece: object) -> bytes:
    assert isinstance(piece, bytes)  # noqa: S101 - references were refused
    return piece


def read_plain_dataset(data: bytes, limits: Limits) -> Dataset:
    """Return the Data Set of a file as it is kept.

    Raises:
        InvalidAttribute: it is no Data Set, is too long, or over another limit.

    Source: PS3.10 §7
    """
    if len(data) > LONGEST:
        raise InvalidAttribute(f"A Data Set of up to {LONGEST} bytes was expected")
    try:
        scanned = scan(BytesSource(data), replace(limits, inline_bytes=LONGEST))
    except InvalidDataset as error:
        raise InvalidAttribute(str(error)) from error
    if scanned.bulk_values:
        raise InvalidAttribute("Bulk Data is not taken here")
    made: Dataset = orjson.loads(scanned.metadata)
    return made


def first_value(dataset: Mapping[str, Any], tag: int) -> str:
    """Return the first value of an attribute as text, '' if there is none.

    Source: PS3.18 §F.2.2
    """
    values = dataset.get(f"{tag:08X}", {}).get("Value") or [None]
    return "" if values[0] is None else str(values[0])


def items_of(dataset: Mapping[str, Any], tag: int) -> list[Dataset]:
    """Return the Items of a Sequence, none where it is absent.

    Source: PS3.18 §F.2.2
    """
    element = dataset.get(f"{tag:08X}", {})
    if element.get("vr") != "SQ":
        return []
    return [item for item in element.get("Value", ()) if isinstance(item, dict)]
