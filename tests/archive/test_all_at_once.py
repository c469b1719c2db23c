"""Stores, deletions, ways back, purges, sweeps, holds and labels at once: nothing is half done."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from app.archive import sweep, verify
from app.archive.context import Archive
from app.archive.examine import State
from app.archive.holds import hold_study, release_study
from app.archive.labels import label_study, unlabel_study
from app.archive.purge import purge_deleted
from app.archive.removal import delete, reject, restore
from app.archive.restoring import restore_deleted
from app.archive.sweep import sweep_unnamed
from app.dicom.uids import InstanceRef, Ref, StudyRef
from app.errors import ArchiveError
from app.index.overview import count_everything
from app.rights import Principal, Scope
from tests.archive.test_store import store
from tests.archive.test_verify import found
from tests.factories import make_part10, make_series
from tests.index.test_instances_together import WRONG

KINDS = {
    *("accepted", "removed", "rejected", "restored", "purged", "held", "released"),
    *("labelled", "unlabelled"),
}
SUMS = """
SELECT (SELECT count(*) FROM study) AS studies, (SELECT count(*) FROM series) AS series,
    (SELECT count(*) FROM instance) AS instances,
    (SELECT coalesce(sum(size), 0)::bigint FROM instance) AS bytes
"""
TWICE = """
SELECT object_key FROM (
    SELECT object_key FROM instance UNION ALL SELECT object_key FROM removed_instance
) AS named GROUP BY 1 HAVING count(*) > 1
"""
LABELS_TOLD = """
SELECT kind, payload->>'study' AS study, jsonb_array_elements_text(payload->'labels') AS label
FROM event WHERE kind IN ('labelled', 'unlabelled') ORDER BY id
"""
LABELS_OF_NOTHING = """
SELECT study_instance_uid FROM study_label
EXCEPT SELECT study_instance_uid FROM study
EXCEPT SELECT study_instance_uid FROM removed_instance
"""


class _Actor:
    """Does one thing after another with some Studies, as it comes."""

    def __init__(self, archive: Archive, seed: int, studies: list[list[bytes]]) -> None:
        self.archive = archive
        self.chance = random.Random(seed)
        self.studies = studies
        self.who = Principal(f"actor {seed}")

    async def act(self, refs: list[list[InstanceRef]]) -> None:
        """Do one thing; that it is refused is as good."""
        number = self.chance.randrange(len(refs))
        one = self.chance.randrange(len(refs[number]))
        study = StudyRef(refs[number][one].study)
        ref: Ref = self.chance.choice((study, refs[number][one]))
        archive, who = self.archive, self.who
        before = datetime.now(UTC) + timedelta(minutes=1)
        things: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: store(archive, who, *self.studies[number]),
            lambda: store(archive, who, self.studies[number][one]),
            lambda: delete(archive, who, ref),
            lambda: restore_deleted(archive, who, ref),
            lambda: reject(archive, who, ref, "113001^DCM"),
            lambda: restore(archive, who, ref),
            lambda: purge_deleted(archive, who, before, lambda _: None, really=True),
            lambda: sweep_unnamed(archive, who, -60, lambda _: None, really=True),
            lambda: hold_study(archive, who, study.study, "case 17"),
            lambda: release_study(archive, who, study.study),
            lambda: release_study(archive, who, study.study),
            lambda: label_study(archive, who, study.study, ["a", "b"]),
            lambda: unlabel_study(archive, who, study.study, ["b", "c"]),
        )
        with suppress(ArchiveError):
            await self.chance.choice(things)()


async def check_labels(archive: Archive) -> None:
    """See that Studies bear what the log says, in the order of its numbers, and nothing else."""
    told: set[tuple[str, str]] = set()
    for row in await archive.index.fetch(LABELS_TOLD):
        place = (row["study"], row["label"])
        assert (place in told) == (row["kind"] == "unlabelled")  # only what changes is told
        told ^= {place}
    rows = await archive.index.fetch("SELECT study_instance_uid, label FROM study_label")
    assert {tuple(row) for row in rows} == told
    assert await archive.index.fetch(LABELS_OF_NOTHING) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_order_of_things_loses_bytes_or_counts_wrong(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("app.archive.removal.LEASE_SECONDS", 0)
    monkeypatch.setattr(sweep, "SHORTEST_GRACE", -60)
    monkeypatch.setattr(verify, "GRACE_SECONDS", -60)
    made = [make_series(3) for _ in range(3)]
    studies = [[make_part10(dataset) for dataset in series] for series in made]
    refs = [
        [
            InstanceRef(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)
            for one in series
        ]
        for series in made
    ]

    async def many(number: int) -> None:
        actor = _Actor(archive, 100 * seed + number, studies)
        for _ in range(120):
            await actor.act(refs)

    await asyncio.gather(*(many(number) for number in range(4)))
    rows = await archive.index.fetch("SELECT DISTINCT kind FROM event")
    assert {row["kind"] for row in rows} >= KINDS  # each of them has come to pass
    assert await archive.index.fetch(WRONG) == []
    assert await archive.index.fetch(TWICE) == []
    await check_labels(archive)
    (sums,) = await archive.index.fetch(SUMS)
    counted = await count_everything(archive.index, Scope())
    assert (counted.studies, counted.series, counted.instances, counted.bytes) == tuple(sums)
    assert set(await found(archive)) <= {State.WHOLE, State.UNNAMED}
    await sweep_unnamed(archive, Principal("last"), -60, lambda _: None, really=True)
    assert set(await found(archive)) <= {State.WHOLE}
    for uid in {series[0].study for series in refs}:
        with suppress(ArchiveError):
            await release_study(archive, Principal("last"), uid)
        with suppress(ArchiveError):
            await restore(archive, Principal("last"), StudyRef(uid))
    for bodies in studies:
        report = await store(archive, Principal("last"), *bodies)
        assert not any(hasattr(one, "reason") for one in report.results)
    assert (await count_everything(archive.index, Scope())).instances == 9
