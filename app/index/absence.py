"""Why something is not found: it never was there, it was removed (PS3.18 §8.5), or it is lost.

Only a caller who may see all of the tenant learns of the latter two; for others it never was there.
"""

from app.dicom.uids import Ref
from app.errors import ArchiveError, Damaged, Gone, NotFound
from app.index.access import missing, reference_arguments
from app.index.engine import Index
from app.rights import Scope

REJECTED = "rejected "
"""How the reason of a removed Instance begins that may not be stored again; its code follows."""

REMOVED = """
SELECT reason FROM removed_instance WHERE tenant_id = $1 AND study_instance_uid = $2
"""
LOST = """
SELECT true FROM finding WHERE tenant_id = $1 AND study_instance_uid = $2 AND state = 'lost'
"""
"""A rebuild found it nowhere whole (`findings`), and nobody sent it again."""
SERIES_OF_KEY = "split_part(object_key, '/', 6)"
_LEVELS = ("", " AND series_instance_uid = $3", " AND sop_instance_uid = $4")


async def absence(index: Index, scope: Scope, ref: Ref) -> ArchiveError:
    """Return the error for what is not there.

    `Gone` if it was, and `Damaged` if it should be, for a caller whose scope is whole.

    Raises:
        Unavailable: the index does not answer.
    """
    error: NotFound = missing(ref)
    if not scope.is_whole:
        return error
    tenant_id, _, *uids = reference_arguments(scope, ref)
    arguments = (tenant_id, *uids)
    levels = "".join(_LEVELS[: len(uids)])
    newest = f"{REMOVED}{levels} ORDER BY removed_at DESC LIMIT 1"
    row = await index.fetchrow(newest, *arguments)
    if row is None:
        of = levels.replace("series_instance_uid", SERIES_OF_KEY)
        if await index.fetchrow(f"{LOST}{of} LIMIT 1", *arguments):
            return Damaged(f"{error.level} {error.uid} is lost; send it again, or delete it")
        return error
    if row["reason"].startswith(REJECTED):
        return Gone(error.level, error.uid, "was rejected; DELETE …/reject brings it back")
    return Gone(error.level, error.uid)
