"""What is there before a fault, and what is being done when it strikes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.archive import removal
from app.archive.context import Archive
from app.archive.purge import purge_deleted
from app.archive.store import store_instances
from app.dicom.uids import InstanceRef, StudyRef
from app.errors import ArchiveError, Gone, NotFound
from app.index.known import known_instances
from app.rights import Principal
from tests.archive.test_store import parts
from tests.factories import make_dataset, make_part10, new_uid
from tests.killing.ledger import Expected, Ledger, Sent
from tests.killing.truth import look

PRINCIPAL = Principal("test")


class Action(StrEnum):
    """What is being done."""

    STORE = "store"
    STORE_LARGE = "store what is staged in a file"
    STORE_MORE = "store more into a Series that was met"
    STORE_AGAIN = "store the same again"
    MEND = "store again what was lost"
    REMOVE = "delete"
    BRING_BACK = "bring back what was rejected"
    PURGE = "purge"


WARMED = {Action.STORE_MORE, Action.MEND}
"""Done to a Series that was met, so that there is one commit: that of the action itself."""
_SUBJECT = {
    Action.STORE: "fresh",
    Action.STORE_LARGE: "large",
    Action.STORE_MORE: "more",
    Action.STORE_AGAIN: "first",
    Action.MEND: "first",
    Action.REMOVE: "first",
    Action.BRING_BACK: "rejected",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Instances by what they are here for; their bytes are in the ledger's files."""

    ledger: Ledger
    named: dict[str, Sent]

    @classmethod
    def write(cls, directory: Path) -> "Scene":
        """Make all Instances; nothing is stored yet."""
        directory.mkdir(exist_ok=True)
        scene, one_series = cls(Ledger(directory), {}), (new_uid(), new_uid())
        for name in ("first", "second", "earlier", "more"):
            scene._add(name, *one_series)
        for name in ("fresh", "deleted", "rejected"):
            scene._add(name, new_uid(), new_uid())
        pixels = {"Rows": 2048, "Columns": 1280, "PixelData": bytes(2048 * 1280 * 2)}
        scene._add("large", new_uid(), new_uid(), **pixels)
        return scene

    def _add(self, name: str, study: str, series: str, **keywords: Any) -> None:
        uids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        dataset = make_dataset(**uids, **keywords)
        uid = str(dataset.SOPInstanceUID)
        self.named[name] = self.ledger.add(study, series, uid, make_part10(dataset))

    def bytes_of(self, name: str) -> bytes:
        """Return what is sent."""
        return self.ledger.path(self.named[name].instance).read_bytes()

    async def prepare(self, archive: Archive) -> None:
        """Store what is there before, delete one, and reject one."""
        for name in ("first", "second", "deleted", "rejected"):
            await self.store(archive, name)
        one = self.named["deleted"]
        await removal.delete(archive, PRINCIPAL, StudyRef(one.study))
        await removal.reject(archive, PRINCIPAL, StudyRef(self.named["rejected"].study), "1^DCM")
        self.named["deleted"].expected = self.named["rejected"].expected = Expected.ABSENT
        archive.index.known.clear()

    async def store(self, archive: Archive, name: str) -> None:
        """Store one; it must be a success."""
        assert await self._store(archive, name)

    async def _store(self, archive: Archive, name: str) -> bool:
        one = self.named[name]
        self.ledger.begin([one])
        report = await store_instances(archive, PRINCIPAL, parts(self.bytes_of(name)))
        if report.stored:
            self.ledger.acknowledge([one])
        return bool(report.stored)

    async def warm(self, archive: Archive, action: Action) -> None:
        """Meet the Series in the same process, so that adding to it is one statement."""
        if action in WARMED:
            await self.store(archive, "earlier")

    async def act(self, archive: Archive, action: Action) -> bool:
        """Do it; say whether that was answered with success."""
        try:
            return await self._act(archive, action)
        except ArchiveError:
            return False

    async def _act(self, archive: Archive, action: Action) -> bool:
        if action is Action.PURGE:
            before = datetime.now(UTC) + timedelta(minutes=1)
            await purge_deleted(archive, PRINCIPAL, before, lambda _: None, really=True)
            return True
        name = _SUBJECT[action]
        one = self.named[name]
        if action is Action.REMOVE:
            self.ledger.begin([one], removing=True)
            ref = InstanceRef(one.study, one.series, one.instance)
            await removal.delete(archive, PRINCIPAL, ref)
            self.ledger.acknowledge([one], removed=True)
            return True
        if action is Action.BRING_BACK:
            self.ledger.begin([one])
            await removal.restore(archive, PRINCIPAL, StudyRef(one.study))
            self.ledger.acknowledge([one])
            return True
        return await self._store(archive, name)

    async def again(self, archive: Archive, action: Action) -> None:
        """Do it once more, as a client would; now it must be so, whoever did it."""
        try:
            done = await self._act(archive, action)
        except (NotFound, Gone):  # the first time did it
            done = action in {Action.REMOVE, Action.BRING_BACK}
            self.ledger.acknowledge([self.subject(action)], removed=action is Action.REMOVE)
        assert done

    def subject(self, action: Action) -> Sent:
        """Return the Instance that an action is about."""
        return self.named[_SUBJECT[action]]

    async def wrong(self, archive: Archive, url: str) -> list[str]:
        """Say what is not as it was acknowledged."""
        found, said = await look(url, archive.objects, self.ledger.sent)
        self.ledger.settle(found.keys())
        known = await known_instances(archive.index, PRINCIPAL.scope, list(self.ledger.sent))
        assert set(known) == found.keys()
        return said

    async def lose(self, archive: Archive, name: str) -> None:
        """Damage the stored bytes of one."""
        where = "SELECT object_key FROM instance WHERE sop_instance_uid = $1"
        row = await archive.index.fetchrow(where, self.named[name].instance)
        assert row is not None
        await archive.objects.delete(row["object_key"])


async def unnamed(archive: Archive) -> list[str]:
    """Return the keys of objects that no row names."""
    rows = await archive.index.fetch(
        "SELECT object_key FROM instance UNION ALL SELECT object_key FROM removed_instance"
    )
    named = {row["object_key"] for row in rows}
    return [key async for key in archive.objects.keys("t/") if key not in named]
