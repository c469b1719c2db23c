"""An Instance that comes again mends the one that is here, if that has lost bytes.

"Stored" means that the bytes are safe, so it is not said of an Instance whose object is missing or
damaged: who hears it may delete the last good copy. The same bytes take the place of lost ones.
"""

import logging

from app.archive.context import Archive
from app.archive.digests import read_digest
from app.errors import NotFound, Unavailable
from app.index.instances import NewInstance
from app.index.present import Present, replace_object
from app.rights import Principal

_log = logging.getLogger(__name__)


async def is_whole(archive: Archive, present: Present) -> bool:
    """Say whether the object of an Instance has the bytes that were stored, by reading them.

    Raises:
        Unavailable: the object store does not answer.
    """
    where = (present.object_key, present.base_offset, present.size)
    try:
        return await read_digest(archive.objects, *where) == present.sha256
    except NotFound:
        return False
    except Unavailable:
        await archive.objects.check()  # one that does not answer at all has lost nothing
        return False


async def mend(archive: Archive, principal: Principal, present: Present, new: NewInstance) -> bool:
    """Let the object that was put just now take the place of a lost one; say whether it did.

    Raises:
        Unavailable: the index does not answer, or the Instance was changed meanwhile.
    """
    if new.sha256 != present.sha256:
        return False
    tenant, name = principal.scope.tenant_id, principal.name
    await replace_object(archive.index, tenant, name, present, new.object_key)
    _log.warning("the bytes of Instance %s were lost, and came again", present.ref.instance)
    return True
