"""API keys: `frk_<id>_<secret>`, made and revoked by administrators, shown once.

The secret is 256 random bits, so its SHA-256 can be kept: there is nothing to guess.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from app.archive.context import Archive
from app.archive.granting import check_administers, check_name, read_grant
from app.archive.known_keys import digest_of, new_text
from app.archive.remembered import LEASE_SECONDS
from app.archive.tickets import end_given
from app.errors import Conflict, InvalidRequest, NotFound
from app.index import api_keys
from app.index.api_keys import ApiKey, NewKey
from app.rights import Principal

MOST_DAYS = 36_500
DEFAULT_DAYS = 365


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A new key. `text` is what callers send; it cannot be shown again."""

    key: ApiKey
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key to be made: `labels` of None are all Studies, `days` of None never end."""

    name: str
    roles: Collection[str]
    labels: Collection[str] | None = None
    days: int | None = DEFAULT_DAYS


async def make_key(archive: Archive, principal: Principal, wanted: WantedKey) -> MadeKey:
    """Make a key, which counts at once wherever API keys are switched on.

    Raises:
        Conflict: a key that is not revoked has this name.
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: name, roles, labels or days are none.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    grant = read_grant(wanted.roles, wanted.labels)
    if wanted.days is not None and not 0 < wanted.days <= MOST_DAYS:
        raise InvalidRequest(f"From 1 to {MOST_DAYS} days were expected, or none for ever")
    name, (key_id, text) = check_name(wanted.name), new_text()
    new = NewKey(key_id, digest_of(text), name, grant.roles, grant.labels, wanted.days)
    tenant_id = principal.scope.tenant_id
    made = await api_keys.add_key(archive.index, tenant_id, principal.name, new)
    if made is None:
        raise Conflict(f"There is a key {name}; revoke it first, or choose another name")
    return MadeKey(made, text)


async def list_keys(archive: Archive, principal: Principal) -> Sequence[ApiKey]:
    """Return all keys, the oldest first, revoked ones too.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    return await api_keys.list_keys(archive.index, principal.scope.tenant_id)


async def revoke_key(archive: Archive, principal: Principal, name: str) -> None:
    """Let a key count no more: when this returns, no process takes it.

    Raises:
        Forbidden: `principal` may not administer, or not see all.
        InvalidRequest: it is no name.
        NotFound: there is none of this name that is not revoked.
        Unavailable: the index does not answer.
    """
    check_administers(principal)
    tenant_id = principal.scope.tenant_id
    if not await api_keys.revoke_key(archive.index, tenant_id, principal.name, check_name(name)):
        raise NotFound("Key", name)
    await asyncio.sleep(LEASE_SECONDS)
    for kind in ("key", "service"):
        await end_given(archive, tenant_id, kind, name)
