"""What an archive does by itself: all of it in `serve`, or what has to be there."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.archive import deliveries, upkeep, webhooks, working
from app.archive.audit_outlets import AuditOutlets
from app.archive.audit_syslog import TlsFiles
from app.archive.context import Archive
from app.archive.removal import delete
from app.archive.working import Duties, at_work, beside_requests
from app.dicom.uids import StudyRef
from app.index.segments import last_segment
from app.jobs import running
from app.rights import Principal
from app.setting_groups import Audit, Http, Jobs, Retention
from app.settings import Settings
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.receiver import Receiver, receiving
from tests.waiting import until

ALL = Duties(inside_serve=True, thumbnails=True, scrub_days=30, scrub_rate=1e9, rules=True)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(running, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(deliveries, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(upkeep, "READ_SECONDS", 0)
    monkeypatch.setattr(upkeep, "PURGE_SECONDS", 0)  # the time seen begins with the deletion


async def busy(archive: Archive, receiver: Receiver) -> Archive:
    """Add a webhook, delete a Study for good, and have that purged as soon as somebody does it."""
    operator = Principal("operator")
    await webhooks.add(archive, operator, receiver.url, [], receiver.secret)
    study = new_uid()
    await store(archive, operator, make_part10(StudyInstanceUID=study))
    await delete(archive, operator, StudyRef(study))
    return replace(archive, deleted_days=0)


async def until_purged_and_told(archive: Archive, receiver: Receiver) -> None:
    async def done() -> bool:
        kinds = [
            change["kind"] for call in receiver.calls for change in call.body["data"]["changes"]
        ]
        return kinds == ["accepted", "removed", "purged"]

    await until(done)
    assert await archive.index.fetch("SELECT FROM removed_instance") == []


async def test_processes_that_serve_do_all_of_it(archive: Archive) -> None:
    with receiving() as receiver:
        kept = await busy(archive, receiver)
        async with beside_requests(kept, ALL):
            await until_purged_and_told(archive, receiver)


async def test_processes_that_serve_leave_it_to_workers_but_for_the_seal(
    archive: Archive,
) -> None:
    async def sealed() -> bool:
        segment = await last_segment(archive.index, 1)
        rows = await archive.index.fetch("SELECT max(id) AS id FROM event")
        return segment is not None and segment.last.number == rows[0]["id"]

    apart = replace(ALL, inside_serve=False)
    with receiving() as receiver:
        kept = await busy(archive, receiver)
        await store(archive, Principal("test"), make_part10())
        async with beside_requests(kept, apart):
            await until(sealed)
            await asyncio.sleep(0.2)
        assert receiver.calls == []
        assert len(await archive.index.fetch("SELECT FROM removed_instance")) == 1


async def test_a_worker_does_it_without_serving(archive: Archive) -> None:
    with receiving() as receiver:
        kept = await busy(archive, receiver)
        async with at_work(kept, replace(ALL, inside_serve=False, scrub_days=0)):
            await until_purged_and_told(archive, receiver)


def test_settings_say_what_is_done() -> None:
    jobs = Jobs(inside_serve=False, thumbnails=False, scrub_days=0)
    settings = Settings(jobs=jobs, retention=Retention(rules=False))
    assert settings.duties() == working.Duties(
        inside_serve=False,
        thumbnails=False,
        scrub_days=0,
        scrub_rate=20 * 2**20,
        rules=False,
        audit=AuditOutlets("127.0.0.1"),
    )


def test_settings_say_which_audit_repositories_are_told() -> None:
    audit = Audit(
        syslog="tls://siem.example.org:6514",
        fhir_url="https://fhir.example.org/r4/",
        fhir_token=SecretStr("token"),
        ca=Path("ca.pem"),
        key=Path("key.pem"),
    )
    http = Http(public_url="https://pacs.example.org")
    assert Settings(audit=audit, http=http).duties().audit == AuditOutlets(
        source="pacs.example.org",
        syslog="tls://siem.example.org:6514",
        files=TlsFiles(Path("ca.pem"), None, Path("key.pem")),
        fhir="https://fhir.example.org/r4",
        fhir_token="token",
    )
    for wrong in ("siem.example.org", "udp://siem:514", "tls://", "tls://siem/path"):
        with pytest.raises(ValidationError, match="tls://collector"):
            Audit(syslog=wrong)
