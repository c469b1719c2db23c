"""The run itself: phases, alternating turns, results."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from benchmarks import fileroom, peer
from benchmarks.ceiling import measure_ceiling
from benchmarks.images import make_image_tasks
from benchmarks.machine import describe_machine
from benchmarks.overload import TITLE, make_overload_tasks
from benchmarks.population import VERSION
from benchmarks.queries import load_population, make_query_tasks
from benchmarks.renditions import make_rendition_tasks
from benchmarks.report import Results, build_page
from benchmarks.safe import copy_setting, make_safe_tasks
from benchmarks.server import Server, free_port, remove_cleared
from benchmarks.starting import make_start_tasks
from benchmarks.tasks import FULL, QUICK, SETTLE_SECONDS, Size, Task


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    cache: Path
    output: Path
    quick: bool = False
    cells: tuple[str, ...] = ()
    only: str | None = None
    repetitions: int | None = None


class Bench:
    """One run: the servers, what is measured, and what came out."""

    def __init__(self, options: Options) -> None:
        self.options = options
        size = QUICK if options.quick else FULL
        self.size: Size = replace(size, repetitions=options.repetitions or size.repetitions)
        self.root = None if options.only == "fileroom" else peer.prepare_peer(options.cache)
        if self.root:
            peer.enter_root(self.root)
        self.results = self._describe()

    def _describe(self) -> Results:
        versions = {}
        if self.options.only != "orthanc":
            versions["Fileroom"] = fileroom.find_versions()
        if self.root:
            versions["Orthanc"] = peer.find_versions(self.root)
        for name, found in versions.items():
            print(name, found, flush=True)
        return Results(
            date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
            machine=describe_machine(self.options.cache),
            versions=versions,
            ceilings=[],
            settings=peer.SETTINGS,
            repetitions=self.size.repetitions,
        )

    def _make_servers(
        self,
        ours: str,
        theirs: str,
        *,
        works_on: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> list[Server]:
        servers = []
        if self.options.only != "orthanc":
            servers.append(fileroom.make_server(self.options.cache, ours, settings))
        if self.root:
            cache = self.options.cache
            servers.append(peer.make_server(self.root, cache, theirs, works_on=works_on))
        return servers

    def _select(self, title: str, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks that were asked for, and list their rows in the page."""
        wanted = self.options.cells
        chosen = [
            task
            for task in tasks
            if not wanted or any(row.name.startswith(wanted) for row in task.rows)
        ]
        self.results.sections.setdefault(title, []).extend(
            row for task in chosen for row in task.rows
        )
        return chosen

    async def measure(self) -> None:
        """Measure everything; the page is written after each phase."""
        self.results.ceilings = await measure_ceiling(free_port(), self.size.seconds / 3)
        for ceiling in self.results.ceilings:
            print(f"client alone: {ceiling}", flush=True)
        await self._measure_start()
        await self._measure_images()
        await self._measure_safe()
        await self._measure_overload()
        await self._measure_population()

    async def _measure_start(self) -> None:
        tasks = self._select("Starting", make_start_tasks())
        await self._take_turns(tasks, self._make_servers("start", "start"))

    async def _measure_images(self) -> None:
        tasks = self._select("Image series", make_image_tasks(self.size))
        tasks += self._select("Made of them", make_rendition_tasks(self.size))
        await self._measure_on_new(tasks, self._make_servers("images", "images"))

    async def _measure_safe(self) -> None:
        tasks = self._select(
            "Stored with a second copy, each store waiting for both", make_safe_tasks(self.size)
        )
        settings = copy_setting(self.options.cache)
        await self._measure_on_new(tasks, self._make_servers("safe", "safe", settings=settings))

    async def _measure_overload(self) -> None:
        tasks = self._select(TITLE, make_overload_tasks(self.size))
        await self._measure_on_new(tasks, self._make_servers("overload", "overload"))

    async def _measure_on_new(self, tasks: Sequence[Task], servers: Sequence[Server]) -> None:
        """Measure on archives that are empty, and remove them."""
        if not tasks:
            return
        try:
            for server in servers:
                server.clear()
                server.start()
            await self._take_turns(tasks, servers)
        finally:
            for server in servers:
                server.stop()
                server.clear()

    async def _measure_population(self) -> None:
        studies = self.size.studies
        title = f"Search in {studies:,} studies"
        tasks = self._select(title, make_query_tasks(self.size))
        if not tasks:
            return
        kept = f"population-{VERSION}-{studies}"
        ours = f"{kept}-{fileroom.digest_sources()}"
        fileroom.forget_others(self.options.cache, kept, ours)
        servers = self._make_servers(ours, kept, works_on=False)
        try:
            for server in servers:
                await _start_loaded(server, studies)
            await self._take_turns(tasks, servers)
        finally:
            for server in servers:
                server.stop()

    async def _take_turns(self, tasks: Sequence[Task], servers: Sequence[Server]) -> None:
        prepared = set()
        for task in tasks:
            if task.prepare and task.prepare not in prepared:
                for server in servers:
                    await task.prepare(server)
                prepared.add(task.prepare)
            for repetition in range(self.size.repetitions):
                for server in servers:
                    await self._take_turn(task, server, servers, repetition)
        self.save()

    async def _take_turn(
        self, task: Task, server: Server, servers: Sequence[Server], repetition: int
    ) -> None:
        for other in servers:
            if other.process:
                other.wait_until_idle(self.size.quiet)
        samples = await task.measure(server, repetition)
        self.results.add(server.name, samples)
        for name, sample in samples.items():
            print(
                f"{name:28} {server.name:9} {sample.value:10.2f}  {sample.usage or ''}", flush=True
            )

    def save(self) -> None:
        """Write the page, and all figures as JSON into the cache."""
        self.options.output.write_text(build_page(self.results))
        self.results.save(self.options.cache / "results.json")


async def _start_loaded(server: Server, studies: int) -> None:
    """Start a server on its kept population, which is loaded if it is not there in whole."""
    mark = server.directory.parent / f"{server.directory.name}.loaded"
    if not mark.exists():
        server.clear()
        server.start()
        rate = await load_population(server, studies)
        print(f"{server.name}: population loaded, {rate:.0f} instances/s", flush=True)
        server.wait_until_idle(SETTLE_SECONDS)
        mark.touch()
        server.stop()
    server.start()
    server.wait_until_idle(SETTLE_SECONDS)


def run(options: Options) -> None:
    """Measure and write the page."""
    bench = Bench(options)
    try:
        uvloop.run(bench.measure())
    finally:
        remove_cleared(options.cache)
        if bench.results.samples:
            bench.save()
    print(f"\n{build_page(bench.results)}\nWritten to {options.output}", flush=True)
