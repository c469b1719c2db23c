"""Audit repositories are told of the log: in order, whoever dies, and once in quiet times."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest

from app.archive import audit_outlets
from app.archive.audit_facts import fact_of
from app.archive.audit_outlets import AuditOutlets, audit_told
from app.archive.audit_syslog import TlsFiles, send_syslog
from app.archive.context import Archive
from app.archive.trail import access_of
from app.errors import Unavailable
from app.index import reads
from app.index.audit_outbox import collector_lags
from app.index.engine import Index
from app.index.events import Event, Position
from app.index.reads import Read, append_reads
from app.rights import Principal
from tests.archive.test_store import store
from tests.audit_collector import Collector, make_certificate
from tests.factories import make_part10, new_uid
from tests.waiting import until

FRAME = re.compile(rb"<(\d+)>1 (\S+) (\S+) fileroom \d+ DICOM\+RFC3881 - \xef\xbb\xbf(<\?xml.*)")
_AT = datetime(2026, 1, 31, tzinfo=UTC)
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_outlets, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(audit_outlets, "LONGEST_PAUSE", 0.1)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.kill()


def outlets_of(collector: Collector, **more: Any) -> AuditOutlets:
    files = TlsFiles(ca=collector.certificate, **more)
    return AuditOutlets("pacs.example.org", syslog=collector.address, files=files)


async def look(index: Index, *numbers: int) -> None:
    """Log that somebody viewed Studies of these numbers."""
    for number in numbers:
        await append_reads(index, [Read(1, reads.VIEWED, "one", {"study": f"1.2.{number}"})])


def studies(collector: Collector) -> list[int]:
    """Return the numbers of the Studies that a collector was told of, in its order."""
    found = []
    for message in collector.messages:
        match = FRAME.fullmatch(message)
        assert match is not None, message
        assert (match[1], match[3]) == (b"85", b"pacs.example.org")
        read = fromstring(match[4])  # noqa: S314 - our own
        about = read.find("ParticipantObjectIdentification")
        if about is None:  # the archive's start or end
            assert read.find("EventIdentification/EventID[@csd-code='110100']") is not None
            continue
        found.append(int(str(about.get("ParticipantObjectID")).rpartition(".")[2]))
    return found


async def begun(index: Index) -> None:
    """Wait until a collector is remembered."""

    async def is_there() -> bool:
        return bool(await collector_lags(index))

    await until(is_there)


async def told_all(index: Index) -> None:
    """Wait until nothing waits."""

    async def is_done() -> bool:
        return set((await collector_lags(index)).values()) == {0.0}

    await until(is_done, 30)


async def test_what_comes_from_now_on_is_told_in_order(index: Index, collector: Collector) -> None:
    await look(index, 99)  # before anybody was to be told
    collector.start()
    async with audit_told(index, outlets_of(collector)):
        await begun(index)
        await look(index, *range(5))
        await told_all(index)
    assert studies(collector) == list(range(5))


async def test_a_dead_collector_is_told_later_of_all_that_it_missed(
    index: Index, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.start()
    async with audit_told(index, outlets_of(collector)):
        await begun(index)
        await look(index, 0, 1)
        await told_all(index)
        collector.kill()
        await look(index, *range(2, 8))
        await asyncio.sleep(0.5)
        assert (await collector_lags(index))[collector.address] > 0.3
        assert "audit messages wait" in caplog.text
        collector.start()
        await told_all(index)
    assert studies(collector) == list(range(8))


async def test_a_collector_killed_in_the_middle_of_a_batch_misses_nothing(
    index: Index, collector: Collector
) -> None:
    async with audit_told(index, outlets_of(collector)):
        await begun(index)
        await look(index, *range(60))
        collector.start(dies_after=7)
        await until(lambda: _has(collector, 7))
        collector.kill()
        assert studies(collector) == list(range(6))  # and the archive's start
        collector.start()
        await told_all(index)
    assert studies(collector)[6:] == list(range(60))  # the batch again, as a whole, in order


async def _has(collector: Collector, count: int) -> bool:
    return len(collector.messages) >= count


async def test_a_process_that_starts_later_goes_on_where_the_other_stopped(
    index: Index, collector: Collector
) -> None:
    collector.start()
    for some in ((0, 1), (2, 3)):
        async with audit_told(index, outlets_of(collector)):
            await begun(index)
            await look(index, *some)
            await told_all(index)
    await look(index, 4)  # while nobody tells
    async with audit_told(index, outlets_of(collector)):
        await told_all(index)
    assert studies(collector) == list(range(5))


async def test_several_processes_tell_once(index: Index, collector: Collector) -> None:
    collector.start()
    outlets = outlets_of(collector)
    async with audit_told(index, outlets), audit_told(index, outlets), audit_told(index, outlets):
        await begun(index)
        await look(index, *range(30))
        await told_all(index)
    assert studies(collector) == list(range(30))


async def test_at_rest_nothing_is_written(index: Index, collector: Collector) -> None:
    collector.start()
    async with audit_told(index, outlets_of(collector)):
        await begun(index)
        await look(index, 1)
        await told_all(index)
        await asyncio.sleep(0.2)
        before = await index.fetchrow("SELECT pg_current_xact_id()::text::bigint AS id")
        await asyncio.sleep(0.3)
        after = await index.fetchrow("SELECT pg_current_xact_id()::text::bigint AS id")
    assert before is not None
    assert after is not None
    assert after["id"] == before["id"] + 1  # that of asking


async def test_a_collector_of_another_certificate_is_told_nothing(
    index: Index, collector: Collector, tmp_path: Path
) -> None:
    other, _ = make_certificate(tmp_path, "other")
    collector.start()
    with pytest.raises(Unavailable, match="tls://127"):
        await asyncio.to_thread(send_syslog, collector.address, TlsFiles(ca=other), [b"1 x"])
    missing = TlsFiles(ca=tmp_path / "missing.pem")
    with pytest.raises(Unavailable, match="cannot be used"):
        await asyncio.to_thread(send_syslog, collector.address, missing, [b"1 x"])
    assert collector.messages == []


async def test_a_collector_may_ask_who_tells_it(index: Index, tmp_path: Path) -> None:
    ours, key = make_certificate(tmp_path, "archive")
    collector = Collector(tmp_path, clients=ours)
    collector.start()
    try:
        nobody = TlsFiles(ca=collector.certificate)
        for _ in range(20):  # when the refusal comes is chance
            with pytest.raises(Unavailable):
                await asyncio.to_thread(send_syslog, collector.address, nobody, [b"1 x"])
        async with audit_told(index, outlets_of(collector, certificate=ours, key=key)):
            await begun(index)
            await look(index, 1)
            await told_all(index)
        assert studies(collector) == [1]
    finally:
        collector.kill()


class FhirServer:
    """Takes AuditEvents, and answers with the next of some statuses, then with 201."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.told: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = outer.statuses.pop(0) if outer.statuses else 201
                outer.headers = dict(self.headers.items())
                if status == 201 and self.path == "/r4/AuditEvent":
                    outer.told.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def studies(self) -> list[int]:
        of_studies = [one for one in self.told if one["type"]["code"] != "110100"]
        values = [one["entity"][0]["what"]["identifier"]["value"] for one in of_studies]
        return [int(value.rpartition(".")[2]) for value in values]


