"""What a retrieve gives back: bodies that stream, whose number and sizes are known beforehand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Body:
    """One Instance, bulk value or frame: its header fields and its bytes."""

    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Sizes:
    """So many bodies with these header fields have so many bytes together."""

    headers: Mapping[str, str]
    count: int
    length: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of one or more bodies, all looked up; nothing has been sent yet.

    `media_type` is that of each part where `multipart`. `sizes` is None where decoding or
    re-encoding decides on them. `complete` is False if something asked for could not be made in a
    form that the caller accepts and was left out.
    """

    media_type: str
    multipart: bool
    bodies: AsyncIterator[Body]
    sizes: Sequence[Sizes] | None = None
    complete: bool = True


async def once(data: bytes) -> AsyncIterator[bytes]:
    """Iterate over one piece."""
    yield data
