"""Scheduled steps in the index: put, removed, and searched by the same rules as Studies.

A step has one Item in its Scheduled Procedure Step Sequence, so keys of that Sequence are met in
one Item by being met at all. What has no column is for the caller, who has the Data Set.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.dicom.rules import Between, Match, Near, Rule, Several
from app.dicom.scheduled_step import KEYS, OVER, SCHEDULED, STATUS, STEPS, ScheduledStep
from app.errors import NotFound
from app.index.access import covered, visible_arguments
from app.index.conditions import Arguments, array_condition, moments, text_condition
from app.index.engine import Index
from app.index.events import log_event
from app.index.pool import Connection
from app.rights import Scope

PUT_KIND, REMOVED_KIND = "step-scheduled", "step-unscheduled"
_START = ("start_date", "start_time")
_VISIBLE = f"w.tenant_id = $1 AND {covered('w.study_instance_uid')}"
_SAID = (
    "start_date",
    "start_time",
    "station_ae_titles",
    "modality",
    "performing_physician_name",
    "patient_name",
    "patient_id",
    "accession_number",
    "requested_procedure_id",
)
_NAMES = ", ".join(["study_instance_uid", "step_id", "status", "document", *_SAID])
_TYPES = ["text"] * 4 + ["text[]" if name == "station_ae_titles" else "text" for name in _SAID]
_VALUES = ", ".join(f"${place}::{kind}" for place, kind in enumerate(_TYPES, start=2))
_NEW = ", ".join(f"{name} = excluded.{name}" for name in ["status", "document", *_SAID])
FIND_STATUS = """
SELECT status FROM scheduled_step
WHERE tenant_id = $1 AND study_instance_uid = $2 AND step_id = $3 FOR UPDATE
"""
PUT = f"""
INSERT INTO scheduled_step AS old (tenant_id, {_NAMES}) VALUES ($1, {_VALUES})
ON CONFLICT (tenant_id, study_instance_uid, step_id) DO UPDATE SET {_NEW}, changed_at = now()
WHERE (old.document, old.status) IS DISTINCT FROM (excluded.document, excluded.status)
RETURNING id
"""  # noqa: S608 - our own names, as below
REMOVE = f"""
DELETE FROM scheduled_step w WHERE {_VISIBLE} AND w.study_instance_uid = $3 AND w.step_id = $4
RETURNING id
"""  # noqa: S608
FORGET = """
DELETE FROM scheduled_step WHERE id IN (
    SELECT id FROM scheduled_step WHERE tenant_id = $1 AND start_date < $2
    ORDER BY start_date, start_time, id LIMIT $3
) RETURNING study_instance_uid
"""
FIND = f"""
SELECT w.id, w.status, w.document FROM scheduled_step w
WHERE {_VISIBLE} AND w.study_instance_uid = $3 AND w.step_id = $4
"""  # noqa: S608
_OPEN = f"w.status NOT IN ({', '.join(map(repr, OVER))})"
"""Written out: so the planner sees that a partial index answers."""


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as it is kept."""

    id: int
    status: str
    document: str


async def put_steps(
    index: Index, tenant_id: int, actor: str, steps: Sequence[ScheduledStep]
) -> list[bool]:
    """Put steps on the worklist, or in the place of those of their names; say which are new.

    All are put or none. One that does not say its status keeps the one that it has, for it may have
    been begun; a new one is scheduled. What changes nothing is not logged.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> list[bool]:
        by_name = sorted(range(len(steps)), key=lambda place: _name(steps[place]))
        new = {place: await _put(connection, tenant_id, actor, steps[place]) for place in by_name}
        return [new[place] for place in range(len(steps))]

    return await index.retrying(work)


def _name(step: ScheduledStep) -> tuple[str, str]:
    return step.study_instance_uid, step.step_id


async def _put(connection: Connection, tenant_id: int, actor: str, step: ScheduledStep) -> bool:
    had = await connection.fetchval(FIND_STATUS, tenant_id, *_name(step))
    status = step.status or had or SCHEDULED
    said = [step.columns[name] for name in _SAID]
    values = (tenant_id, *_name(step), status, step.document, *said)
    if await connection.fetchval(PUT, *values) is not None:
        payload = {"study": step.study_instance_uid, "status": status, "sha256": step.digest}
        await log_event(connection, tenant_id, PUT_KIND, actor, payload)
    return had is None


async def remove_step(index: Index, scope: Scope, actor: str, study: str, step_id: str) -> None:
    """Take a step off the worklist.

    Raises:
        NotFound: there is no such step, or the scope does not cover it.
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> bool:
        named = (*visible_arguments(scope), study, step_id)
        if await connection.fetchval(REMOVE, *named) is None:
            return False
        await log_event(connection, scope.tenant_id, REMOVED_KIND, actor, {"study": study})
        return True

    if not await index.retrying(work):
        raise NotFound("A scheduled step of Study", study)


