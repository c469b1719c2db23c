"""An index goes over whole, or not at all, and what arrives is compared."""

from urllib.parse import urlsplit

import pytest

from app.errors import Conflict, Unavailable
from app.index.carrying import carry_index, digest_index
from app.index.embedded import EmbeddedPostgres

EVENT = """
INSERT INTO event (tenant_id, kind, actor, payload)
SELECT id, 'accepted', 'é', '{"a": 1}' FROM tenant
"""


def run(postgres: EmbeddedPostgres, url: str, script: str) -> str:
    return postgres.run_script(script, urlsplit(url).path[1:])


async def test_all_tables_arrive_as_they_were(
    postgres: EmbeddedPostgres, database_url: str, empty_database_url: str
) -> None:
    run(postgres, database_url, EVENT)
    told: list[int] = []
    carried = await carry_index(database_url, empty_database_url, told.append)
    assert told[-1] == carried.size
    assert await digest_index(empty_database_url) == await digest_index(database_url)
    counted = await digest_index(database_url)
    assert (carried.tables, carried.rows) == (
        len(counted),
        sum(int(rows) for rows, _ in counted.values()),
    )
    assert counted["event"][0] == "1"
    with pytest.raises(Conflict, match="not empty"):
        await carry_index(database_url, empty_database_url, told.append)


async def test_a_row_that_is_not_the_same_is_seen(
    postgres: EmbeddedPostgres, database_url: str, empty_database_url: str
) -> None:
    """Here it is changed when the dump has begun, which nobody can do to a former cluster."""
    run(postgres, database_url, EVENT)
    changed: list[str] = []
    change = "UPDATE event SET actor = 'è'"
    with pytest.raises(Unavailable, match=r"did not arrive as they were: event$"):
        await carry_index(
            database_url,
            empty_database_url,
            lambda _: changed.append(run(postgres, database_url, change)),
        )
