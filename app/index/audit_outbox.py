"""How far each audit repository was told of the log, of all tenants, in its order.

The log itself is what waits to be told, so nothing is queued when something is read: whoever was
dead for days is told from where it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.index.engine import Index
from app.index.events import Event, Position, make_event

_BEGIN = """
INSERT INTO audit_collector (address, after_transaction, after_number)
SELECT $1, coalesce(last.xid::text::bigint, 0), coalesce(last.id, 0)
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT xid, id FROM event WHERE xid < event_horizon()
    ORDER BY event.xid DESC, event.id DESC LIMIT 1
) AS last ON true
ON CONFLICT (address) DO NOTHING
"""
_AFTER = "SELECT after_transaction, after_number FROM audit_collector WHERE address = $1"
_MOVE = """
UPDATE audit_collector SET after_transaction = $2, after_number = $3
WHERE address = $1 AND (after_transaction, after_number) < ($2, $3)
"""
_READ = """
SELECT xid::text, id, at, kind, actor, payload, tenant_id,
    (SELECT patient_id || CASE WHEN issuer_of_patient_id = '' THEN ''
        ELSE '^^^' || issuer_of_patient_id END
    FROM study WHERE study.tenant_id = event.tenant_id
        AND study_instance_uid = payload->>'study') AS patient
FROM event WHERE (event.xid, event.id) > ($1::text::xid8, $2::bigint) AND xid < event_horizon()
ORDER BY event.xid, event.id LIMIT $3
"""
_LAGS = """
SELECT address, coalesce(extract(epoch FROM clock_timestamp() - oldest.at), 0)::float8 AS seconds
FROM audit_collector LEFT JOIN LATERAL (
    SELECT at FROM event
    WHERE (event.xid, event.id) > (after_transaction::text::xid8, after_number)
    ORDER BY event.xid, event.id LIMIT 1
) AS oldest ON true
ORDER BY address
"""


@dataclass(frozen=True, slots=True)
class Reported:
    """An event, and the Patient ID of its Study with `^^^` and its issuer; '' if there is none."""

    event: Event
    patient: str


async def begin_collector(index: Index, address: str) -> None:
    """Have a repository told of what comes from now on, if it was not told of anything before.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_BEGIN, address)


async def read_untold(index: Index, address: str, limit: int) -> Sequence[Reported]:
    """Return the next events that a repository was not told of, as far as the order is final.

    Raises:
        Unavailable: the index does not answer.
    """
    place = await index.fetchrow(_AFTER, address)
    if place is None:
        return ()
    rows = await index.fetch(_READ, str(place["after_transaction"]), place["after_number"], limit)
    return [Reported(make_event(row), row["patient"] or "") for row in rows]


async def note_told(index: Index, address: str, last: Position) -> None:
    """Remember that a repository was told of all up to a position; never goes back.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.fetch(_MOVE, address, last.transaction, last.number)


async def collector_lags(index: Index) -> dict[str, float]:
    """Return how many seconds the oldest event waits that each repository was not told of.

    Raises:
        Unavailable: the index does not answer.
    """
    return {row["address"]: max(row["seconds"], 0.0) for row in await index.fetch(_LAGS)}
