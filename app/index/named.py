"""What the log says of the Instance that an object belongs to which no event names.

Such an object may be what a store left behind that was killed before its commit. Where its
Instance was deleted since, or is there with other bytes, to admit it would bring back what is gone,
or invent what never was.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from app.index.absence import REJECTED
from app.index.engine import Index
from app.index.replaying import LIVE

NAMED = """
SELECT sop_instance_uid, attempt, state, sha256, changed_at FROM rebuild_item
WHERE tenant_id = $1 AND sop_instance_uid = ANY($2)
"""


@dataclass(slots=True)
class Named:
    """An Instance as the log has it: its objects, and what became of it.

    `sha256` is of what was accepted and is live, b"" if nothing is.
    """

    attempts: set[str] = field(default_factory=set)
    sha256: bytes = b""
    rejected: bool = False
    removed_at: datetime | None = None

    def objection(self, attempted_at: float) -> str:
        """Say why an object is none of this Instance that was made at that time; "" if it may be.

        `attempted_at` is in seconds since 1970.
        """
        if self.sha256:
            return ""
        if self.rejected:
            return "its Instance was rejected"
        if self.removed_at and attempted_at <= self.removed_at.timestamp():
            return "its Instance was deleted after the attempt to store it"
        return ""

    def note(self, attempt: str, state: str, sha256: bytes, changed_at: datetime) -> None:
        """Take in what the log says of one of its objects."""
        self.attempts.add(attempt)
        if state == LIVE:
            self.sha256 = sha256
        elif state.startswith(REJECTED):
            self.rejected = True
        else:
            self.removed_at = max(changed_at, self.removed_at or changed_at)


async def find_named(index: Index, tenant_id: int, uids: Iterable[str]) -> dict[str, Named]:
    """Return what the log says of those of the Instances that it names, by SOP Instance UID.

    Raises:
        Unavailable: the index does not answer.
    """
    found: dict[str, Named] = {}
    for row in await index.fetch(NAMED, tenant_id, list(uids)):
        uid, *said = row
        found.setdefault(uid, Named()).note(*said)
    return found
