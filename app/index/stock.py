"""What a retrieve has to know of a Study, Series or Instance before all else: one query."""

from typing import NamedTuple

from app.dicom.uids import InstanceRef, Ref, SeriesRef, StudyRef
from app.index.absence import absence
from app.index.access import INSTANCE, SERIES, STUDY, reference_arguments
from app.index.engine import Index
from app.index.places import PLACE, InstancePlace, make_place
from app.rights import Scope

_SYNTAXES = "ARRAY(SELECT DISTINCT transfer_syntax_uid FROM instance WHERE {key})"
TAKE_STOCK = {
    StudyRef: f"SELECT study.id, study.version, {_SYNTAXES.format(key='study_key = study.id')}"
    f" {STUDY}",
    SeriesRef: f"SELECT series.id, series.version, {_SYNTAXES.format(key='series_key = series.id')}"
    f" {SERIES}",
    InstanceRef: f"SELECT instance.id, derived_version, {PLACE} {INSTANCE}",
}


class Stock(NamedTuple):
    """The version (as of `locate_version`), the Transfer Syntaxes, and where an Instance lies."""

    version: str
    transfer_syntax_uids: frozenset[str]
    place: InstancePlace | None


async def take_stock(index: Index, scope: Scope, ref: Ref) -> Stock:
    """Return what is stored under a reference; `place` is None but for an Instance.

    Raises:
        NotFound: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(TAKE_STOCK[type(ref)], *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    key, version, *rest = row
    if isinstance(ref, InstanceRef):
        place = make_place(rest)
        return Stock(f"{key}.{version}", frozenset([place.transfer_syntax_uid]), place)
    return Stock(f"{key}.{version}", frozenset(rest[0]), None)
