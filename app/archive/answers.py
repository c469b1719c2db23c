"""What a retrieve gives back: bodies that stream, all looked up before the first byte."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Body:
    """One Instance, bulk value or frame; `length` is None where re-encoding decides on it."""

    headers: Mapping[str, str]
    length: int | None
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """One or more bodies: a sequence where they are few, else an iterator.

    `media_type` is that of each part where `multipart`. `complete` is False if something asked for
    could not be made in a form that the caller accepts and was left out.
    """

    media_type: str
    multipart: bool
    bodies: Sequence[Body] | AsyncIterator[Body]
    complete: bool = True


async def begun(iterator: AsyncIterator[_Value]) -> AsyncIterator[_Value]:
    """Take the first value of one or more, so that what fails does so now; return all of them."""
    first = await anext(iterator)

    async def resumed() -> AsyncIterator[_Value]:
        yield first
        async for value in iterator:
            yield value

    return resumed()


async def once(data: bytes) -> AsyncIterator[bytes]:
    """Iterate over one piece."""
    yield data
