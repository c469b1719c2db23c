"""Values of attributes without a column, kept for those that the operator has chosen.

An attribute is chosen, then filled from what the index keeps of the data, while the archive runs;
searches use it when it is filled. What holds:

* whoever adds or describes anew writes the values of all chosen attributes in the same transaction,
  and reads which those are only after its first statement on `instance`;
* `choose` and `_mark_leaving` lock `instance` against such statements for a moment. So each writer
  is either over by then, and the filling sees its rows, or it knows what is chosen;
* rows that are filled are locked for the step, so that they are neither removed nor described anew
  meanwhile; whoever removes a row removes its values afterwards;
* what is chosen is a fact in the log, so an index that is made anew answers for the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import asyncpg

from app.dicom.attributes import Level
from app.dicom.chosen_attributes import ChosenAttribute, read_chosen
from app.dicom.kept_values import kept_values
from app.errors import Conflict, InvalidQuery, NotFound
from app.index.contents import CONTENTS, read_contents
from app.index.engine import Index, fetch_at
from app.index.events import Event, log_event
from app.index.faults import TryAgain
from app.index.pool import Connection
from app.rights import DEFAULT_TENANT

STEP = 200
"""Rows that are filled in one transaction."""
VALUES_AT_ONCE = 20_000
"""Values that are removed in one statement."""
PAUSE = 1.0
"""Seconds: a search that has read what is chosen has ended by then, or soon after."""
_FEW = 4

_TABLES = {Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}

LIST = "SELECT * FROM indexed_attribute WHERE tenant_id = $1 ORDER BY id"
FIND = "SELECT * FROM indexed_attribute WHERE tenant_id = $1 AND name = $2"
CHOOSE = """
INSERT INTO indexed_attribute (tenant_id, name, level, vr, state) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, name) DO NOTHING RETURNING id
"""
SHUT = "LOCK TABLE instance IN SHARE MODE"
MEASURE = {
    level: f"UPDATE indexed_attribute SET until_key = (SELECT coalesce(max(id), 0) FROM {table}),"  # noqa: S608 - our own names, as below
    f" total = (SELECT coalesce(sum({plural}), 0) FROM tally WHERE tenant_id = $1) WHERE id = $2"
    for (level, table), plural in zip(
        _TABLES.items(), ("studies", "series", "instances"), strict=True
    )
}
NEXT = "SELECT * FROM indexed_attribute WHERE id = $1 AND state = $2 FOR UPDATE"
NEXT_ROWS = {
    level: f"SELECT id FROM {table} WHERE tenant_id = $1 AND id > $2 AND id <= $3"  # noqa: S608
    f" ORDER BY id LIMIT {STEP} FOR SHARE"
    for level, table in _TABLES.items()
}
ADVANCE = "UPDATE indexed_attribute SET last_key = $2, done = done + $3, state = $4 WHERE id = $1"
LEAVE = """
UPDATE indexed_attribute SET state = $2 WHERE id = $1 AND state <> $2 RETURNING tenant_id, name
"""
FORGET = "DELETE FROM indexed_attribute WHERE id = $1"
CLEAR = f"""
DELETE FROM attribute_value WHERE (attribute_id, owner_key, position) IN (
    SELECT attribute_id, owner_key, position FROM attribute_value WHERE attribute_id = $1
    LIMIT {VALUES_AT_ONCE})
"""  # noqa: S608
CHOOSE_AGAIN = """
INSERT INTO indexed_attribute (tenant_id, name, level, vr, state, chosen_at)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, name) DO NOTHING
"""
FORGET_AGAIN = "DELETE FROM indexed_attribute WHERE tenant_id = $1 AND name = $2"

REMOVE_VALUES = """
DELETE FROM attribute_value USING indexed_attribute AS a
WHERE a.tenant_id = $1 AND a.level = $2 AND attribute_id = a.id AND owner_key = ANY($3)
"""
REMOVE_OLD = "DELETE FROM attribute_value WHERE attribute_id = ANY($1) AND owner_key = ANY($2)"
ADD_VALUES = """
INSERT INTO attribute_value (tenant_id, attribute_id, owner_key, position, items, value)
SELECT $1, attribute, owner, position, items::integer[], value
FROM unnest($2::integer[], $3::bigint[], $4::integer[], $5::text[], $6::text[])
    AS new (attribute, owner, position, items, value)
