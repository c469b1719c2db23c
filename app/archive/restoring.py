"""What is deleted, until when it can be brought back, and bringing it back."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.archive.context import Archive
from app.dicom.non_patient import CATEGORIES
from app.dicom.uids import Ref, check_uid
from app.errors import Forbidden
from app.index import removed, restoring
from app.index.removed import DeletedNonPatient, DeletedStudy
from app.index.restoring import Restored
from app.rights import Principal, Verb


async def restore_deleted(archive: Archive, principal: Principal, ref: Ref) -> Restored:
    """Bring back what was deleted of a Study, a Series or an Instance: all of it, or nothing.

    Of what was deleted more than once the last one comes back; what is here with the same content
    is counted alone.

    Raises:
        Conflict: an Instance was stored again with other content, or was rejected.
        Forbidden: `principal` may not delete.
        NotFound: nothing of it is deleted, or it is purged, or `principal` may not see its Study.
        Unavailable: the index does not answer.
    """
    _check(principal)
    scope = principal.scope
    restored = await restoring.restore_deleted(archive.index, scope, ref, principal.name)
    await archive.sealer.settle(scope.tenant_id)
    return restored


async def restore_deleted_non_patient(
    archive: Archive, principal: Principal, category: str, uid: str
) -> Restored:
    """Bring back a deleted Instance of no Patient.

    Raises:
        Conflict: it was stored again with other content.
        Forbidden: `principal` may not delete, or may not see all.
        InvalidUID: `uid` is none.
        NotFound: there is no such deleted Instance in the category.
        Unavailable: the index does not answer.
    """
    _check(principal)
    if not principal.scope.is_whole:
        raise Forbidden("What is in no Study is not for you")
    classes, tenant = CATEGORIES[category].sop_classes, principal.scope.tenant_id
    restored = await restoring.restore_non_patient(
        archive.index, tenant, principal.name, category, classes, check_uid(uid)
    )
    await archive.sealer.settle(tenant)
    return restored


async def list_deleted(
    archive: Archive, principal: Principal, after: str, most: int
) -> Sequence[DeletedStudy]:
    """Return up to `most` Studies of which something is deleted, in order of UID `after` one.

    Raises:
        Forbidden: `principal` may not delete.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await removed.list_deleted_studies(archive.index, principal.scope, after, most)


async def list_deleted_non_patient(
    archive: Archive, principal: Principal, after: int, most: int
) -> Sequence[DeletedNonPatient]:
    """Return up to `most` deleted Instances of no Patient whose numbers come `after` one.

    Raises:
        Forbidden: `principal` may not delete.
        Unavailable: the index does not answer.
    """
    _check(principal)
    return await removed.list_deleted_non_patient(archive.index, principal.scope, after, most)


def purged_at(archive: Archive, deleted_at: datetime, *, held: bool = False) -> datetime | None:
    """Return from when on what was deleted then may be purged; None: not by itself."""
    if held or archive.deleted_days is None:
        return None
    return deleted_at + timedelta(days=archive.deleted_days)


def _check(principal: Principal) -> None:
    if Verb.DELETE not in principal.verbs:
        raise Forbidden("Deleting and bringing back are not allowed to you")
