"""What an object store has to do, and how keys are made.

An object is never adopted, overwritten or reused: every attempt to store has a key of its own.
"""

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.objects.extents import Extent
    from app.objects.staged import Staged


class ObjectStore(Protocol):
    """Bytes by key. Its contract is the suite `tests/objects/`, run on every store.

    All but `put` raise `NotFound` for an absent key; each raises `Unavailable` when the store does
    not answer, `put` also `StorageFull`.
    """

    def close(self) -> None:
        """Give back threads, files and connections."""
        ...

    async def put(self, key: str, staged: "Staged") -> None:
        """Write the staged bytes to a key that does not exist yet.

        On return the bytes and the key's own name are durable. A failed put leaves nothing behind.
        A key that exists is `Conflict`: a fault of the caller, who makes a new one for each put.
        """
        ...

    async def read(self, key: str, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset`; a short object is `Unavailable`."""
        ...

    def read_now(self, key: str, offset: int, length: int) -> bytes | None:
        """Return `length` bytes from `offset` if that needs no waiting, else None."""
        ...

    def stamp_now(self, key: str) -> int | None:
        """Return a number that changes when the object's bytes are written to, however that is.

        None where it takes a wait to say, as for a file that is not open yet. A store that writes
        nothing twice, and lets nobody else, has one number for all.
        """
        ...

    def extent_now(self, key: str, offset: int, length: int) -> "Extent | None":
        """Return `length` bytes from `offset` as a file's if they are in memory, else None.

        For the event loop's thread alone.
        """
        ...

    async def extent(self, key: str, offset: int, length: int) -> "Extent | None":
        """Return `length` bytes from `offset` unread; None where objects are no files."""
        ...

    async def stream(
        self, key: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Look the object up, then return an iterator over its bytes in chunks of up to 1 MiB."""
        ...

    def forget(self, key: str) -> None:
        """Remember nothing of a key: the next read of it looks at the store itself."""
        ...

    async def size(self, key: str) -> int:
        """Return the object's size in bytes."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; absent already is success."""
        ...

    async def check(self) -> None:
        """Return if the store answers and would take an object; store and change nothing."""
        ...

    async def secret(self, name: str) -> bytes:
        """Return a secret of 32 bytes that all who use this store have; made at the first call."""
        ...

    async def all_secrets(self) -> dict[str, bytes]:
        """Return all secrets that were made, by name."""
        ...

    async def keep_secret(self, name: str, secret: bytes) -> None:
        """Put a secret, as of a backup, where there is none; another one there is `Conflict`."""
        ...

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """Iterate over the keys that begin with `prefix`, in no particular order."""
        ...


_COMPONENT = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*", re.ASCII)
STAGING = "staging"
"""The directory beside the keys that `Staging` may use; it holds no objects."""
SECRETS = "secrets"
"""What the secrets' keys begin with, which are no objects' keys."""
LOG = "log/"
"""What the keys of the log's segments begin with, which tell of objects and are none of theirs."""
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def check_key(key: str) -> str:
    """Return a key, if it is one.

    Raises:
        InvalidRequest: it would lead out of the store, or to what is no object.
    """
    parts = key.split("/")
    if parts[0] in {STAGING, SECRETS} or not all(_COMPONENT.fullmatch(part) for part in parts):
        raise InvalidRequest(f"{key[:200]!r} is no key of an object")
    return key


_KEY = re.compile(
    r"t/([0-9]+)/(?:[0-9a-f]{2}/[0-9a-f]{2}/([0-9.]+)/[0-9.]+|[a-z-]+)"
    r"/([0-9.]+)\.([0-9A-Z]{26})\.dcm",
    re.ASCII,
)


_SEGMENT_KEY = re.compile(r"log/([0-9]+)/([0-9]{12})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """What a key says. `study` is '' for an Instance of no Patient."""

    tenant_id: int
    study: str
    instance: str
    attempt: str


def parse_key(key: str) -> KeyParts | None:
    """Return what a key says of its Instance, None if it is none of an Instance's."""
    match = _KEY.fullmatch(key)
    return KeyParts(int(match[1]), match[2] or "", match[3], match[4]) if match else None


def new_attempt() -> str:
    """Return a new ULID: 48 bits of milliseconds and 80 random ones, so attempts sort by time."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def attempted_at(attempt: str) -> float:
    """Return when an attempt was made, in seconds since 1970."""
    number = 0
    for letter in attempt[:10]:
        number = number << 5 | _CROCKFORD.index(letter)
    return number / 1000


def object_key(tenant_id: int, study: str, series: str, instance: str, attempt: str) -> str:
    """Return the key of one attempt (a ULID) to store an Instance."""
    return f"{study_prefix(tenant_id, study)}{series}/{instance}.{attempt}.dcm"


def study_prefix(tenant_id: int, study: str) -> str:
    """Return what the keys of all attempts to store Instances of a Study begin with."""
    spread = hashlib.sha256(study.encode()).hexdigest()
    return f"t/{tenant_id}/{spread[:2]}/{spread[2:4]}/{study}/"


def non_patient_key(tenant_id: int, category: str, instance: str, attempt: str) -> str:
    """Return the key of one attempt (a ULID) to store a non-patient Instance."""
    return f"t/{tenant_id}/{category}/{instance}.{attempt}.dcm"


def segment_key(tenant_id: int, number: int) -> str:
    """Return the key of a segment of a tenant's log, for which there is one for ever."""
    return f"{LOG}{tenant_id}/{number:012}.json"


def parse_segment_key(key: str) -> tuple[int, int] | None:
    """Return the tenant and the number of a segment's key, None if it is none."""
    match = _SEGMENT_KEY.fullmatch(key)
    return (int(match[1]), int(match[2])) if match else None
