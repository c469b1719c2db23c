"""Deliveries: what the log says reaches each webhook, in commit order, at least once.

A webhook is a reader of the log that remembers how far it was told. Where something follows, a job
is queued that says which events: after one position and up to another, under an id of its own. The
job reads them, sends them, and at its end, in one transaction, moves the webhook on and queues the
next. So each webhook has one delivery at a time, and a delivery is the same at each try.

A delivery that failed for good is left to a dead letter, and the webhook goes on behind it. When it
is retried by hand it comes late, out of order.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import orjson

from app.archive.beside import beside
from app.archive.change_json import change_as_json
from app.archive.context import Archive
from app.errors import ArchiveError, Unavailable
from app.index.events import Event, Position
from app.index.pool import Connection
from app.index.webhooks import (
    Webhook,
    begin_delivery,
    disable_webhook,
    end_delivery,
    find_webhook,
    list_idle,
    lock_idle,
    next_step,
    pass_over,
    read_kinds,
)
from app.jobs.queue import Ending, Job, enqueue
from app.jobs.running import Kind

if TYPE_CHECKING:
    from app.archive.webhook_calls import Caller

KIND = "webhook"
MOST = 100
"""Events of one delivery."""
MOST_BYTES = 2**20
"""Of its body; an event alone may be longer."""
LOOK_SECONDS = 1.0
LONGEST_PAUSE = 30.0
PAUSES = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14_400.0, *[21_600.0] * 11)
"""Seconds after each try that failed: three days in all."""
GONE = 410
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Which events a job tells of, to whom, and the id of the message."""

    webhook: int
    id: str
    after: Position
    until: Position

    def as_bytes(self) -> bytes:
        places = [[it.transaction, it.number] for it in (self.after, self.until)]
        return orjson.dumps([self.webhook, self.id, *places])

    @classmethod
    def of(cls, job: Job) -> "_Delivery":
        webhook, message_id, after, until = orjson.loads(job.payload or b"")
        return cls(webhook, message_id, Position(*after), Position(*until))


class Deliveries:
    """What one process does for webhooks; `kind` is how their jobs are done."""

    def __init__(self, archive: Archive, stack: AsyncExitStack) -> None:
        self._index = archive.index
        self._stack = stack
        self._caller: asyncio.Task[Caller] | None = None
        self.kind = Kind(self.deliver, PAUSES, self.leave)

    async def begin_all(self) -> None:
        """Queue a delivery for each webhook that has none, where there is something to tell.

        Raises:
            Unavailable: the index does not answer.
        """
        for idle in await list_idle(self._index):
            again = True
            while again:
                async with self._index.writing() as connection:
                    webhook = await lock_idle(connection, idle.id)
                    again = webhook is not None and await _begin_next(connection, webhook)

    async def deliver(self, job: Job) -> Ending:
        """Tell a webhook of the events of a job; return what its end writes.

        Raises:
            Unavailable: it does not answer with success, or the index does not answer.
        """
        told = _Delivery.of(job)
        webhook = await find_webhook(self._index, told.webhook)
        if webhook is None:
            return _write_nothing
        if webhook.disabled:
            raise Unavailable(f"webhook {webhook.id} is disabled: {webhook.disabled}")
        async with self._index.at_once() as connection:
            events = await read_kinds(connection, webhook, told.after, told.until, MOST)
        if not events:  # the log is another one than it was queued in
            return partial(_end, job=job, delivered=False)
        caller = await self._calling()
        status = await caller.call(webhook, told.id, message(events, told.until))
        if 200 <= status < 300:
            return partial(_end, job=job, delivered=True)
        if status == GONE and webhook.job_id == job.id:
            _log.error("webhook %d is disabled: its receiver says that it is gone", webhook.id)
            return partial(_disable, job=job)
        raise Unavailable(f"the receiver answered {status}")

    async def leave(self, connection: Connection, job: Job) -> None:
        """Go on behind a job that is a dead letter now."""
        await _end(connection, job, delivered=False)

    async def _calling(self) -> "Caller":
        """Return what calls webhooks; its library is loaded when there is one."""
        if self._caller is None:
            from app.archive.webhook_calls import calling  # noqa: PLC0415 - as it says

            self._caller = asyncio.create_task(self._stack.enter_async_context(calling()))
        return await asyncio.shield(self._caller)


@asynccontextmanager
async def deliveries_begun(archive: Archive) -> AsyncIterator[Deliveries]:
    """Queue what webhooks are to be told of while the block runs."""
    async with AsyncExitStack() as stack:
        deliveries = Deliveries(archive, stack)
        async with beside(_begin_on(deliveries)):
            yield deliveries


def message(events: Sequence[Event], until: Position) -> bytes:
    """Return the body that tells of some events; `next` is where a reader of the feed goes on."""
    changes = [change_as_json(event, named=False) for event in events]
    data = {"changes": changes, "next": str(until)}
    return orjson.dumps({"type": "changes", "timestamp": events[-1].at, "data": data})


async def _begin_on(deliveries: Deliveries) -> None:
    pause = LOOK_SECONDS
    while True:
        try:
            await deliveries.begin_all()
            pause = LOOK_SECONDS
        except ArchiveError as error:
            pause = min(2 * pause, LONGEST_PAUSE)
            _log.warning("webhooks wait, next look in %.0f s: %s", pause, error)
        except Exception:
            pause = LONGEST_PAUSE
            _log.exception("deliveries to webhooks could not be begun")
        await asyncio.sleep(pause)


async def _begin_next(connection: Connection, webhook: Webhook) -> bool:
    """Queue the next delivery to a webhook that has none; say whether to look further at once."""
    step = await next_step(connection, webhook.tenant_id, webhook.after)
    if step is None:
        return False
    events = await read_kinds(connection, webhook, webhook.after, step, MOST)
    if not events:
        await pass_over(connection, webhook.id, step)
        return True
    batch = _cut(events)
    until = step if len(batch) == len(events) < MOST else batch[-1].position
    told = _Delivery(webhook.id, f"msg_{secrets.token_hex(16)}", webhook.after, until)
    job = await enqueue(connection, entrypoint(webhook.id), told.as_bytes())
    await begin_delivery(connection, webhook.id, job)
    return False


def entrypoint(webhook: int) -> str:
    """Return how the queue names the jobs of a webhook."""
    return f"{KIND}/{webhook}"


def _cut(events: Sequence[Event]) -> Sequence[Event]:
    """Return the first of some events, as many as one message takes."""
    size = 0
    for count, event in enumerate(events):
        size += len(orjson.dumps(change_as_json(event, named=False)))
        if size > MOST_BYTES and count:
            return events[:count]
    return events


async def _end(connection: Connection, job: Job, *, delivered: bool) -> None:
    told = _Delivery.of(job)
    ended = await end_delivery(connection, told.webhook, job.id, told.until, delivered=delivered)
    if ended is not None:
        await _begin_next(connection, ended)


async def _disable(connection: Connection, job: Job) -> None:
    await disable_webhook(connection, _Delivery.of(job).webhook, job.id, "410 Gone")


async def _write_nothing(_: Connection) -> None:
    """End the job of a webhook that was removed."""