@pytest.fixture
async def fhir() -> AsyncIterator[FhirServer]:
    server = FhirServer()
    yield server
    await asyncio.to_thread(server.server.shutdown)
    server.server.server_close()


async def test_a_fhir_server_gets_audit_events_and_is_asked_again(
    index: Index, fhir: FhirServer, caplog: pytest.LogCaptureFixture
) -> None:
    fhir.statuses = [201, 201, 503, 429, 201, 422]
    base = f"http://127.0.0.1:{fhir.server.server_port}/r4"
    outlets = AuditOutlets("pacs.example.org", fhir=base, fhir_token="secret-token")
    with caplog.at_level(logging.ERROR):
        async with audit_told(index, outlets):
            await begun(index)
            await look(index, *range(5))
            await told_all(index)
    assert fhir.studies == [0, 1, 3, 4]  # the third was refused, and is logged
    assert "refused the audit message" in caplog.text
    assert "secret-token" not in caplog.text + repr(outlets)
    assert fhir.headers["Authorization"] == "Bearer secret-token"
    assert fhir.headers["Content-Type"] == "application/fhir+json"
    start, first = fhir.told[:2]
    assert (start["type"]["code"], start["subtype"][0]["code"]) == ("110100", "110120")
    assert first["resourceType"] == "AuditEvent"
    assert first["type"]["code"] == "110103"
    assert (first["action"], first["outcome"]) == ("R", "0")
    assert [one["requestor"] for one in first["agent"]] == [True, False]


async def test_a_message_names_the_patients_id_while_the_study_is_there(
    archive: Archive, principal: Principal, fhir: FhirServer
) -> None:
    base = f"http://127.0.0.1:{fhir.server.server_port}/r4"
    study = new_uid()
    async with audit_told(archive.index, AuditOutlets(fhir=base)):
        await begun(archive.index)
        body = make_part10(StudyInstanceUID=study, PatientID="PID-7", PatientName="Doe^Jane")
        await store(archive, principal, body)
        await archive.trail.write(access_of(principal, reads.VIEWED, study))
        await told_all(archive.index)
    assert [one["type"]["code"] for one in fhir.told] == ["110100", "110104", "110103"]
    for one in fhir.told[1:]:
        assert one["entity"][1]["what"]["identifier"]["value"] == "PID-7^^^Fileroom"
        assert "Doe" not in json.dumps(one)


def test_events_that_concern_no_repository_are_passed_over() -> None:
    def event(kind: str, **payload: Any) -> Event:
        return Event(Position(1, 1), _AT, kind, "one", payload)

    assert fact_of(event("tag-chosen", tag={})) is None
    assert fact_of(event("accepted", category="color-palettes", instances={"1.2": []})) is None
    told = fact_of(event("denied", study="1.2", attempt="viewed", status=404))
    assert told is not None
    assert (told.outcome, told.details) == (4, {"attempt": "viewed", "status": "404"})
    searched = fact_of(event("searched", asked=["PatientID", "Modality"], by="key"))
    assert searched is not None
    assert searched.details == {"by": "key", "asked": "PatientID,Modality"}
    changed = fact_of(event("user-changed", user={"name": "anna", "roles": ["viewer"]}))
    assert changed is not None
    assert [one.value for one in (changed.event, *changed.types)] == ["110113", "110137"]
    assert changed.details == {"user": "anna", "roles": "viewer"}
    revoked = fact_of(event("key-revoked", key={"id": "k1", "name": "gateway"}))
    assert revoked is not None
    assert (revoked.action, revoked.details) == ("D", {"key": "gateway"})
