"""The audit trail as auditors read it: reads and writes of the one log, who saw a Study.

Whoever asks for it here is in it, too: over HTTP `web.audited` sees to that, for the operator's
commands `note_use`.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

from app.archive.context import Archive
from app.archive.trail import access_of
from app.errors import Forbidden, InvalidRequest
from app.index.audit_log import Page, Wanted, search_log
from app.index.events import Event, Position
from app.index.reads import AUDIT_USED, DOWNLOADED, EXPORTED, READS, VIEWED
from app.rights import Principal, Verb

MOST = 1000
"""Entries of one answer."""
SEEN = (VIEWED, DOWNLOADED, EXPORTED)
"""What shows pixels or Metadata of a Study."""
_KIND = re.compile(r"[a-z-]{1,40}", re.ASCII)
_WRITES = ("accepted", "removed", "restored")
"""Some of them; `webhooks.KINDS` has all."""
_MANY = frozenset(("series", "instances"))


async def read_audit(
    archive: Archive, principal: Principal, wanted: Wanted, after: Position, limit: int
) -> Page:
    """Return the next entries that are wanted, in the order of the log.

    There may be none of them in a page, and more all the same: it says so.

    Raises:
        Forbidden: `principal` may not audit, or not everything.
        InvalidRequest: an action is none.
        Unavailable: the index does not answer.
    """
    check_auditor(principal)
    if not all(_KIND.fullmatch(kind) for kind in wanted.kinds):
        raise InvalidRequest(f"An action such as {', '.join((*READS, *_WRITES))} was expected")
    return await search_log(archive.index, principal.scope.tenant_id, wanted, after, limit)


async def all_entries(
    archive: Archive, principal: Principal, wanted: Wanted
) -> AsyncIterator[Event]:
    """Iterate over all entries that are wanted and there now.

    Raises:
        Forbidden, InvalidRequest, Unavailable: as `read_audit`, at the first one.
    """
    after, more = Position(), True
    while more:
        page = await read_audit(archive, principal, wanted, after, MOST)
        for event in page.events:
            yield event
        after, more = page.following, page.more


def who_saw(study: str, wanted: Wanted) -> Wanted:
    """Return what asks who saw, took or exported a Study."""
    return replace(wanted, study=study, kinds=SEEN)


async def note_use(archive: Archive, principal: Principal, study: str = "") -> None:
    """Put into the trail that it is read.

    Raises:
        Forbidden: `principal` may not audit.
        Unavailable: the index does not answer.
    """
    check_auditor(principal)
    await archive.trail.write(access_of(principal, AUDIT_USED, study))


def check_auditor(principal: Principal) -> None:
    """See that somebody may read the trail.

    Raises:
        Forbidden: it is not allowed, or only for some Studies.
    """
    if Verb.AUDIT not in principal.verbs or not principal.scope.is_whole:
        raise Forbidden("The audit trail is for auditors")


def entry_as_json(event: Event) -> dict[str, Any]:
    """Return an entry as JSON; of Instances it says how many they are."""
    told = {name: value for name, value in event.payload.items() if name not in _MANY}
    count = count_instances(event.payload)
    return {
        "position": str(event.position),
        "at": event.at.isoformat(),
        "action": event.kind,
        "principal": event.actor,
        **({"instances": count} if count else {}),
        **told,
    }


def count_instances(payload: Mapping[str, Any]) -> int:
    """Return how many Instances an event is about, 0 where it names none one by one."""
    series = payload.get("series")
    if isinstance(series, dict):
        return sum(len(instances) for instances in series.values())
    instances = payload.get("instances")
    return len(instances) if isinstance(instances, dict | list) else 0
