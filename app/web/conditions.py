"""Conditional requests and byte ranges (RFC 9110 §13, §14), read from a request's headers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"\s*(?i:bytes)\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.ASCII)


class Unsatisfiable(Exception):
    """A range that lies beyond the end."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a caller has already, and which bytes it wants. Tags are without quotes and `W/`."""

    known: frozenset[str] = frozenset()
    ranged: str = ""
    if_range: str = ""

    def knows(self, version: str) -> bool:
        """Say whether If-None-Match names this version (weak comparison), or any."""
        return bool(self.known) and (version in self.known or "*" in self.known)

    def section(self, version: str, length: int) -> tuple[int, int] | None:
        """Return offset and length of the bytes that are wanted, None for all of them.

        Several ranges, what is no range, and one of another version mean all: a server may ignore
        a Range (RFC 9110 §14.2).

        Raises:
            Unsatisfiable: the range lies beyond the end.
        """
        match = _RANGE.fullmatch(self.ranged) if self.ranged else None
        if match is None or not (match[1] or match[2]):
            return None
        if self.if_range and self.if_range != f'"{version}"':
            return None
        if not match[1]:
            first, last = max(length - int(match[2]), 0), length - 1
        else:
            first, last = int(match[1]), min(int(match[2] or length), length - 1)
            if match[2] and int(match[2]) < first:
                return None
        if first >= length or last < first:
            raise Unsatisfiable
        return first, last - first + 1


NONE = Conditions()
_READ = {b"if-none-match", b"range", b"if-range"}


def read_conditions(headers: Iterable[tuple[bytes, bytes]]) -> Conditions:
    """Return the conditions in the headers of a request, as ASGI gives them."""
    found = {name: value.decode("latin-1") for name, value in headers if name in _READ}
    if not found:
        return NONE
    known = found.get(b"if-none-match", "")
    tags = frozenset(("*",)) if known.strip() == "*" else frozenset(_TAG.findall(known))
    if_range = found.get(b"if-range", "").strip()
    return Conditions(tags, found.get(b"range", ""), if_range)
