"""Why something is not found: it never was there, or it was removed (PS3.18 §8.5).

Only a caller whose scope covers the Study learns of the latter; for others it never was there.
"""

from app.dicom.uids import Ref
from app.errors import ArchiveError, Gone, NotFound
from app.index.access import missing, reference_arguments
from app.index.engine import Index
from app.rights import Scope

REJECTED = "rejected "
"""How the reason of a removed Instance begins that may not be stored again; its code follows."""

REMOVED = """
SELECT reason FROM removed_instance WHERE tenant_id = $1
    AND ($2::text[] IS NULL OR study_instance_uid = ANY($2)) AND study_instance_uid = $3
"""
_LEVELS = ("", " AND series_instance_uid = $4", " AND sop_instance_uid = $5")


async def absence(index: Index, scope: Scope, ref: Ref) -> ArchiveError:
    """Return the error for what is not there: `Gone` if it was, and this caller could see it.

    Raises:
        Unavailable: the index does not answer.
    """
    arguments = reference_arguments(scope, ref)
    levels = "".join(_LEVELS[: len(arguments) - 2])
    newest = f"{REMOVED}{levels} ORDER BY removed_at DESC LIMIT 1"
    row = await index.fetchrow(newest, *arguments)
    error: NotFound = missing(ref)
    if row is None:
        return error
    if row["reason"].startswith(REJECTED):
        return Gone(error.level, error.uid, "was rejected; DELETE …/reject brings it back")
    return Gone(error.level, error.uid)
