"""Which Transfer Syntaxes a Study, Series or Instance is stored in."""

from app.dicom.uids import InstanceRef, Ref, SeriesRef, StudyRef
from app.index.absence import absence
from app.index.access import INSTANCE, VISIBLE, reference_arguments
from app.index.engine import Index
from app.rights import Scope

_UPPER = f"""
FROM study JOIN instance ON instance.study_key = study.id JOIN series ON series.id = series_key
WHERE {VISIBLE} AND study.study_instance_uid = $3
"""
LIST_SYNTAXES = {
    StudyRef: f"SELECT DISTINCT transfer_syntax_uid {_UPPER}",
    SeriesRef: f"SELECT DISTINCT transfer_syntax_uid {_UPPER} AND series.series_instance_uid = $4",
    InstanceRef: f"SELECT transfer_syntax_uid {INSTANCE}",
}


async def list_syntaxes(index: Index, scope: Scope, ref: Ref) -> frozenset[str]:
    """Return the UIDs of the Transfer Syntaxes.

    Raises:
        NotFound: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LIST_SYNTAXES[type(ref)], *reference_arguments(scope, ref))
    if not rows:
        raise await absence(index, scope, ref)
    return frozenset(row[0] for row in rows)
