"""Storage commitment: the archive says which Instances are safe here, so that others may go.

It says so from what it has just seen: each object is read again from the first store and from every
copy that a Store waits for, and compared with the digest of its acceptance; the row is there when
the result is made; and what accepted the Instance is sealed (`committing`).
"""

import asyncio
from collections.abc import Sequence

from app.archive.committing import work_on
from app.archive.context import Archive
from app.dicom.commitment import Reference
from app.errors import Forbidden
from app.index.commitments import Asked, add_commitment, find_result
from app.rights import Principal, Verb


async def request_commitment(
    archive: Archive, principal: Principal, transaction_uid: str, references: Sequence[Reference]
) -> bytes | None:
    """Ask for commitment; return the result as DICOM JSON, None if it takes longer.

    Whatever comes of it, `check_commitment` has it then: the work goes on beside requests, in
    another process if this one dies. An Instance that `principal` may not see is not there.

    Raises:
        Forbidden: `principal` may not store.
        Conflict: the Transaction UID is in use.
        Unavailable: too many are being worked on, or the index does not answer.
    """
    _check(principal)
    ours = archive.commitments
    who = principal.scope, principal.signature
    asked = Asked(*who, transaction_uid, references, principal.calling_ae)
    number = await add_commitment(archive.index, asked, ours.holder, ours.kept_seconds)
    task = ours.begin(number, lambda: work_on(archive, number))
    done, _ = await asyncio.wait([task], timeout=ours.patience)
    if not done:
        return None
    return await check_commitment(archive, principal, transaction_uid)


async def check_commitment(
    archive: Archive, principal: Principal, transaction_uid: str
) -> bytes | None:
    """Return the result of an earlier request as DICOM JSON, None while it is worked on.

    Raises:
        Forbidden: `principal` may not store.
        NotFound: there is no such request, it was of one who may see more, or it is forgotten.
        Unavailable: the index does not answer.
    """
    _check(principal)
    kept_seconds = archive.commitments.kept_seconds
    return await find_result(archive.index, principal.scope, transaction_uid, kept_seconds)


def _check(principal: Principal) -> None:
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Storage commitment is for those who may store")
