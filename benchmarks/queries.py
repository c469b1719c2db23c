"""Tasks on an archive of many small studies: what viewers ask it for."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote

import orjson

from benchmarks.client import Answer, Connection, build_get, open_connections, run_load
from benchmarks.data import Instance
from benchmarks.messages import JSON_ACCEPT, WrongAnswer, build_store, expect_ok
from benchmarks.population import (
    ABSENT_NAME,
    COMMON_NAME,
    RARE_NAME,
    Study,
    make_population,
    write_population,
)
from benchmarks.server import Server
from benchmarks.tasks import Row, Sample, Size, Task, watch

INSTANCES = 2
"""Instances of each study."""
PAGE = 101
OHIF_FIELDS = "includefield=00081030,00080060,00080090,00100030"
_FIRST_DAY, _LAST_DAY = date(2025, 1, 1), date(2025, 1, 31)


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and which studies it is about; `limit` bounds how many come back."""

    name: str
    title: str
    path: str
    match: Callable[[Study], bool]
    offset: int = 0
    gate: float | None = None

    def count(self, studies: Sequence[Study]) -> int:
        """Return how many studies a right answer has."""
        return min(PAGE, max(0, sum(map(self.match, studies)) - self.offset))


def build_ohif_list(name: str | None, offset: int = 0) -> str:
    """Return the query of OHIF's study list, as its data source builds it."""
    keys = [f"PatientName=*{quote(name)}*"] if name else []
    return "/studies?" + "&".join(
        [*keys, f"limit={PAGE}", f"offset={offset}", "fuzzymatching=false", OHIF_FIELDS]
    )


def make_questions(studies: Sequence[Study]) -> list[Question]:
    """Return the queries that are measured."""
    deep = len(studies) - 1000
    dates = f"StudyDate={_FIRST_DAY:%Y%m%d}-{_LAST_DAY:%Y%m%d}"
    first_page, last_page = build_ohif_list(None), build_ohif_list(None, deep)
    in_month = Question(
        "qido-dates",
        "OHIF's list, dates of one month",
        first_page.replace("?", f"?{dates}&", 1),
        lambda study: _FIRST_DAY <= study.day <= _LAST_DAY,
    )
    return [
        *_ask_for_one(studies[len(studies) // 3]),
        Question("qido-list", "OHIF's list, first page", first_page, _any),
        _ask_by_name("qido-name", COMMON_NAME, "name", gate=20),
        _ask_by_name("qido-rare", RARE_NAME, "rare name"),
        _ask_by_name("qido-absent", ABSENT_NAME, "absent name"),
        _ask_by_name("qido-letter", "E", "one letter"),
        _ask_by_name("qido-letters", "AN", "two letters"),
        in_month,
        Question("qido-deep", f"OHIF's list, page at offset {deep}", last_page, _any, offset=deep),
    ]


def _any(_study: Study) -> bool:
    return True


def _ask_by_name(name: str, fragment: str, what: str, gate: float | None = None) -> Question:
    title = f"OHIF's list, {what} `*{fragment}*`"
    return Question(name, title, build_ohif_list(fragment), lambda s: fragment in s.name, gate=gate)


def _ask_for_one(one: Study) -> list[Question]:
    """Return the queries by identifiers: patient, accession number, study."""
    return [
        Question(
            "qido-patient",
            "one PatientID",
            f"/studies?PatientID={one.patient}&limit={PAGE}",
            lambda study: study.patient == one.patient,
        ),
        Question(
            "qido-accession",
            "one AccessionNumber",
            f"/studies?AccessionNumber={one.accession}&limit={PAGE}",
            lambda study: study.accession == one.accession,
        ),
        Question(
            "qido-study",
            "one StudyInstanceUID",
            f"/studies?StudyInstanceUID={one.uid}",
            lambda study: study.uid == one.uid,
        ),
    ]


async def verify_question(server: Server, question: Question, studies: Sequence[Study]) -> None:
    """Raise unless the answer has as many studies as it must, all of them right, none twice."""
    connection = Connection(server.port)
    message = build_get(server.root + question.path, [JSON_ACCEPT])
    answer = await connection.request(message, keep=True)
    connection.close()
    if answer.status != 204:
        expect_ok(answer)
    found = [_study_uid(entry) for entry in orjson.loads(answer.body or b"[]")]
    right = {study.uid for study in studies if question.match(study)}
    wanted = question.count(studies)
    if len(found) != wanted or len(set(found)) != wanted or not right.issuperset(found):
        raise WrongAnswer(f"{question.path}: {len(found)} studies, {wanted} expected")


def _study_uid(entry: dict[str, dict[str, list[str]]]) -> str:
    return entry["0020000D"]["Value"][0]


def _question_task(question: Question, studies: Sequence[Study], size: Size, clients: int) -> Task:
    many = clients > 1
    row = Row(
        f"{question.name}-{clients}" if many else question.name,
        f"{question.title}, {clients} clients" if many else question.title,
        "req/s" if many else "ms",
        gate=question.gate,
    )
    verified: set[str] = set()

    async def measure(server: Server, _repetition: int) -> dict[str, Sample]:
        if server.name not in verified:
            await verify_question(server, question, studies)
            verified.add(server.name)
        message = build_get(server.root + question.path, [JSON_ACCEPT])
        connections = open_connections(server.port, clients)
        accept = expect_ok if question.count(studies) else _expect_nothing
        await run_load(connections, iter([message] * clients), accept)
        with watch(server) as watched:
            load = await run_load(
                connections, itertools.repeat(message), accept, seconds=size.seconds
            )
        for connection in connections:
            connection.close()
        middle = sorted(load.latencies)[len(load.latencies) // 2] * 1000
        value = load.rate if many else middle
        return {row.name: Sample(value, len(load.latencies), watched.usage)}

    return Task((row,), measure)


def _expect_nothing(answer: Answer) -> None:
    """Raise unless the answer is 204, or 200 with an empty list (which may have a blank)."""
    if answer.status != 204 and (answer.status != 200 or answer.length > 4):
        raise WrongAnswer(f"no match was expected: {answer.status}, {answer.length} bytes")


def make_query_tasks(size: Size) -> list[Task]:
    """One client for each query; the list by name and one patient with 8 clients as well."""
    studies = make_population(size.studies)
    questions = make_questions(studies)
    alone = [_question_task(question, studies, size, 1) for question in questions]
    both = [question for question in questions if question.name in {"qido-patient", "qido-name"}]
    return alone + [_question_task(question, studies, size, 8) for question in both]


async def load_population(server: Server, studies: int) -> float:
    """Store the population in a server; return instances per second."""
    instances = write_population(make_population(studies), INSTANCES)
    messages = (build_store(server.root, group) for group in _group(instances, 50))
    connections = open_connections(server.port, 4)
    load = await run_load(connections, messages, expect_ok)
    for connection in connections:
        connection.close()
    return studies * INSTANCES / load.seconds


def _group(instances: Iterator[Instance], count: int) -> Iterator[list[Instance]]:
    while group := list(itertools.islice(instances, count)):
        yield group
