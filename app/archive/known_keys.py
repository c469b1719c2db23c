"""Who asks with an API key: one look at the index a second for each key, however often it is used.

A key is `frk_<id>_<secret>`. It is looked up by its id, and the SHA-256 of the whole is compared in
constant time.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial

from app.archive.remembered import Remembered
from app.errors import ArchiveError, Unauthenticated
from app.index.api_keys import FoundKey, find_key, note_use
from app.index.engine import Index
from app.rights import Principal, Role, Scope, principal_of

PREFIX = "frk_"
_KEY = re.compile(r"frk_([0-9a-f]{12})_[0-9a-f]{64}", re.ASCII)
_UNKNOWN = "This key is not known here"


def new_text() -> tuple[str, str]:
    """Return the id of a new key, and the key."""
    key_id = secrets.token_hex(6)
    return key_id, f"{PREFIX}{key_id}_{secrets.token_hex(32)}"


def digest_of(text: str) -> bytes:
    """Return what is kept of a key."""
    return hashlib.sha256(text.encode("latin-1", "replace")).digest()


def granted(
    name: str,
    kind: str,
    tenant_id: int,
    roles: Collection[Role],
    labels: Sequence[str] | None,
) -> Principal:
    """Return who asks with a key or as a user."""
    limits = None if labels is None else frozenset(labels)
    return principal_of(name, kind, roles, Scope(tenant_id, labels=limits))


class KnownKeys:
    """The keys that callers of one process have shown in the last second."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._known: Remembered[Principal] = Remembered()
        self._noting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "KnownKeys":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def principal(self, text: str) -> Principal:
        """Return who has this key.

        Raises:
            Unauthenticated: nobody has, or it is revoked or expired.
            Unavailable: the index does not answer.
        """
        digest = digest_of(text)
        return await self._known.get(digest, partial(self._look, text, digest))

    async def close(self) -> None:
        """Wait until it is noted which keys were used."""
        await asyncio.gather(*self._noting)

    async def _look(self, text: str, digest: bytes) -> Principal:
        match = _KEY.fullmatch(text)
        found = await find_key(self._index, match[1]) if match else None
        if found is None or not hmac.compare_digest(found.digest, digest):
            raise Unauthenticated(_UNKNOWN)
        key = found.key
        if key.revoked_at is not None:
            raise Unauthenticated("This key is revoked")
        if found.expired:
            raise Unauthenticated("This key is expired")
        self._note(found)
        return granted(key.name, "key", key.tenant_id, key.roles, key.labels)

    def _note(self, found: FoundKey) -> None:
        """Note that a key is used, not in the way of the request."""
        if found.unnoted:
            noting = asyncio.create_task(self._noted(found.key.id))
            self._noting.add(noting)
            noting.add_done_callback(self._noting.discard)

    async def _noted(self, key_id: str) -> None:
        with suppress(ArchiveError):  # it is noted another time
            await note_use(self._index, key_id)
