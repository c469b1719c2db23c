"""The public keys of the seal, by number: which there have been, and that one follows another.

A new key is a fact of the log, which the key before it still seals: so whoever trusts one key may
trust those that came after it.
"""

from dataclasses import dataclass
from datetime import datetime

from app.errors import Conflict
from app.index.engine import Index, fetch_at
from app.index.events import log_event
from app.index.pool import Connection

REKEYED = "rekeyed"
"""The kind of the event that a new key begins with; the segment ends with it."""

ALL = "SELECT tenant_id, number, public_key FROM seal_key ORDER BY tenant_id, number"
LIST = "SELECT number, public_key, made_at FROM seal_key WHERE tenant_id = $1 ORDER BY number"
ADD = """
INSERT INTO seal_key (tenant_id, number, public_key) VALUES ($1, $2, $3)
ON CONFLICT (tenant_id, number) DO NOTHING RETURNING number
"""


@dataclass(frozen=True, slots=True)
class NumberedKey:
    """An Ed25519 public key of 32 bytes; `number` counts from 1."""

    number: int
    public: bytes
    made_at: datetime


async def list_keys(index: Index, tenant_id: int) -> list[NumberedKey]:
    """Return all keys of a tenant, the newest last.

    Raises:
        Unavailable: the index does not answer.
    """
    return [NumberedKey(*row) for row in await index.fetch(LIST, tenant_id)]


def all_keys_at(url: str) -> list[tuple[int, int, bytes]]:
    """Return tenant, number and public key of all keys, for where no event loop runs.

    Raises:
        Unavailable: the database does not answer.
    """
    return [(row["tenant_id"], row["number"], row["public_key"]) for row in fetch_at(url, ALL)]


async def note_key(index: Index, tenant_id: int, number: int, public: bytes) -> None:
    """Keep a public key, if none of this number is kept.

    Raises:
        Unavailable: the index does not answer.
    """
    await index.retrying(lambda it: it.fetchval(ADD, tenant_id, number, public))


async def change_key(index: Index, tenant_id: int, actor: str, old: bytes, new: bytes) -> int:
    """Let a new key follow the newest one, which is `old`, and log it; return its number.

    Raises:
        Conflict: the newest key is another one.
        Unavailable: the index does not answer.
    """

    async def change(connection: Connection) -> int:
        rows = await connection.fetch(LIST, tenant_id)
        number = len(rows) + 1
        newest = rows[-1]["public_key"] if rows else b""
        if newest != old or await connection.fetchval(ADD, tenant_id, number, new) is None:
            raise Conflict("the key of the seal was changed by somebody else just now")
        payload = {"old": old.hex(), "new": new.hex(), "number": number}
        await log_event(connection, tenant_id, REKEYED, actor, payload)
        return number

    return await index.retrying(change)
