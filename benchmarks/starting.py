"""Tasks on a server that is not running yet: time to ready, memory at rest."""

import time

from benchmarks.server import Server
from benchmarks.tasks import Row, Sample, Task

REST_SECONDS = 3


def make_start_tasks() -> list[Task]:
    """Start on an empty directory, rest, stop, start again on what is there."""
    first = Row("ready-first", "time to ready, empty directory", "s", "start", limit=None)
    again = Row("ready-again", "time to ready, second start", "s", "start", limit=5)
    rest = Row("memory-rest", "memory at rest (PSS of all processes)", "MB", "", limit=300)

    async def measure(server: Server, _repetition: int) -> dict[str, Sample]:
        server.stop()
        server.clear()
        samples = {first.name: Sample(server.start())}
        server.wait_until_idle()
        time.sleep(REST_SECONDS)  # noqa: ASYNC251  nothing else runs
        samples[rest.name] = Sample(server.memory() / 1e6)
        server.stop()
        samples[again.name] = Sample(server.start())
        server.stop()
        return samples

    return [Task((first, again, rest), measure)]
