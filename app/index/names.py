"""The whole name of an Instance of which only the SOP Instance UID is known."""

from app.dicom.uids import InstanceRef
from app.errors import NotFound
from app.index.absence import absence
from app.index.access import VISIBLE, visible_arguments
from app.index.engine import Index
from app.rights import Scope

NAME = f"""
SELECT study_instance_uid, series_instance_uid, sop_instance_uid
FROM instance JOIN series ON series.id = series_key JOIN study ON study.id = series.study_key
WHERE {VISIBLE} AND instance.tenant_id = $1 AND sop_instance_uid = $3
"""  # noqa: S608 - only constants of ours
REMOVED = """
SELECT study_instance_uid, series_instance_uid, sop_instance_uid FROM removed_instance
WHERE tenant_id = $1 AND sop_instance_uid = $2 ORDER BY removed_at DESC LIMIT 1
"""


async def name_instance(index: Index, scope: Scope, sop_instance_uid: str) -> InstanceRef:
    """Return the reference of an Instance.

    Raises:
        NotFound: there is no such Instance, or none that the scope covers.
        Gone: there was one, and the scope is whole.
        Unavailable: the index does not answer.
    """
    if row := await index.fetchrow(NAME, *visible_arguments(scope), sop_instance_uid):
        return InstanceRef(*row)
    if scope.is_whole and (row := await index.fetchrow(REMOVED, scope.tenant_id, sop_instance_uid)):
        raise await absence(index, scope, InstanceRef(*row))
    raise NotFound("Instance", sop_instance_uid)
