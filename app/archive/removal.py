"""Delete and reject: Instances disappear from every answer, in every process, before we answer.

By then it is sealed, too: an index that is made anew from objects and segments of the log shows
nothing that was deleted, if we said so.

The bytes stay in the object store, and what was known of them in the index: a deleted Instance may
be stored again, or brought back until it is purged (`restoring`); a rejected one may not be stored
until it is brought back or deleted, too.
"""

import asyncio
import re
from datetime import datetime

from app.archive.context import Archive
from app.archive.leases import LEASE_SECONDS
from app.dicom.uids import Ref
from app.errors import Forbidden, InvalidRequest
from app.index.absence import REJECTED
from app.index.removal import DELETED, Guard, remove_instances, restore_rejected
from app.rights import Principal, Verb

_CODE = re.compile(r"[A-Za-z0-9._-]{1,16}\^[A-Za-z0-9._-]{1,16}", re.ASCII)


def unconditional(_: str, __: datetime | None) -> None:
    """Let everything be removed."""


async def delete(
    archive: Archive, principal: Principal, ref: Ref, guard: Guard = unconditional
) -> int:
    """Delete a Study, a Series or an Instance; return how many Instances that were.

    What was rejected of it is deleted, too. `guard` sees the version of what is there first.

    Raises:
        Changed: `guard` does not let it.
        Conflict: the Study is held, or a retention rule keeps it.
        Forbidden: `principal` may not delete.
        NotFound, Gone: there is no such resource, or `principal` may not see its Study.
        Unavailable: the index does not answer; or it is done, and could not be sealed in time.
    """
    return await _remove(archive, principal, ref, DELETED, guard)


async def reject(archive: Archive, principal: Principal, ref: Ref, code: str) -> int:
    """Reject a Study, a Series or an Instance; return how many Instances that were.

    `code` says why: a code value and its scheme, such as `113001^DCM` (PS3.16 CID 7011).

    Raises:
        Conflict: the Study is held.
        InvalidRequest: `code` is none.
        Forbidden, NotFound, Gone, Unavailable: as for `delete`.
    """
    if not _CODE.fullmatch(code):
        raise InvalidRequest("A code and its scheme, such as 113001^DCM, were expected")
    return await _remove(archive, principal, ref, REJECTED + code, unconditional)


async def restore(archive: Archive, principal: Principal, ref: Ref) -> int:
    """Bring back what was rejected of a Study, Series or Instance; return how many Instances.

    Raises:
        Forbidden: `principal` may not delete.
        NotFound: nothing of it is rejected, or `principal` may not see its Study.
        Unavailable: as for `delete`.
    """
    _check(principal)
    count = await restore_rejected(archive.index, principal.scope, ref, principal.name)
    await archive.sealer.settle(principal.scope.tenant_id)
    return count


async def _remove(
    archive: Archive, principal: Principal, ref: Ref, reason: str, guard: Guard
) -> int:
    _check(principal)
    name, scope = principal.name, principal.scope
    count = await remove_instances(archive.index, scope, ref, name, reason, guard)
    await known_everywhere(archive, scope.tenant_id)
    return count


async def known_everywhere(archive: Archive, tenant_id: int) -> None:
    """Wait until what takes something away from callers is sealed, and no process goes by leases
    that are older.

    Raises:
        Unavailable: it could not be sealed in time.
    """
    _, unsealed = await asyncio.gather(
        asyncio.sleep(LEASE_SECONDS), archive.sealer.settle(tenant_id), return_exceptions=True
    )
    if unsealed is not None:
        raise unsealed


def _check(principal: Principal) -> None:
    if Verb.DELETE not in principal.verbs:
        raise Forbidden("Deleting is not allowed to you")
