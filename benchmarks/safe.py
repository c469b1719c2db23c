"""Storing with all safety on: a second copy awaited, beside the peer with its syncing storage."""

import json
from pathlib import Path

from benchmarks.data import make_ct_series
from benchmarks.images import measure_store
from benchmarks.server import Server
from benchmarks.tasks import Row, Sample, Size, Task

DIRECTORY = "safe"


def copy_setting(cache: Path) -> dict[str, str]:
    """Return the variable by which each store waits for a copy in a directory of its own."""
    copy = {"name": "second", "mode": "sync", "url": (cache / DIRECTORY / "second").as_uri()}
    return {"FILEROOM_OBJECTS__COPIES": json.dumps([copy])}


def make_safe_tasks(size: Size) -> list[Task]:
    """Store one instance per request from 8 clients, and 100 in one request."""
    one = Row("store-safe-one", "CT, 1 per request, 8 clients", "inst/s", "instance")
    many = Row("store-safe-hundred", "CT, 100 in one request", "inst/s", "instance")

    async def store_one(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(500 + repetition, size.long_series)
        return await measure_store(one.name, series, 8, 1, server)

    async def store_many(server: Server, repetition: int) -> dict[str, Sample]:
        series = make_ct_series(550 + repetition, size.series)
        return await measure_store(many.name, series, 1, min(100, size.series), server)

    return [Task((one,), store_one), Task((many,), store_many)]