async def forget_steps(index: Index, tenant_id: int, actor: str, before: str, most: int) -> int:
    """Take up to `most` steps that were to begin before a day off the worklist; say how many.

    Raises:
        Unavailable: the index does not answer.
    """

    async def work(connection: Connection) -> int:
        rows = await connection.fetch(FORGET, tenant_id, before, most)
        for study in sorted({row["study_instance_uid"] for row in rows}):
            await log_event(connection, tenant_id, REMOVED_KIND, actor, {"study": study})
        return len(rows)

    return await index.retrying(work)


async def find_step(index: Index, scope: Scope, study: str, step_id: str) -> StepRow:
    """Return one step.

    Raises:
        NotFound: there is no such step, or the scope does not cover it.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(FIND, *visible_arguments(scope), study, step_id)
    if row is None:
        raise NotFound("A scheduled step of Study", study)
    return StepRow(*row)


def is_indexed(match: Match) -> bool:
    """Say whether the index answers for a match; it has no keys for names that are nearly so."""
    return match.attribute.path in KEYS and not _is_near(match.rule)


def _is_near(rule: Rule) -> bool:
    if isinstance(rule, Several):
        return any(map(_is_near, rule.rules))
    return isinstance(rule, Near)


async def find_steps(
    index: Index, scope: Scope, matches: Sequence[Match], skip: int, most: int
) -> list[StepRow]:
    """Return up to `most` steps after the first `skip` that meet the matches with a column.

    The next to begin come first. Steps that are over are left out unless a match asks for statuses.

    Raises:
        Unavailable: the index does not answer in time.
    """
    arguments = _arguments(scope)
    met = _met(matches, arguments)
    order = "w.start_date, w.start_time, w.id"
    page = f"ORDER BY {order} OFFSET {arguments.add(skip)} LIMIT {arguments.add(most)}"
    chosen = f"SELECT w.id, w.status, w.document FROM scheduled_step w WHERE {met} {page}"  # noqa: S608
    return [StepRow(*row) for row in await index.search(chosen, *arguments)]


async def count_steps(
    index: Index, scope: Scope, matches: Sequence[Match], skip: int, most: int
) -> int:
    """Return how many steps there are after the first `skip`, counted up to `most`.

    Raises:
        Unavailable: the index does not answer in time.
    """
    arguments = _arguments(scope)
    met = _met(matches, arguments)
    page = f"OFFSET {arguments.add(skip)} LIMIT {arguments.add(most)}"
    inner = f"SELECT FROM scheduled_step w WHERE {met} {page}"
    rows = await index.search(f"SELECT count(*) FROM ({inner}) AS found", *arguments)  # noqa: S608
    return int(rows[0][0])


def _arguments(scope: Scope) -> Arguments:
    """Return the first two arguments, as `_VISIBLE` has them."""
    arguments = Arguments(scope, None)
    arguments.add(visible_arguments(scope)[1])
    return arguments


def _met(matches: Sequence[Match], arguments: Arguments) -> str:
    indexed = [match for match in matches if is_indexed(match)]
    conditions = [_VISIBLE, *_conditions(indexed, arguments)]
    if all(match.attribute.path != (STEPS, STATUS) for match in matches):
        conditions.append(_OPEN)
    return " AND ".join(conditions)


def _conditions(matches: Sequence[Match], arguments: Arguments) -> Iterable[str]:
    """Yield a condition for each match; a date and a time in ranges are one (PS3.4 Table K.6-1)."""
    ranges = {
        KEYS[match.attribute.path]: match
        for match in matches
        if isinstance(match.rule, Between) and match.rule.ranged
    }
    joint: list[Match] = []
    if set(_START) <= ranges.keys():
        joint = [ranges[name] for name in _START]
        days, times = (match.rule for match in joint)
        assert isinstance(days, Between)  # noqa: S101 - as chosen above
        assert isinstance(times, Between)  # noqa: S101
        yield moments(("w.start_date", "w.start_time"), days, times, arguments)
    for match in matches:
        if match not in joint:
            column = KEYS[match.attribute.path]
            condition = array_condition if column == "station_ae_titles" else text_condition
            yield condition(f"w.{column}", match.rule, arguments)
