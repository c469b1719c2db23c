"""Matches that the columns of the index do not answer for (PS3.18 §10.6).

For attributes that the operator has chosen the index keeps the values (`archive.indexed_tags`). All
others are looked up in what it keeps of the data; no object is read. An attribute of a Study
or Series is looked up in what its first Instance said; any other, private ones too, in the Metadata
of each Instance, and a Study or Series matches if one Instance does. What is looked into are the
rows that all other keys leave, up to a limit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.archive.context import Archive
from app.dicom.any_attribute import meets_all
from app.dicom.attributes import Level
from app.dicom.chosen_attributes import name_of
from app.dicom.kept_values import kept_rule
from app.dicom.matching import Query
from app.dicom.rules import Chosen, Empty, Match
from app.dicom.value_representations import is_private
from app.errors import TooLarge
from app.index.attribute_values import Indexed, State, list_indexed
from app.index.contents import read_contents
from app.index.search import Among, find_candidates, load_contents
from app.rights import Scope

_STEP = 200
_NAMES = {Level.STUDY: "Studies", Level.SERIES: "Series", Level.INSTANCE: "Instances"}


async def narrow(archive: Archive, scope: Scope, query: Query) -> tuple[Query, Among | None]:
    """Return the query as the index answers it, and the rows that meet all that it does not.

    The latter is None if the index answers for all of it.

    Raises:
        TooLarge: the other keys leave more rows than may be looked into.
    """
    indexed: dict[str, Indexed] = {}
    if query.unindexed:
        found = await list_indexed(archive.index, scope.tenant_id)
        indexed = {one.name: one for one in found}
        query = replace(query, matches=tuple(_chosen(one, query, indexed) for one in query.matches))
    matches = query.looked_into
    if not matches:
        return query, None
    return query, await _find_among(archive, scope, query, matches, indexed)


def _chosen(match: Match, query: Query, indexed: dict[str, Indexed]) -> Match:
    """Return a match with the number of its attribute, if its values are kept and tell."""
    one = None if match.indexed else indexed.get(_name(match, query))
    if one is None or one.state is not State.READY:
        return match
    rule = kept_rule(match.rule, match.attribute.vr)
    return match if rule is None else replace(match, chosen=Chosen(one.key, rule))


def _name(match: Match, query: Query) -> str:
    return name_of(match.attribute.path, dict(query.creators))


async def _find_among(
    archive: Archive,
    scope: Scope,
    query: Query,
    matches: Sequence[Match],
    indexed: dict[str, Indexed],
) -> Among:
    depth = Level(max(match.attribute.level for match in matches))
    most = archive.limits.looked_into
    candidates = await find_candidates(archive.index, scope, query, depth, most + 1)
    if len(candidates) > most:
        why, command = _why(query, matches, indexed)
        left = f"this search leaves more than {most} {_NAMES[depth]} to look into"
        raise TooLarge(f"{why}, and {left}. {_NARROW}{command}")
    targets = {candidate.key: candidate.target for candidate in candidates}
    keys, found = list(targets), set[int]()
    for start in range(0, len(keys), _STEP):
        step = [key for key in keys[start : start + _STEP] if targets[key] not in found]
        rows = await load_contents(archive.index, depth, step)
        met = await asyncio.to_thread(_keys_that_meet, rows, query, matches, depth)
        found.update(targets[key] for key in met)
    return Among(Level(min(query.level, depth)), sorted(found))


def _keys_that_meet(
    rows: list[tuple[Any, ...]], query: Query, matches: Sequence[Match], depth: Level
) -> list[int]:
    creators = dict(query.creators)
    needed = {
        match.attribute.path[-1]
        for match in matches
        if not isinstance(match.rule, Empty) and not is_private(match.attribute.path[-1])
    }
    read = read_contents(rows, depth, needed)
    return [key for key, dataset in read if meets_all(dataset, matches, creators)]


_NARROW = (
    "Narrow it: name a Study or Series in the path, or give StudyInstanceUID, PatientID, StudyDate "
    "or another key that is in the index"
)


def _why(query: Query, matches: Sequence[Match], indexed: dict[str, Indexed]) -> tuple[str, str]:
    """Say why the index does not answer, and what an operator can do about it."""
    reasons, wanted = [], []
    for match in matches:
        keyword, one = match.attribute.keyword, indexed.get(_name(match, query))
        if match.indexed:
            reasons.append(f"{keyword} has to be met in the same Item as the keys beside it")
        elif one is None:
            name = _name(match, query)
            wanted.append(f"'{name}'" if "&" in name else keyword)
            reasons.append(f"{keyword} is not in the index")
        elif one.state is State.FILLING:
            reasons.append(f"{keyword} is being indexed ({one.share:.0%} so far)")
        else:
            reasons.append(f"the index of {keyword} cannot tell")
    command = f"fileroom index-tags add {' '.join(wanted)}"
    return ", ".join(reasons), f"; or have it indexed: {command}" if wanted else ""
