"""The run: kill, wait until it is back, look at everything, and again."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx

from app.index.overview import Overview
from tests.killing.clients import Clients
from tests.killing.ledger import Expected, Ledger, Sent
from tests.killing.served import Served
from tests.killing.truth import Found, look
from tests.killing.victims import Killer, Victim
from tests.s3_server import S3Server, s3_server

KEPT_BYTES = 300 * 10**6
"""When more is there, the oldest Studies are deleted, so that looking at all of it stays quick."""
DURING_RECOVERY = 0.25
"""How often something else dies before the archive is back."""
SAMPLE = 5
FIRST_STARTS = 3
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does; the same seed throws the same dice."""

    directory: Path
    kills: int
    seed: int
    s3: bool = False
    workers: int = 2


@dataclass(slots=True)
class Report:
    """How it went."""

    seed: int
    kills: Counter[Victim] = field(default_factory=Counter)
    seconds: dict[Victim, float] = field(default_factory=dict)
    acknowledged: int = 0
    removed: int = 0
    unanswered: int = 0
    restarts: int = 0
    looked_at: int = 0
    wrong: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def back_after(self, victims: list[Victim], seconds: float) -> None:
        """Note how long it took until all of it answered again."""
        for victim in victims:
            self.seconds[victim] = max(seconds, self.seconds.get(victim, 0.0))

    def table(self) -> str:
        """Return all of it in one table, as Markdown."""
        rows = [
            (str(victim), str(self.kills[victim]), f"{self.seconds.get(victim, 0.0):.1f}")
            for victim in Victim
            if self.kills[victim]
        ]
        rows += [("**all**", str(self.kills.total()), f"{max(self.seconds.values()):.1f}")]
        lines = ["| killed | kills | longest time to ready (s) |", "|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += [
            "",
            f"Seed {self.seed}: {self.acknowledged:,} acknowledged stores, {self.removed:,} "
            f"acknowledged deletions, {self.unanswered:,} without an answer; {self.looked_at:,} "
            f"Instances read and compared; started again {self.restarts} times; lost "
            f"{len(self.wrong)}.",
        ]
        return "\n".join(lines)


class Loss(Exception):
    """Something that was acknowledged is not so."""