"""


class State(StrEnum):
    """How far an attribute is on its way into the index, or out of it."""

    FILLING = "filling"
    READY = "ready"
    LEAVING = "leaving"
    OUTDATED = "outdated"
    """Another version of the program reads its name otherwise."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """A chosen attribute, and of how many rows it is filled; `total` is what there were then."""

    key: int
    chosen: ChosenAttribute | None
    name: str
    state: State
    done: int
    total: int

    @property
    def shown(self) -> str:
        """How a person writes it."""
        return self.chosen.shown if self.chosen else self.name

    @property
    def share(self) -> float:
        """How much of it is filled, from 0 to 1."""
        return 1.0 if self.state is State.READY else min(1.0, self.done / max(1, self.total))


def indexed_attributes(url: str) -> list[Indexed]:
    """Return all chosen attributes of the first tenant, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """

    return [_indexed(row) for row in fetch_at(url, LIST, DEFAULT_TENANT)]


def _indexed(row: Any) -> Indexed:
    state, chosen = State(row["state"]), None
    try:
        chosen = read_chosen(row["name"])
    except InvalidQuery:
        state = State.OUTDATED
    if chosen and (chosen.attribute.level, chosen.attribute.vr) != (row["level"], row["vr"]):
        state = State.OUTDATED
    return Indexed(row["id"], chosen, row["name"], state, row["done"], row["total"])


async def list_indexed(index: Index, tenant_id: int) -> list[Indexed]:
    """Return all chosen attributes.

    Raises:
        Unavailable: the index does not answer.
    """
    return [_indexed(row) for row in await index.fetch(LIST, tenant_id)]


async def load_written(connection: Connection, tenant_id: int) -> list[Indexed]:
    """Return the attributes whose values have to be written with each row."""
    found = [_indexed(row) for row in await connection.fetch(LIST, tenant_id)]
    return [one for one in found if one.state in (State.FILLING, State.READY)]


async def write_values(
    connection: Connection,
    tenant_id: int,
    indexed: Iterable[Indexed],
    level: Level,
    keys: Sequence[int],
) -> None:
    """Write the values that rows of a level have of the attributes, instead of those before."""
    of_level = [one for one in indexed if one.chosen and one.chosen.attribute.level == level]
    if not of_level or not keys:
        return
    rows = await connection.fetch(CONTENTS[level], keys)
    if len(rows) <= _FEW:
        columns = _columns(of_level, level, rows)
    else:
        columns = await asyncio.to_thread(_columns, of_level, level, rows)
    await connection.execute(REMOVE_OLD, [one.key for one in of_level], keys)
    if columns:
        await connection.execute(ADD_VALUES, tenant_id, *columns)


def _columns(indexed: Sequence[Indexed], level: Level, rows: Sequence[Any]) -> list[list[Any]]:
    """Return the columns of `ADD_VALUES`."""
    values = [
        (one.key, owner, position, f"{{{','.join(map(str, value.items))}}}", value.text)
        for owner, dataset in read_contents(rows, level)
        for one in indexed
        if one.chosen
        for position, value in enumerate(
            kept_values(dataset, one.chosen.attribute, one.chosen.creators)
        )
    ]
    return [list(column) for column in zip(*values, strict=True)]


async def remove_values(
    connection: Connection, tenant_id: int, level: Level, keys: Sequence[int]
) -> None:
    """Remove the values of rows of a level that are removed themselves."""
    await connection.execute(REMOVE_VALUES, tenant_id, level, keys)


async def choose(index: Index, tenant_id: int, actor: str, chosen: ChosenAttribute) -> Indexed:
    """Have the values of an attribute written from now on; what is there already is for `fill`.

    Raises:
        Conflict: its values are being removed.
        Unavailable: the index does not answer, or writers do not give way.
    """
    attribute = chosen.attribute

    async def work(connection: Connection) -> None:
        values = (chosen.name, attribute.level, attribute.vr, State.FILLING)
        key = await connection.fetchval(CHOOSE, tenant_id, *values)
        if key is not None:
            await connection.execute(SHUT)
            await connection.execute(MEASURE[attribute.level], tenant_id, key)
            tag = {"name": chosen.name, "level": int(attribute.level), "vr": attribute.vr}
            await log_event(connection, tenant_id, "tag-chosen", actor, {"tag": tag})

    await _give_way(index, work)
    found = await find_indexed(index, tenant_id, chosen)
    if found.state is State.LEAVING:
        raise Conflict(f"{chosen.shown} is being removed from the index: finish that first")
    return found


async def find_indexed(index: Index, tenant_id: int, chosen: ChosenAttribute) -> Indexed:
    """Return what is known of an attribute that was chosen.

    Raises:
        NotFound: it is not chosen.
    """
    row = await index.fetchrow(FIND, tenant_id, chosen.name)
    if row is None:
        raise NotFound("The index of", chosen.shown)
    return _indexed(row)


async def fill(index: Index, key: int) -> int | None:
    """Fill an attribute from the next rows; return of how many, None if nothing is left.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> int | None:
        row = await connection.fetchrow(NEXT, key, State.FILLING)
        if row is None:
            return None
        indexed, level = _indexed(row), Level(row["level"])
        tenant_id = row["tenant_id"]
        places = (tenant_id, row["last_key"], row["until_key"])
        keys = [one["id"] for one in await connection.fetch(NEXT_ROWS[level], *places)]
        await write_values(connection, tenant_id, [indexed], level, keys)
        state = State.FILLING if keys else State.READY
        last = keys[-1] if keys else row["until_key"]
        await connection.execute(ADVANCE, key, last, len(keys), state)
        return len(keys) or None

    done = await index.retrying(work)
    if done is None:  # what is searched first thing afterwards is planned with figures
        async with index.at_once() as connection:
            await connection.execute("ANALYZE attribute_value")
    return done


