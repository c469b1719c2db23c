"""What a retrieve gives back: bodies that stream, all looked up before the first byte."""

import asyncio
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from app.dicom.uids import InstanceRef

_Thing = TypeVar("_Thing")
_Value = TypeVar("_Value")


Section: TypeAlias = Callable[[int, int], Awaitable[AsyncIterator[bytes]]]
Known: TypeAlias = Callable[[str], bool]
"""Says whether the caller has a version already."""


def nothing_known(_: str) -> bool:
    """Say that the caller has no version."""
    return False


@dataclass(frozen=True, slots=True)
class Body:
    """One Instance, bulk value or frame; `length` is None where re-encoding decides on it.

    `section` opens some of the bytes, by offset and length, where that takes no reading of others.
    `ref` is that of a whole Instance, `whole` are all bytes if they are there already.
    """

    headers: Mapping[str, str]
    length: int | None
    chunks: AsyncIterator[bytes]
    section: Section | None = None
    ref: InstanceRef | None = None
    whole: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One or more bodies: a sequence where they are few, else an iterator.

    `media_type` is that of each part where `multipart`. `complete` is False if something asked for
    could not be made in a form that the caller accepts and was left out. `version` changes whenever
    the bodies may have changed; bodies of a version that the caller has already are not opened.
    """

    media_type: str
    multipart: bool
    bodies: Sequence[Body] | AsyncIterator[Body]
    complete: bool = True
    version: str = ""


async def begun(iterator: AsyncIterator[_Value]) -> AsyncIterator[_Value]:
    """Take the first value of one or more, so that what fails does so now; return all of them."""
    return after(await anext(iterator), iterator)


async def after(first: _Value, rest: AsyncIterator[_Value]) -> AsyncIterator[_Value]:
    """Iterate over a value that was taken already, and those that follow it."""
    yield first
    async for value in rest:
        yield value


async def ahead(
    things: AsyncIterator[_Thing], job: Callable[[_Thing], Coroutine[Any, Any, _Value]], most: int
) -> AsyncIterator[_Value]:
    """Do a job for each thing, up to `most` at once before their turn; yield results in order."""
    waiting: deque[asyncio.Task[_Value]] = deque()
    try:
        async for thing in things:
            task = asyncio.create_task(job(thing))
            task.add_done_callback(_taken_note_of)  # nobody may be left to await it
            waiting.append(task)
            if len(waiting) > most:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _taken_note_of(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def each(values: Iterable[_Value]) -> AsyncIterator[_Value]:
    """Iterate over values that are there already."""
    for value in values:
        yield value


def body_of(headers: Mapping[str, str], data: bytes) -> Body:
    """Return bytes that are there already as a body."""

    async def section(offset: int, count: int) -> AsyncIterator[bytes]:
        return once(data[offset : offset + count])

    return Body(headers, len(data), once(data), section, whole=data)


async def once(value: _Value) -> AsyncIterator[_Value]:
    """Iterate over one value."""
    yield value


def as_iterator(values: Sequence[_Value] | AsyncIterator[_Value]) -> AsyncIterator[_Value]:
    """Iterate over what is there already or still comes."""
    return each(values) if isinstance(values, Sequence) else values
