"""Many Instances as the parts of one Store request (RFC 2387, PS3.18 §10.5)."""

import secrets
from collections.abc import Iterator, Sequence
from typing import Protocol

from app.dimse.archive import Body
from app.mime.multipart import closing, part_header

DICOM = "application/dicom"


class Sized(Protocol):
    """An Instance as a file: its length, and its bytes, which can be had again."""

    @property
    def size(self) -> int:
        """How many bytes it has."""
        ...

    def __iter__(self) -> Iterator[bytes]:
        """Yield them from the beginning."""
        ...


class _Parts:
    def __init__(self, boundary: str, instances: Sequence[Sized]) -> None:
        self._instances = instances
        self._first = part_header(boundary, {"Content-Type": DICOM}, first=True)
        self._next = part_header(boundary, {"Content-Type": DICOM})
        self._end = closing(boundary)

    @property
    def size(self) -> int:
        around = len(self._first) + (len(self._instances) - 1) * len(self._next) + len(self._end)
        return around + sum(one.size for one in self._instances)

    def __iter__(self) -> Iterator[bytes]:
        for number, one in enumerate(self._instances):
            yield self._next if number else self._first
            yield from one
        yield self._end


def body_of(instances: Sequence[Sized]) -> Body:
    """Return the body of a Store request: one Instance as it is, several as a multipart."""
    if len(instances) == 1:
        return Body(DICOM, instances[0].size, instances[0])
    boundary = secrets.token_hex(16)
    parts = _Parts(boundary, instances)
    return Body(f'multipart/related; type="{DICOM}"; boundary={boundary}', parts.size, parts)
