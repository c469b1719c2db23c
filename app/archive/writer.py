"""The one writer of a process: Instances that wait share one transaction.

While a batch commits the next one gathers, so the batches are as large as the load makes them, and
a single Instance waits for nobody. An answer waits for its own Instance's durability alone.

Objects: that of an Instance which is refused or given up by a cancelled request is deleted here.
If the index does not answer, nobody knows whether the transaction came through: then the object
stays, for the sweeper to take if no row names it. The object of an Instance that was found
`Present` is its caller's, to be compared and deleted.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from app.errors import ArchiveError, InvalidDataset, Unavailable
from app.index.admission import Admission
from app.index.engine import Index
from app.index.instances import NewInstance, add_each_instance
from app.index.present import Present
from app.objects.base import ObjectStore
from app.turns import Asker, Work, asked, asks

MOST = 256
"""Instances of one transaction."""

Result = Present | InvalidDataset | None
"""What became of one: None if added, else what is there already, or why it cannot be indexed."""

_log = logging.getLogger(__name__)


_Sender = tuple[int, str, Admission | None]
"""The tenant, the name in the log, and the terms."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    sender: _Sender
    new: NewInstance
    result: "asyncio.Future[Result]"


class Writer:
    """Adds Instances to the index, for all requests of this process."""

    def __init__(self, index: Index, objects: ObjectStore) -> None:
        self._index = index
        self._objects = objects
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Writer":
        token = asks(Asker(work=Work.STORE))
        self._task = asyncio.create_task(self._run())
        asked(token)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write all that waits, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def add(
        self,
        tenant_id: int,
        actor: str,
        new: Sequence[NewInstance],
        under: Admission | None = None,
    ) -> list[Result]:
        """Add Instances whose objects are put; return what became of each.

        `under` which terms they come in; None: no scope and no rule for labels counts.

        Raises:
            Unavailable, StorageFull: the index or the store fails; some may be in.
        """
        if self._closing:
            raise Unavailable("the server is stopping")
        loop = asyncio.get_running_loop()
        sender = (tenant_id, actor, under)
        waiting = [_Waiting(sender, one, loop.create_future()) for one in new]
        self._waiting.extend(waiting)
        self._wake.set()
        try:
            return [await one.result for one in waiting]
        finally:
            for one in waiting:  # cancelled, or one of them failed: nobody waits for the others
                if not one.result.done():
                    one.result.cancel()
                elif not one.result.cancelled():
                    one.result.exception()

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            given_up = [one for one in batch if one.result.done()]
            await self._discard(one.new.object_key for one in given_up)
            await self._write([one for one in batch if not one.result.done()])

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        groups: dict[tuple[_Sender, str | None], list[_Waiting]] = {}
        for one in batch:  # forwarding goes by the source
            groups.setdefault((one.sender, one.new.source), []).append(one)
        for (sender, _), group in groups.items():
            await self._index_all(sender, group)

    async def _index_all(self, sender: _Sender, group: Sequence[_Waiting]) -> None:
        tenant_id, actor, under = sender
        try:
            new = [one.new for one in group]
            results = await add_each_instance(self._index, tenant_id, actor, new, under)
        except Exception as error:
            if not isinstance(error, ArchiveError):
                _log.exception("a batch of %d Instances failed", len(group))
            _fail(group, error)
            return
        unwanted = []
        for one, result in zip(group, results, strict=True):
            if isinstance(result, InvalidDataset) or (result is not None and one.result.done()):
                unwanted.append(one.new.object_key)
            if not one.result.done():
                one.result.set_result(result)
        await self._discard(unwanted)

    async def _discard(self, keys: Iterable[str]) -> None:
        for key in keys:
            await discard_object(self._objects, key)


def _fail(batch: Iterable[_Waiting], error: Exception) -> None:
    for one in batch:
        if not one.result.done():
            one.result.set_exception(error)


async def discard_object(objects: ObjectStore, key: str) -> None:
    """Delete an object that no row names; if that fails, the sweeper takes it later."""
    try:
        await objects.delete(key)
    except ArchiveError:
        _log.warning("object %s is left to the sweeper", key, exc_info=True)
