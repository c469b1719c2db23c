"""A DICOM JSON object as a Data Set in Explicit VR Little Endian, deterministic (PS3.18 Annex F).

What is at hand is encoded; a BulkDataURI becomes a `Reference`, whose bytes are put in when the
Data Set is written. Sequences and items have undefined length, so that nothing in them has to be
known ahead. All text is UTF-8, and Specific Character Set says so wherever it stands or is needed.

Left out, since they belong to an encoding that is not kept: group lengths, and groups 0000 and
0002. JSON is hostile: depth and the number of elements are bounded.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import pack
from typing import Any

from app.dicom.headers import DELIMITERS, ITEM, ITEM_END, SEQUENCE_END, UNDEFINED
from app.dicom.json_values import VRS, decode_inline, encode_values, names_character_set
from app.dicom.limits import Limits
from app.dicom.members import SPECIFIC_CHARACTER_SET, is_left_out
from app.dicom.rewrite import element, element_header
from app.dicom.value_representations import certain_vr
from app.errors import InvalidDataset

_KEY = re.compile("[0-9A-Fa-f]{8}")
_KINDS = ("Value", "InlineBinary", "BulkDataURI")
_ITEM_START = pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
_ITEM_STOP = pack("<HHL", ITEM_END >> 16, ITEM_END & 0xFFFF, 0)
_SEQUENCE_STOP = pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)
_NO_CHARACTER_SET = element(SPECIFIC_CHARACTER_SET, "CS", b"")
_UTF_8 = element(SPECIFIC_CHARACTER_SET, "CS", b"ISO_IR 192")
_OVER_A_LIMIT = 0xC002


@dataclass(frozen=True, slots=True)
class Reference:
    """An element whose value is Bulk Data; `nested` in a Sequence."""

    tag: int
    vr: str
    uri: str
    nested: bool


Piece = bytes | Reference


@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """The elements by tag, ascending: each as it is written, but for what it refers to."""

    elements: Mapping[int, list[Piece]]


@dataclass(slots=True)
class _Encoding:
    limits: Limits
    left: int
    has_text: bool = False
    """A value has characters beyond ASCII."""


def encode_dataset(dataset: Any, limits: Limits) -> EncodedDataset:
    """Encode one DICOM JSON object; keys may come in any order and case.

    Raises:
        InvalidDataset: it is no DICOM JSON object (C000), or over a limit (C002).

    Source: PS3.18 §F.2, PS3.5 §7.1, §7.5
    """
    state = _Encoding(limits, limits.elements)
    elements = _elements(state, dataset, 0)
    named = elements.get(SPECIFIC_CHARACTER_SET)
    if state.has_text and named in (None, [_NO_CHARACTER_SET]):
        elements[SPECIFIC_CHARACTER_SET] = [_UTF_8]
    return EncodedDataset(dict(sorted(elements.items())))


def _elements(state: _Encoding, dataset: Any, depth: int) -> dict[int, list[Piece]]:
    if not isinstance(dataset, dict):
        raise InvalidDataset("a Data Set or an item is no JSON object")
    if depth > state.limits.nesting_depth:
        raise InvalidDataset("Sequences are nested too deep", _OVER_A_LIMIT)
    state.left -= len(dataset)
    if state.left < 0:
        raise InvalidDataset("there are too many elements", _OVER_A_LIMIT)
    found: dict[int, list[Piece]] = {}
    for key, content in dataset.items():
        if _KEY.fullmatch(key) is None or not isinstance(content, dict):
            raise InvalidDataset("an attribute is not named by eight hexadecimal digits")
        tag = int(key, 16)
        if tag in found or tag >= DELIMITERS:
            raise InvalidDataset(f"the attribute {key} stands twice, or is none of a Data Set")
        if not is_left_out(tag):
            found[tag] = list(_element(state, tag, content, depth))
    return found


def _element(state: _Encoding, tag: int, content: Mapping[str, Any], depth: int) -> Iterator[Piece]:
    name = f"{tag:08X}"
    vr = content.get("vr") or certain_vr(tag)
    if not isinstance(vr, str) or vr not in VRS:
        raise InvalidDataset(f"the VR of {name} is none")
    kinds = [kind for kind in _KINDS if content.get(kind) is not None]
    if len(kinds) > 1:
        raise InvalidDataset(f"{name} has a {kinds[0]} and a {kinds[1]}")
    if vr == "SQ" and kinds not in ([], ["Value"]):
        raise InvalidDataset(f"the Sequence {name} has a {kinds[0]}")
    if kinds == ["BulkDataURI"]:
        uri = content["BulkDataURI"]
        if not isinstance(uri, str):
            raise InvalidDataset(f"the BulkDataURI of {name} is none")
        state.has_text |= names_character_set(vr)
        yield Reference(tag, vr, uri, nested=depth > 0)
    elif vr == "SQ":
        yield from _sequence(state, tag, content.get("Value"), depth)
    elif kinds == ["InlineBinary"]:
        state.has_text |= names_character_set(vr)
        yield element(tag, vr, decode_inline(name, vr, content["InlineBinary"]))
    else:
        yield _plain(state, tag, vr, content.get("Value"))


def _plain(state: _Encoding, tag: int, vr: str, values: Any) -> bytes:
    value = b"" if values is None else encode_values(f"{tag:08X}", vr, values)
    if tag == SPECIFIC_CHARACTER_SET and value:
        return _UTF_8
    state.has_text |= names_character_set(vr) and not value.isascii()
    return element(tag, vr, value)


def _sequence(state: _Encoding, tag: int, items: Any, depth: int) -> Iterator[Piece]:
    if items is None:
        items = []
    if not isinstance(items, list):
        raise InvalidDataset(f"the Value of {tag:08X} is no array")
    yield element_header(tag, "SQ", UNDEFINED)
    for item in items:
        yield _ITEM_START
        elements = _elements(state, {} if item is None else item, depth + 1)
        for inner in sorted(elements):
            yield from elements[inner]
        yield _ITEM_STOP
    yield _SEQUENCE_STOP
