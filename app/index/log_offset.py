"""Lets the log go on where an index has moved to another cluster of PostgreSQL.

Positions in the log begin with a transaction id, and those begin anew in each cluster. So an index
that was restored, whose last event may be of transaction 5,000,000, adds that much to each id from
then on, in the two functions that say an event's place (`event_transaction`) and how far the order
is final (`event_horizon`).
"""

from app.index.pool import Connection

_NEEDED = """
SELECT greatest(0, coalesce((SELECT xid::text::bigint FROM event ORDER BY xid DESC LIMIT 1), 0)
    + 1 - pg_current_xact_id()::text::bigint)
"""
_IS_BEHIND = """
SELECT coalesce((SELECT xid FROM event ORDER BY xid DESC LIMIT 1), '0') >= event_transaction()
"""
_FUNCTION = """
CREATE OR REPLACE FUNCTION {name}() RETURNS xid8 LANGUAGE sql VOLATILE
    AS 'SELECT ({value}::text::bigint + {offset})::text::xid8'
"""
_VALUES = {
    "event_transaction": "pg_current_xact_id()",
    "event_horizon": "pg_snapshot_xmin(pg_current_snapshot())",
}


async def continue_log(connection: Connection) -> int:
    """See to it that new events come after those that are there; return what is added, or 0."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE event IN SHARE ROW EXCLUSIVE MODE")
        if not await connection.fetchval(_IS_BEHIND):
            return 0
        offset: int = await connection.fetchval(_NEEDED)
        for name, value in _VALUES.items():
            statement = _FUNCTION.format(name=name, value=value, offset=offset)
            await connection.execute(statement)
    return offset
