"""A clock that jumps: all that the index has written down is moved the other way instead.

That is the same to whoever compares it with now, and the clock of this machine stays as it is.
"""

from collections.abc import Sequence
from datetime import timedelta

from app.index.engine import Index

_MOMENTS = """
SELECT table_name, string_agg(
    format('%1$I = %1$I - $1::interval', column_name), ', ') AS moved
FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND data_type = 'timestamp with time zone'
    AND table_type = 'BASE TABLE' AND table_name <> ALL($1)
GROUP BY table_name
"""


async def jump(index: Index, by: timedelta, *, but: Sequence[str] = ("event", "segment")) -> None:
    """Let the clock go forward, or back by a negative time.

    The tables `but` keep their times: what is in the log is sealed with them.
    """
    tables = await index.fetch(_MOMENTS, list(but))
    assert len(tables) > 5
    async with index.writing() as connection:
        for row in tables:
            statement = f'UPDATE "{row["table_name"]}" SET {row["moved"]}'  # noqa: S608
            await connection.execute(statement, by)
