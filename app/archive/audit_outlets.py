"""Telling audit repositories of the log: in its order, at least once, whoever dies meanwhile.

A repository is a reader of the log that remembers how far it was told; what waits for it is the log
itself. One process at a time tells it, by a lease; where nothing waits, nothing is written. A
repository that does not answer is asked again, ever more seldom.
"""

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import orjson

from app.archive.audit_event import audit_event
from app.archive.audit_facts import fact_of
from app.archive.audit_syslog import TlsFiles, send_syslog, syslog_message
from app.archive.beside import beside
from app.dicom.audit_message import AuditFact
from app.errors import ArchiveError, Unavailable
from app.index.audit_outbox import Reported, begin_collector, note_told, read_untold
from app.index.engine import Index
from app.index.reads import STARTED, STOPPED, Read, append_reads
from app.index.upkeep import begin_upkeep, leave_upkeep, renew_upkeep
from app.rights import DEFAULT_TENANT

if TYPE_CHECKING:
    import httpx

AT_ONCE = 100
LOOK_SECONDS = 1.0
LONGEST_PAUSE = 60.0
CALL_SECONDS = 15.0
_BUSY = frozenset((401, 403, 404, 408, 425, 429))
"""Answers of a repository that is not ready, beside 5xx; others refuse what was sent."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditOutlets:
    """Which repositories are told: `tls://host:port`, and the base of a FHIR server.

    `source` is how the archive calls itself there.
    """

    source: str = "fileroom"
    syslog: str | None = None
    files: TlsFiles = field(default_factory=TlsFiles)
    fhir: str | None = None
    fhir_token: str = field(default="", repr=False)


class Outlet(Protocol):
    """A repository. `address` is what it is remembered by."""

    address: str

    async def tell(self, facts: Sequence[AuditFact]) -> int:
        """Tell of facts in their order; return how many of the first ones were taken.

        Raises:
            Unavailable: none was.
        """
        ...


class SyslogOutlet:
    """A repository that takes syslog over TLS; a batch is taken as a whole or not at all."""

    def __init__(self, outlets: AuditOutlets, address: str) -> None:
        self.address = address
        self._outlets = outlets

    async def tell(self, facts: Sequence[AuditFact]) -> int:
        """Send all facts."""
        messages = [syslog_message(fact, self._outlets.source) for fact in facts]
        await asyncio.to_thread(send_syslog, self.address, self._outlets.files, messages)
        return len(facts)


class FhirOutlet:
    """A FHIR server. What it refuses is logged and passed over; else nothing would follow it."""

    def __init__(self, outlets: AuditOutlets, address: str, client: "httpx.AsyncClient") -> None:
        self.address = address
        self._outlets = outlets
        self._client = client

    async def tell(self, facts: Sequence[AuditFact]) -> int:
        """Post one AuditEvent after the other."""
        for count, fact in enumerate(facts):
            try:
                await self._post(fact)
            except Unavailable:
                if count:
                    return count
                raise
        return len(facts)

    async def _post(self, fact: AuditFact) -> None:
        import httpx  # noqa: PLC0415 - as `fhir_client`

        headers = {"Content-Type": "application/fhir+json"}
        if self._outlets.fhir_token:
            headers["Authorization"] = f"Bearer {self._outlets.fhir_token}"
        body = orjson.dumps(audit_event(fact, self._outlets.source))
        url = f"{self.address}/AuditEvent"
        try:
            answer = await self._client.post(url, content=body, headers=headers)
        except (httpx.HTTPError, OSError) as error:
            raise Unavailable(f"{url}: {str(error) or type(error).__name__}") from None
        if answer.status_code >= 500 or answer.status_code in _BUSY:
            raise Unavailable(f"{url} answered {answer.status_code}")
        if not answer.is_success:
            status, when = answer.status_code, fact.at.isoformat()
            _log.error("%s refused the audit message of %s: %d", url, when, status)


async def tell_next(index: Index, outlet: Outlet, holder: str) -> bool:
    """Tell a repository of what comes next; say whether there may be more.

    Raises:
        Unavailable: it does not answer, or the index does not.
    """
    if not await read_untold(index, outlet.address, 1):
        return False
    name = f"audit {outlet.address}"
    if not await begin_upkeep(index, name, holder, 0):
        return False
    try:
        while waiting := await read_untold(index, outlet.address, AT_ONCE):
            await _tell(index, outlet, waiting)
            if not await renew_upkeep(index, name, holder):
                return True
    finally:
        await leave_upkeep(index, name, holder, done=False)
    return False


async def _tell(index: Index, outlet: Outlet, waiting: Sequence[Reported]) -> None:
    """Tell of some events, and remember up to which it was."""
    facts, ends = [], []
    for one in waiting:
        fact = fact_of(one.event, one.patient)
        if fact is not None:
            facts.append(fact)
            ends.append(one.event.position)
    last = waiting[-1].event.position
    if facts:
        taken = await outlet.tell(facts)
        last = last if taken == len(facts) else ends[taken - 1]
    await note_told(index, outlet.address, last)


async def _tell_on(index: Index, outlet: Outlet) -> None:
    holder, pause = secrets.token_hex(8), LOOK_SECONDS
    begun = False
    while True:
        try:
            if not begun:
                await begin_collector(index, outlet.address)
                begun = True
            await tell_next(index, outlet, holder)
            pause = LOOK_SECONDS
        except ArchiveError as error:
            pause = min(2 * pause, LONGEST_PAUSE)
            _log.warning("audit messages wait, next try in %.0f s: %s", pause, error)
        except Exception:
            pause = LONGEST_PAUSE
            _log.exception("audit messages could not be sent")
        await asyncio.sleep(pause)


@asynccontextmanager
async def audit_told(index: Index, outlets: AuditOutlets) -> AsyncIterator[None]:
    """Tell audit repositories of what is logged while the block runs, of its start and its end."""
    addresses = [address for address in (outlets.syslog, outlets.fhir) if address is not None]
    async with AsyncExitStack() as stack:
        if addresses:
            await _note_activity(index, addresses, STARTED)
            stack.push_async_callback(_note_activity, index, addresses, STOPPED)
        if outlets.syslog is not None:
            syslog = SyslogOutlet(outlets, outlets.syslog)
            await stack.enter_async_context(beside(_tell_on(index, syslog)))
        if outlets.fhir is not None:
            client = await stack.enter_async_context(_fhir_client(outlets.files))
            fhir = FhirOutlet(outlets, outlets.fhir, client)
            await stack.enter_async_context(beside(_tell_on(index, fhir)))
        yield


async def _note_activity(index: Index, addresses: Sequence[str], kind: str) -> None:
    """Log that this process starts or stops, for those who are told."""
    try:
        for address in addresses:
            await begin_collector(index, address)
        told = Read(DEFAULT_TENANT, kind, "fileroom", {"process": os.getpid()})
        await append_reads(index, [told])
    except ArchiveError as error:
        _log.warning("no audit repository learns that the archive %s: %s", kind, error)


@asynccontextmanager
async def _fhir_client(files: TlsFiles) -> AsyncIterator["httpx.AsyncClient"]:
    """Give an HTTP client; its library is loaded where a FHIR server is told."""
    import httpx  # noqa: PLC0415 - as it says

    context = await asyncio.to_thread(files.context)
    async with httpx.AsyncClient(verify=context, timeout=CALL_SECONDS) as client:
        yield client