async def drop(index: Index, actor: str, key: int) -> None:
    """Remove an attribute from the index, with its values.

    Raises:
        Unavailable: the index does not answer, or writers do not give way.
    """

    async def work(connection: Connection) -> None:
        row = await connection.fetchrow(LEAVE, key, State.LEAVING)
        await connection.execute(SHUT)
        if row is not None:
            payload = {"tag": {"name": row["name"]}}
            await log_event(connection, row["tenant_id"], "tag-dropped", actor, payload)

    await _give_way(index, work)
    await asyncio.sleep(PAUSE)
    async with index.at_once() as connection:
        while await connection.execute(CLEAR, key) != "DELETE 0":
            pass
        await connection.execute(FORGET, key)


async def _give_way(index: Index, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Run what locks `instance`; who stores or removes meanwhile waits for a second at most."""

    async def bounded(connection: Connection) -> None:
        await connection.execute("SET LOCAL lock_timeout = '1s'")
        try:
            await work(connection)
        except asyncpg.LockNotAvailableError as error:
            raise TryAgain("writers did not give way") from error

    await index.retrying(bounded)


async def apply_tag_event(connection: Connection, tenant_id: int, event: Event) -> None:
    """Do again what an event of the log says is chosen, in an index that has no rows yet."""
    tag = event.payload["tag"]
    if event.kind == "tag-dropped":
        await connection.execute(FORGET_AGAIN, tenant_id, tag["name"])
        return
    said = (tag["name"], tag["level"], tag["vr"], State.READY, event.at)
    await connection.execute(CHOOSE_AGAIN, tenant_id, *said)