def run(plan: Plan, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Kill as often as planned; the report says what was lost.

    Raises:
        Loss: something is wrong; the directory stays as it is then.
    """
    report = Report(plan.seed)
    spool = plan.directory / "sent"
    spool.mkdir(parents=True)
    ledger = Ledger(spool)
    with ExitStack() as stack:
        s3 = stack.enter_context(_bucket(plan.directory / "s3")) if plan.s3 else None
        served = Served(plan.directory, plan.workers, s3)
        try:
            _be_born(served, report, Random(plan.seed))
            _run(_Running(plan, served, ledger, report, tell))
            report.wrong += served.stop()
        finally:
            served.kill_all()
    _sum_up(report, served, ledger)
    if report.wrong:
        raise Loss("\n".join([*report.wrong[:50], report.table()]))
    return report


def _bucket(directory: Path) -> AbstractContextManager[S3Server]:
    directory.mkdir()
    return s3_server(directory)


@dataclass(slots=True)
class _Running:
    plan: Plan
    served: Served
    ledger: Ledger
    report: Report
    tell: Callable[[str], None]


def _be_born(served: Served, report: Report, rng: Random) -> None:
    """Kill the very first starts, while the index is being made; then let one go on."""
    for _ in range(FIRST_STARTS):
        served.start()
        time.sleep(rng.uniform(0, 2.5))
        served.kill_all()
        report.kills[Victim.NEWBORN] += 1
    begun = time.monotonic()
    served.start()
    served.wait_until_ready()
    report.back_after([Victim.NEWBORN], time.monotonic() - begun)


def _run(all_: _Running) -> None:
    rng = Random(all_.plan.seed)
    report = all_.report
    with Clients(all_.served, all_.ledger, all_.plan.seed) as clients:
        killer = Killer(all_.served, clients.importing, rng)
        while report.kills.total() < all_.plan.kills:
            clients.resume()
            time.sleep(rng.uniform(0.3, 3.0))
            victims, begun = [killer.kill()], time.monotonic()
            while rng.random() < DURING_RECOVERY:
                all_.served.keep_up()
                time.sleep(rng.uniform(0, 1.0))
                victims.append(killer.kill())
            _bring_back(all_.served, victims, rng)
            report.kills.update(victims)
            report.back_after(victims, time.monotonic() - begun)
            time.sleep(rng.uniform(0, 0.5))
            clients.pause()
            all_.served.wait_until_ready()
            _look(all_)
            all_.tell(f"{report.kills.total()} kills, the last: {', '.join(victims)}")
            if report.wrong:
                return
            _make_room(all_)


def _bring_back(served: Served, victims: list[Victim], rng: Random) -> None:
    """Do what an init system does, and nothing else."""
    if Victim.S3 in victims and served.s3:
        time.sleep(rng.uniform(0, 2.0))
        served.s3.kill()
        served.s3.start()
    served.wait_until_ready()


def _look(all_: _Running) -> None:
    served, ledger, report = all_.served, all_.ledger, all_.report
    objects = served.store()
    try:
        found, wrong = asyncio.run(look(served.database_url, objects, ledger.sent, ledger.promises))
    finally:
        objects.close()
    wrong += served.verify()
    wrong += answered(served.url, found, Random(report.kills.total()))
    report.looked_at += len(found)
    report.wrong += [*ledger.complaints, *wrong]
    ledger.settle(found.keys())


def answered(url: str, found: dict[str, Found], rng: Random) -> list[str]:
    """Say where what HTTP answers is not what is there: searches, sums, and some bytes."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        said = []
        studies: Counter[str] = Counter(one.study for one in found.values())
        series: Counter[str] = Counter(one.series for one in found.values())
        told = {_uid(row, "0020000D"): _number(row, "00201208") for row in _all(http, "studies")}
        if told != studies:
            said.append("the search for Studies counts otherwise")
        told = {_uid(row, "0020000E"): _number(row, "00201209") for row in _all(http, "series")}
        if told != series:
            said.append("the search for Series counts otherwise")
        if {_uid(row, "00080018") for row in _all(http, "instances")} != found.keys():
            said.append("the search for Instances finds others")
        size = sum(one.size for one in found.values())
        sums = Overview(len(studies), len(series), len(found), size)
        if (measured := _measured(http)) != sums:
            said.append(f"/metrics says {measured}, and it is {sums}")
        some = rng.sample(sorted(found.values(), key=lambda one: one.instance), k=len(found))
        said += [said_of for one in some[:SAMPLE] for said_of in _retrieved(http, one)]
        return said


def _measured(http: httpx.Client) -> Overview:
    lines = http.get("/metrics").raise_for_status().text.splitlines()
    told = dict(line.rsplit(" ", 1) for line in lines if line.startswith("fileroom_stored_"))
    return Overview(*(int(float(told[f"fileroom_stored_{name}"])) for name in Overview.__slots__))


def _retrieved(http: httpx.Client, one: Found) -> Iterator[str]:
    path = f"studies/{one.study}/series/{one.series}/instances/{one.instance}"
    asked = {"Accept": 'application/dicom; transfer-syntax="*"'}
    got = http.get(f"/dicom-web/{path}", headers=asked)
    if got.status_code != 200 or hashlib.sha256(got.content).digest() != one.sha256:
        yield f"{one.instance} is retrieved as {got.status_code} with other bytes"


def _all(http: httpx.Client, level: str) -> Iterator[dict[str, Any]]:
    """Yield all matches of a search, a page at a time."""
    offset = 0
    while True:
        asked = {"limit": str(_PAGE), "offset": str(offset)}
        answer = http.get(
            f"/dicom-web/{level}", params=asked, headers={"Accept": "application/dicom+json"}
        )
        if answer.status_code == 204:
            return
        rows = answer.raise_for_status().json()
        yield from rows
        offset += len(rows)


def _uid(row: dict[str, Any], tag: str) -> str:
    return str(row[tag]["Value"][0])


def _number(row: dict[str, Any], tag: str) -> int:
    return int(row[tag]["Value"][0])


def _make_room(all_: _Running) -> None:
    """Delete the largest Studies once there is much, so that a long run stays as quick as it is."""
    ledger, left = all_.ledger, all_.ledger.present_bytes()
    studies: dict[str, list[Sent]] = {}
    for one in ledger.sent.values():
        if one.expected is Expected.PRESENT:
            studies.setdefault(one.study, []).append(one)
    largest = sorted(studies.values(), key=_size, reverse=True) if left > KEPT_BYTES else []
    gone = []
    while largest and left > KEPT_BYTES // 2:
        gone.append(largest.pop(0))
        left -= _size(gone[-1])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda study: _remove(all_, study), gone))
    ledger.forget()


def _size(some: list[Sent]) -> int:
    return sum(one.size for one in some)


def _remove(all_: _Running, study: list[Sent]) -> None:
    all_.ledger.begin(study, removing=True)
    url = f"{all_.served.url}/dicom-web/studies/{study[0].study}"
    httpx.delete(url, timeout=120, trust_env=False).raise_for_status()
    all_.ledger.acknowledge(study, removed=True)


def _sum_up(report: Report, served: Served, ledger: Ledger) -> None:
    report.restarts = served.restarts
    report.acknowledged, report.removed = ledger.acknowledged, ledger.removed
    report.unanswered, report.answers = ledger.unanswered, ledger.answers
