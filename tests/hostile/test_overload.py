"""More than the archive can do: who reads is answered, and nothing acknowledged is lost."""

import asyncio
from pathlib import Path

import pytest

from benchmarks.client import Connection
from benchmarks.data import make_ct_series
from benchmarks.messages import store
from benchmarks.overload import RUN, Overloaded, overload, ratio
from benchmarks.server import Server
from tests.live_server import serve

pytestmark = pytest.mark.slow

IMAGES, SECONDS = 40, 12.0
MEMORY_BYTES = 1024 * 2**20
"""Of all processes: PostgreSQL, one worker, its two decoders and the one that writes files."""
SLOWER = 60
"""So many times longer a median answer may take where a few answers a second are left of many."""


async def driven(server: Server) -> Overloaded:
    connection = Connection(server.port)
    await store(connection, server.root, make_ct_series(RUN, IMAGES))
    connection.close()
    return await overload(server, 2900, IMAGES, SECONDS)


def test_in_a_storm_readers_are_answered_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with serve(tmp_path) as live:
        port = int(live.url.rpartition(":")[2])
        server = Server("Fileroom", [], live.data_dir, port, "/", live.log, process=live.process)
        seen = asyncio.run(driven(server))  # which compares what was acknowledged
    outcome = seen.outcome
    told = {name: count for name, count in outcome.items() if name != "acknowledged"}
    assert len(outcome["acknowledged"]) > 20, told
    assert outcome["renderings"].get("200", 0) > 20, told
    assert set(outcome["uploads"]) <= {"200", "503"}, told
    assert set(outcome["renderings"]) <= {"200", "503"}, told
    assert ratio(seen.during.searches, seen.alone.searches) < SLOWER
    assert ratio(seen.during.frames, seen.alone.frames) < SLOWER
    assert seen.peak < MEMORY_BYTES
