"""One Instance's DICOM JSON as typed values: what rendering and reports read their attributes from.

Tags are eight hexadecimal digits, as in the JSON. What is missing, empty or of another kind than
was asked for is None or nothing: Instances leave out what they should say.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Document:
    """A Data Set, or an item of one; `path` is that of its bulk values (as in `scanned`).

    `bulk` has the bulk values that were read, by their path, little endian.

    Source: PS3.18 Annex F
    """

    members: Mapping[str, Any]
    bulk: Mapping[str, bytes] = field(default_factory=dict)
    path: str = ""

    def vr(self, tag: str) -> str:
        """Return the VR of an attribute, empty if it is not there."""
        found = self.members.get(tag)
        return str(found.get("vr", "")) if isinstance(found, dict) else ""

    def values(self, tag: str) -> list[Any]:
        """Return all values of an attribute but null."""
        found = self.members.get(tag)
        values = found.get("Value", ()) if isinstance(found, dict) else ()
        return [value for value in values if value is not None]

    def numbers(self, tag: str) -> list[float]:
        """Return the values that are finite numbers, or texts that say one."""
        found = (_number(value) for value in self.values(tag))
        return [number for number in found if number is not None]

    def number(self, tag: str) -> float | None:
        """Return the first number."""
        return next(iter(self.numbers(tag)), None)

    def integer(self, tag: str, default: int) -> int:
        """Return the first number, cut to an integer."""
        found = self.number(tag)
        return default if found is None else int(found)

    def texts(self, tag: str) -> list[str]:
        """Return the values as texts; a person's name is its groups, with = between them."""
        return [_text(value) for value in self.values(tag)]

    def text(self, tag: str) -> str:
        """Return the first text without blanks around it, or nothing."""
        return next(iter(self.texts(tag)), "").strip()

    def items(self, tag: str) -> list["Document"]:
        """Return the items of a Sequence."""
        found = self.members.get(tag)
        items = found.get("Value", ()) if isinstance(found, dict) else ()
        return [
            Document(item, self.bulk, f"{self.path}{tag}/{number}/")
            for number, item in enumerate(items, start=1)
            if isinstance(item, dict)
        ]

    def item(self, tag: str, number: int = 1) -> "Document":
        """Return an item by its 1-based number; an empty one if there is none."""
        found = self.members.get(tag)
        items = found.get("Value", ()) if isinstance(found, dict) else ()
        item = items[number - 1] if 1 <= number <= len(items) else None
        if not isinstance(item, dict):
            return Document({})
        return Document(item, self.bulk, f"{self.path}{tag}/{number}/")

    def octets(self, tag: str) -> bytes:
        """Return a binary value, little endian."""
        found = self.members.get(tag)
        if isinstance(found, dict) and "InlineBinary" in found:
            return base64.b64decode(found["InlineBinary"])
        return self.bulk.get(self.path + tag, b"")

    def words(self, tag: str) -> NDArray[np.uint16]:
        """Return a value of 16-bit words, whether it is binary or numbers."""
        if self.values(tag):
            numbers = np.array(self.numbers(tag), np.int64) & 0xFFFF
            return numbers.astype(np.uint16)
        octets = self.octets(tag)
        return np.frombuffer(octets, "<u2", len(octets) // 2)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        groups = (value.get(name, "") for name in ("Alphabetic", "Ideographic", "Phonetic"))
        return "=".join(groups).rstrip("=")
    return str(value)
