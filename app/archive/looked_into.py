"""Matches of attributes that the index has no column for (PS3.18 §10.6).

They are looked up in what the index keeps of the data; no object is read. An attribute of a Study
or Series is looked up in what its first Instance said; any other, private ones too, in the Metadata
of each Instance, and a Study or Series matches if one Instance does. What is looked into are the
rows that all other keys leave, up to a limit.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson

from app.archive.context import Archive
from app.dicom.any_attribute import meets
from app.dicom.attributes import Level, member_key, split_members
from app.dicom.matching import Query
from app.dicom.rules import Empty
from app.dicom.value_representations import is_private
from app.errors import TooLarge
from app.index.packing import metadata_unpacker
from app.index.search import Among, find_candidates, load_contents
from app.rights import Scope

_STEP = 200
_NAMES = {Level.STUDY: "Studies", Level.SERIES: "Series", Level.INSTANCE: "Instances"}


async def find_among(archive: Archive, scope: Scope, query: Query) -> Among | None:
    """Return the rows that meet the matches without a column; None if the query has none.

    Raises:
        TooLarge: the other keys leave more rows than may be looked into.
    """
    if not query.unindexed:
        return None
    depth = Level(max(match.attribute.level for match in query.unindexed))
    most = archive.limits.looked_into
    candidates = await find_candidates(archive.index, scope, query, depth, most + 1)
    if len(candidates) > most:
        raise _too_many(query, depth, most)
    targets = {candidate.key: candidate.target for candidate in candidates}
    keys, found = list(targets), set[int]()
    for start in range(0, len(keys), _STEP):
        step = [key for key in keys[start : start + _STEP] if targets[key] not in found]
        rows = await load_contents(archive.index, depth, step)
        met = await asyncio.to_thread(_keys_that_meet, rows, query, depth)
        found.update(targets[key] for key in met)
    return Among(Level(min(query.level, depth)), sorted(found))


def _keys_that_meet(rows: list[tuple[Any, ...]], query: Query, depth: Level) -> list[int]:
    creators = dict(query.creators)
    read = _read_metadata(rows, query) if depth is Level.INSTANCE else _read_members(rows)
    return [
        key
        for key, dataset in read
        if all(meets(dataset, match, creators) for match in query.unindexed)
    ]


def _read_metadata(
    rows: list[tuple[Any, ...]], query: Query
) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield the Metadata of Instances, but only where the tags that have to be there are."""
    tags = {
        match.attribute.path[-1]
        for match in query.unindexed
        if not isinstance(match.rule, Empty) and not is_private(match.attribute.path[-1])
    }
    needed = [member_key(tag).encode() for tag in tags]
    for key, metadata, dictionary in rows:
        document = metadata_unpacker(dictionary)(metadata)
        if all(tag in document for tag in needed):
            yield key, orjson.loads(document)


def _read_members(rows: list[tuple[Any, ...]]) -> Iterable[tuple[int, dict[str, Any]]]:
    for key, *texts in rows:
        members = [member for text in texts for member in split_members(text)]
        yield key, orjson.loads(f"{{{','.join(members)}}}")


def _too_many(query: Query, depth: Level, most: int) -> TooLarge:
    names = ", ".join(match.attribute.keyword for match in query.unindexed)
    return TooLarge(
        f"{names} is not in the index, and this search leaves more than {most} {_NAMES[depth]} to "
        "look into. Narrow it: name a Study or Series in the path, or give StudyInstanceUID, "
        "PatientID, StudyDate or another key that is in the index"
    )
