"""The keys of the seal, for those who verify it, and their change."""

from app.archive.context import Archive
from app.archive.seal_keys import load_key, read_secret
from app.errors import Forbidden
from app.index.seal_keys import NumberedKey, change_key, list_keys
from app.rights import Principal, Verb


async def read_keys(archive: Archive, principal: Principal) -> list[NumberedKey]:
    """Return the public keys that seal or have sealed the log, the newest last.

    Raises:
        Forbidden: `principal` may not view.
        Unavailable: index or store do not answer.
    """
    if Verb.VIEW not in principal.verbs:
        raise Forbidden("Viewing is not allowed to you")
    tenant_id = principal.scope.tenant_id
    if not await list_keys(archive.index, tenant_id):
        await archive.sealer.key(tenant_id)
    return await list_keys(archive.index, tenant_id)


async def rotate_key(archive: Archive, principal: Principal) -> tuple[bytes, bytes]:
    """Let a new key seal from here on; return the public keys of the old one and the new one.

    Raises:
        Conflict: somebody else does it at the same time.
        Forbidden: `principal` may not administer.
        Unavailable: index or store do not answer.
    """
    if not principal.administers_all:
        raise Forbidden("Changing the key of the seal is for administrators")
    index, objects, tenant_id = archive.index, archive.objects, principal.scope.tenant_id
    known = await list_keys(index, tenant_id)
    old = await load_key(index, objects, tenant_id, known[-1].number if known else 1)
    new = await read_secret(objects, tenant_id, old.number + 1)
    await change_key(index, tenant_id, principal.name, old.public, new.public)
    return old.public, new.public
