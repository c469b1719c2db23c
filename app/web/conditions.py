"""Conditional requests and byte ranges (RFC 9110 §13, §14), read from a request's headers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from app.errors import Changed

_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_WEAK = re.compile(r'W/"[^"]*"')
_RANGE = re.compile(r"\s*(?i:bytes)\s*=\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*", re.ASCII)


class Unsatisfiable(Exception):
    """A range that lies beyond the end."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a caller has already, what it expects to find, and which bytes it wants.

    Tags are without quotes and `W/`; `expected` has strong ones alone, and is None without
    If-Match. If-Unmodified-Since is for changes: what is read has no date here, so that it has to
    be ignored there (RFC 9110 §13.1.4).
    """

    known: frozenset[str] = frozenset()
    expected: frozenset[str] | None = None
    unmodified_since: datetime | None = None
    ranged: str = ""
    if_range: str = ""

    def knows(self, version: str) -> bool:
        """Say whether If-None-Match names this version (weak comparison), or any."""
        return bool(self.known) and (version in self.known or "*" in self.known)

    def settled_by(self, version: str) -> bool:
        """Say whether the answer for this version needs no body: it is 304 or 412."""
        return self.knows(version) or not self._expects(version)

    def check(self, *versions: str, strong: bool = True) -> None:
        """Check If-Match for what is read; the tag of a multipart is not a `strong` one.

        Raises:
            Changed: it names none of the versions.
        """
        if not any(self._expects(version if strong else "") for version in versions):
            raise Changed("If-Match names another version than the one that is here")

    def check_change(self, version: str, modified: datetime | None) -> None:
        """Check all conditions for a change of what has this version, '' if there is nothing.

        Tags of any representation stand for the version that they begin with.

        Raises:
            Changed: one is not met.
        """
        if self.expected is not None:
            if not version or not _names(self.expected, version):
                raise Changed("If-Match names another version than the one that is here")
        elif self.unmodified_since and modified and self.unmodified_since < modified:
            raise Changed("It was modified after the time in If-Unmodified-Since")
        if version and _names(self.known, version):
            raise Changed("If-None-Match names what is here")

    def _expects(self, version: str) -> bool:
        return self.expected is None or version in self.expected or "*" in self.expected

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
_READ = {b"if-match", b"if-unmodified-since", b"if-none-match", b"range", b"if-range"}


def read_conditions(headers: Iterable[tuple[bytes, bytes]]) -> Conditions:
    """Return the conditions in the headers of a request, as ASGI gives them."""
    found: dict[bytes, str] = {}
    for name, value in headers:
        if name in _READ:
            text = value.decode("latin-1").strip()
            found[name] = f"{found[name]}, {text}" if name in found else text
    if not found:
        return NONE
    matched = found.get(b"if-match")
    return Conditions(
        known=_tags(found.get(b"if-none-match", "")),
        expected=None if matched is None else _tags(_WEAK.sub("", matched)),
        unmodified_since=_moment(found.get(b"if-unmodified-since", "")),
        ranged=found.get(b"range", ""),
        if_range=found.get(b"if-range", ""),
    )


def _tags(text: str) -> frozenset[str]:
    return frozenset(("*",)) if text == "*" else frozenset(_TAG.findall(text))


def _names(tags: frozenset[str], version: str) -> bool:
    return "*" in tags or any(tag.partition("-")[0] == version for tag in tags)


def _moment(text: str) -> datetime | None:
    """Return the end of the second that an HTTP date names; what is none has to be ignored."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC, microsecond=999_999)
