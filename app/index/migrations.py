"""The schema's history: bring a database to the newest revision, or say what is missing.

Revisions are a straight line, `<directory>/versions/NNNN_name.py`, where NNNN is the revision. So
what is pending can be told from file names and one SELECT, and Alembic (slow to import) is needed
only when there is something to do. There is no way back: restore a backup instead.

All pending revisions are one transaction under an advisory lock, so any number of processes may
migrate at once and a killed one leaves nothing behind.
"""

import asyncio

import asyncpg

from app.errors import Conflict
from app.index.engine import connect
from app.index.faults import index_errors
from app.index.revisions import migrations_directory, revisions

LOCK = 0x46494C45524F4F4D
"""The advisory lock's key: FILEROOM in ASCII."""


def migrate(url: str) -> list[str]:
    """Bring the database to the newest revision; return the revisions that were applied.

    Must be called where no event loop runs.

    Raises:
        Conflict: a newer version of this program made the index.
        Unavailable: the database does not answer.
    """
    missing = pending(url)
    if missing:
        asyncio.run(_upgrade(url))
    return missing


def pending(url: str) -> list[str]:
    """Return the revisions that the database lacks, oldest first.

    Must be called where no event loop runs.

    Raises:
        Conflict: a newer version of this program made the index.
        Unavailable: the database does not answer.
    """
    return asyncio.run(_pending(url))


async def _pending(url: str) -> list[str]:
    known = revisions()
    current = await _current(url)
    if current is None:
        return known
    if current not in known:
        raise Conflict(
            f"the index is at revision {current}, newer than this version of Fileroom knows "
            f"({known[-1]}): run the version that made it, or a later one"
        )
    return known[known.index(current) + 1 :]


async def _current(url: str) -> str | None:
    with index_errors(connecting=True):
        connection = await connect(url)
        try:
            if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
                return None
            found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        except asyncpg.UndefinedTableError:  # pragma: no cover - gone between the two
            return None
        finally:
            await connection.close()
    return found


async def _upgrade(url: str) -> None:
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import Connection, text  # noqa: PLC0415 - only when there is work

    from alembic import command  # noqa: PLC0415
    from app.index.engine import make_engine  # noqa: PLC0415

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    engine = make_engine(url, pool_size=1, statement_seconds=0)
    try:
        with index_errors():
            async with engine.begin() as session:
                await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
                await session.run_sync(upgrade)
    finally:
        await engine.dispose()
