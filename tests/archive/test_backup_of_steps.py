"""What is scheduled, what was done and what waits to be sent comes back from a backup."""

from pathlib import Path

from app.archive.context import Archive, Place, open_archive
from app.archive.forwarding import claim, forward, list_forwardings, put_destination
from app.archive.performed_steps import create_performed_step, retrieve_performed_step
from app.archive.worklist import find_step, schedule_steps
from app.dicom.scheduled_step import read_scheduled_steps
from app.index.forwarding_rules import Address
from app.rights import Principal
from tests.archive.test_backup import backed_up, place_in, restored
from tests.archive.test_store import store
from tests.factories import make_part10, new_uid
from tests.procedure_steps import make_order, make_performed


async def test_procedure_steps_and_what_waits_to_be_sent_come_back(
    archive: Archive,
    principal: Principal,
    tmp_path: Path,
    empty_database_url: str,
) -> None:
    study = new_uid()
    await store(archive, principal, make_part10(StudyInstanceUID=study))
    (step,) = read_scheduled_steps(make_order(StudyInstanceUID="1.2.3"), archive.limits)
    await schedule_steps(archive, principal, [step])
    await create_performed_step(archive, principal, "1.2.4", make_performed("1.2.3"))
    await put_destination(archive, principal, Address("STATION", "10.0.0.1", 104))
    assert await forward(archive, principal, "STATION", study)
    assert await claim(archive, principal, None, 1, 60)
    scheduled = await find_step(archive, principal, "1.2.3", "S1")
    performed = await retrieve_performed_step(archive, principal, "1.2.4")
    queued = await list_forwardings(archive, principal, None, None, 0, 100)
    await archive.sealer.seal_waiting()
    async with place_in(tmp_path) as place:
        backup = await backed_up(archive, principal, place)
        await restored(empty_database_url, tmp_path, place, backup)
    where = Place(empty_database_url, tmp_path / "restored", tmp_path / "cache-restored")
    async with open_archive(where) as there:
        assert '"STARTED"' in scheduled
        assert await find_step(there, principal, "1.2.3", "S1") == scheduled
        assert await retrieve_performed_step(there, principal, "1.2.4") == performed
        assert await list_forwardings(there, principal, None, None, 0, 100) == queued
