"""One Data Set while it is scanned: its members so far and what their meaning depends on."""

from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from app.dicom.headers import Encoding, Header
from app.dicom.memo import Memo, Table
from app.dicom.value_representations import (
    PIXEL_REPRESENTATION,
    find_vr,
    is_private,
    is_private_creator,
)

_SHORT = 256
"""Longer members are not looked into for one number or code."""


class NotYetKnown(Exception):
    """The VR depends on an element of this Data Set that was not seen yet."""


@dataclass(slots=True)
class Deferred:
    """An element whose VR shall be decided when its whole Data Set was seen."""

    header: Header
    position: int
    length: int


@dataclass(slots=True)
class Level:
    """The Data Set itself, or an item of a Sequence, with the one around it as `outer`."""

    encoding: Encoding
    encodings: tuple[str, ...]
    table: Table
    outer: "Level | None" = None
    path: str = ""
    depth: int = 0
    bounded: bool = False
    """It stands in a Sequence of defined length, all of which is there."""
    start: int = 0
    members: dict[int, bytes] = field(default_factory=dict)
    creators: dict[int, str] = field(default_factory=dict)
    deferred: list[Deferred] = field(default_factory=list)
    complete: bool = False
    charset_is_final: bool = False
    """Text was read by another character set before; a third one is not looked for."""
    pixel_representation: int | None = None
    """What was found in an earlier pass."""
    assumed: int | None = None
    """The Pixel Representation that items took before one was seen here."""
    inherited: bool = False
    """A VR here, or in an item, was decided by what stands outside."""

    def use_encodings(self, encodings: tuple[str, ...], memo: Memo) -> None:
        """Read text by these codecs from here on."""
        self.encodings = encodings
        self.table = table_for(memo, self.encoding, encodings)

    def restart(self) -> int:
        """Forget all members and return where to begin again."""
        self.members.clear()
        self.creators.clear()
        self.deferred.clear()
        return self.start

    def find_vr(self, tag: int) -> str:
        """Return the VR of an element that stands without one, or as UN.

        Raises:
            NotYetKnown: what it depends on may still come; never when the level is complete.

        Source: PS3.5 §6.2.2, §7.8.1
        """
        if is_private(tag) and not is_private_creator(tag):
            self._know_creator(tag & 0xFFFF0000 | tag >> 8 & 0xFF)
        return find_vr(tag, self.creators, self._nearby)

    def _know_creator(self, creator_tag: int) -> None:
        if creator_tag in self.creators:
            return
        values = values_of(self.members.get(creator_tag))
        if len(values) == 1 and isinstance(values[0], str):
            self.creators[creator_tag] = values[0]
        elif not self.complete:
            raise NotYetKnown

    def _nearby(self, tag: int) -> int | None:
        number = number_of(self.members.get(tag))
        if number is not None:
            return number
        if not self.complete:
            raise NotYetKnown
        return self._around() if tag == PIXEL_REPRESENTATION else None

    def _around(self) -> int:
        """Return the Pixel Representation of the nearest level around that has one, or 0."""
        self.inherited = True
        passed = []
        level, number = self.outer, None
        while level is not None and number is None:
            number = level.known_representation
            if number is None:
                passed.append(level)
            level = level.outer
        for each in passed:
            each.assumed = number or 0
        return number or 0

    @property
    def known_representation(self) -> int | None:
        """The Pixel Representation of this level as far as it was seen."""
        number = number_of(self.members.get(PIXEL_REPRESENTATION))
        return self.pixel_representation if number is None else number

    def misled_items(self) -> bool:
        """Say whether items took another Pixel Representation than this level has; note it.

        Once a level: the second pass knows it from the start.
        """
        known = self.known_representation
        if self.assumed in {None, known} or known is None or self.pixel_representation is not None:
            return False
        self.pixel_representation = known
        return True


def table_for(memo: Memo, encoding: Encoding, encodings: tuple[str, ...]) -> Table:
    """Return the memo's table for elements in this encoding and these character sets.

    Source: PS3.5 §7.1, §6.1.2.3
    """
    return memo.table((encoding.implicit, encoding.little_endian, encodings))


def values_of(member: bytes | None) -> list[object]:
    """Return what is in a member's Value; nothing for none.

    Source: PS3.18 §F.2.2
    """
    if member is None:
        return []
    (element,) = orjson.loads(b"{" + member + b"}").values()
    values: list[object] = element.get("Value", [])
    return values


def number_of(member: bytes | None) -> int | None:
    """Return the first value of a member if it is a whole number.

    Source: PS3.18 §F.2.2
    """
    value = _first_of(member) if member is not None and len(member) < _SHORT else None
    return value if isinstance(value, int) else None


def text_of(member: bytes | None) -> str:
    """Return the first value of a member if it is a short text, or nothing.

    Source: PS3.18 §F.2.2
    """
    value = _first_of(member) if member is not None and len(member) < _SHORT else None
    return value if isinstance(value, str) else ""


@lru_cache(4096)
def _first_of(member: bytes) -> object:
    values = values_of(member)
    return values[0] if values else None
