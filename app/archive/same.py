"""Is this the Instance that is here already? (DESIGN §5, "The same instance again")

Equal bytes are the same; so is an equal Data Set behind another File Meta Information (it came from
another AE, or on a disc), and an equal Data Set in another uncompressed encoding. The last is
decided by the DICOM JSON of both and by their bulk values, read side by side in one byte order.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from app.archive.context import Archive
from app.dicom.deflated import rendition
from app.dicom.scanned import BulkPlace
from app.dicom.transfer_syntaxes import TransferSyntax, find
from app.index.instances import NewInstance
from app.index.present import Present

_BLOCK = 2**20
_OPAQUE = {"OB", "OW", "UN"}
"""VRs between which an encoding may choose for the same value."""
_WORD = {"OB": 1, "UN": 1, "OF": 4, "OL": 4, "UL": 4, "SL": 4, "FL": 4, "OD": 8, "OV": 8, "FD": 8}
"""Bytes that a big endian encoding turns round together; 2 for all others."""
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()

_Read = Callable[[int, int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two Instances."""

    key: str
    syntax: TransferSyntax
    dataset_offset: int
    metadata: bytes
    bulk_values: Mapping[str, BulkPlace]


async def is_same(archive: Archive, new: NewInstance, present: Present) -> bool:
    """Say whether an Instance whose object is put is the one that is `present`.

    Raises:
        NotFound, Unavailable: an object cannot be read.
    """
    if new.sha256 == present.sha256:
        return True
    if new.ref != present.ref:
        return False
    scanned = new.scanned
    if new.dataset_sha256 == present.dataset_sha256:
        return scanned.transfer_syntax_uid == present.transfer_syntax_uid
    mine, theirs = find(scanned.transfer_syntax_uid), find(present.transfer_syntax_uid)
    if mine is None or theirs is None or mine.encapsulated or theirs.encapsulated:
        return False
    return await _is_equal(
        archive,
        _Side(new.object_key, mine, scanned.dataset_offset, scanned.metadata, scanned.bulk_values),
        _Side(
            present.object_key,
            theirs,
            present.dataset_offset,
            present.metadata,
            present.bulk_values,
        ),
    )


async def _is_equal(archive: Archive, one: _Side, other: _Side) -> bool:
    if _REPLACEMENT in one.metadata:  # text that could not be read may differ unseen
        return False
    if one.bulk_values.keys() != other.bulk_values.keys():
        return False
    if not _equal_items(orjson.loads(one.metadata), orjson.loads(other.metadata)):
        return False
    async with _opened(archive, one) as read_one, _opened(archive, other) as read_other:
        for path, place in one.bulk_values.items():
            mine = _values(read_one, place, one.syntax)
            theirs = _values(read_other, other.bulk_values[path], other.syntax)
            if place.length != other.bulk_values[path].length or not await _agree(mine, theirs):
                return False
    return True


def _equal_items(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_equal_elements(one[tag], other[tag]) for tag in one)


def _equal_elements(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one["vr"] == other["vr"] == "SQ":
        items, others = one.get("Value", []), other.get("Value", [])
        return len(items) == len(others) and all(map(_equal_items, items, others))
    if one["vr"] != other["vr"] and not {one["vr"], other["vr"]} <= _OPAQUE:
        return False
    return {**one, "vr": ""} == {**other, "vr": ""}


@asynccontextmanager
async def _opened(archive: Archive, side: _Side) -> AsyncIterator[_Read]:
    """Give a function that reads from the object, or from the rendition of a deflated one."""
    if not side.syntax.deflated:
        yield lambda offset, length: archive.objects.read(side.key, offset, length)
        return
    threads = archive.staging.threads
    staged = await archive.staging.stage(await archive.objects.stream(side.key))
    try:
        inflated = await threads.run(
            rendition, staged.source(), side.dataset_offset, archive.limits
        )
        yield lambda offset, length: threads.run(inflated.read, offset, length)
    finally:
        staged.discard()


async def _values(read: _Read, place: BulkPlace, syntax: TransferSyntax) -> AsyncIterator[bytes]:
    """Yield a bulk value in little endian, in blocks."""
    word = _WORD.get(place.vr, 2) if syntax.big_endian else 1
    for start in range(0, place.length, _BLOCK):
        block = await read(place.offset + start, min(_BLOCK, place.length - start))
        yield _turned(block, word)


def _turned(block: bytes, word: int) -> bytes:
    whole = len(block) - len(block) % word
    if word == 1:
        return block
    return np.frombuffer(block[:whole], f"u{word}").byteswap().tobytes() + block[whole:]


async def _agree(one: AsyncIterator[bytes], other: AsyncIterator[bytes]) -> bool:
    async for block in one:
        if block != await anext(other, None):
            return False
    return True
