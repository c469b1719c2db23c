"""What a bridge has to tell of storage commitments, and that it did."""

from collections.abc import Sequence

from app.archive.context import Archive
from app.dicom.ae_titles import check_ae_title
from app.dicom.uids import check_uid
from app.errors import Forbidden
from app.index import commitment_reports
from app.index.commitment_reports import Unreported
from app.rights import Principal, Verb


async def list_unreported(
    archive: Archive, principal: Principal, ae_title: str | None, after: int, most: int
) -> Sequence[Unreported]:
    """Return up to `most` requests after a number whose result an AE was not told, in their order.

    Raises:
        Forbidden: `principal` may not store.
        InvalidRequest: that is no AE Title.
        Unavailable: the index does not answer.
    """
    _check(principal)
    title = None if ae_title is None else check_ae_title(ae_title)
    return await commitment_reports.list_unreported(
        archive.index, principal.scope, title, after, most
    )


async def note_reported(archive: Archive, principal: Principal, transaction_uid: str) -> None:
    """Note that the AE was told the result.

    Raises:
        Forbidden: `principal` may not store.
        InvalidUID: that is none.
        NotFound: there is no such request, or it has no result yet.
        Unavailable: the index does not answer.
    """
    _check(principal)
    uid = check_uid(transaction_uid)
    await commitment_reports.note_reported(archive.index, principal.scope, uid)


def _check(principal: Principal) -> None:
    if Verb.STORE not in principal.verbs:
        raise Forbidden("Storage commitment is for those who may store")
