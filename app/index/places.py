"""Where Instances lie, and their Metadata, for one Instance, a Series or a Study.

Series and Studies come in pages, in the order of a reader: Series Number, Instance Number, UID.
The order of a long Series is read once, as keys; its pages are then read by key, so that neither
side holds it whole and no page is sorted twice.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

from app.dicom.scanned import FrameKind
from app.dicom.uids import InstanceRef, Ref, SeriesRef, StudyRef
from app.index.absence import absence
from app.index.access import INSTANCE, SERIES, STUDY, VISIBLE, reference_arguments
from app.index.engine import Index
from app.rights import Scope

_Value = TypeVar("_Value")

PAGE = 500

PLACE = """
study_instance_uid, series_instance_uid, sop_instance_uid, object_key, base_offset, instance.size,
sha256, dataset_offset, transfer_syntax_uid, frame_kind, frame_count
"""

LOCATE_INSTANCE = f"SELECT {PLACE} {INSTANCE}"

LOCATE_PAGE = f"""
SELECT {PLACE}
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (key, position)
JOIN instance ON instance.id = key JOIN series ON series.id = series_key
JOIN study ON study.id = series.study_key
ORDER BY position
"""  # noqa: S608

LOAD_PAGE = """
SELECT sop_instance_uid, metadata
FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (key, position)
JOIN instance ON instance.id = key ORDER BY position
"""

LIST_SERIES = {
    StudyRef: f"""
SELECT series.id, study_instance_uid, series_instance_uid, metadata_dictionary
FROM study JOIN series ON series.study_key = study.id
WHERE {VISIBLE} AND study.study_instance_uid = $3
ORDER BY series_number, series_instance_uid
""",  # noqa: S608 - our own text
    SeriesRef: f"""
SELECT series.id, study_instance_uid, series_instance_uid, metadata_dictionary {SERIES}
""",
}

LIST_INSTANCES = """
SELECT id FROM instance WHERE series_key = $1 ORDER BY instance_number, sop_instance_uid
"""

LOAD_INSTANCE = f"""
SELECT study_instance_uid, series_instance_uid, sop_instance_uid, metadata, metadata_dictionary
{INSTANCE}
"""

VERSIONS = {
    StudyRef: f"SELECT study.id, study.version {STUDY}",
    SeriesRef: f"SELECT series.id, series.version {SERIES}",
    InstanceRef: f"SELECT instance.id, derived_version {INSTANCE}",
}


@dataclass(frozen=True, slots=True)
class InstancePlace:
    """Where an Instance lies: `size` bytes from `base_offset` of an object.

    `sha256` is that of these bytes. All other offsets count from `base_offset`.
    """

    ref: InstanceRef
    object_key: str
    base_offset: int
    size: int
    sha256: bytes
    dataset_offset: int
    transfer_syntax_uid: str
    frame_kind: FrameKind
    frame_count: int


@dataclass(frozen=True, slots=True)
class MetadataPage:
    """The packed Metadata of some Instances of one Series, as (SOP Instance UID, packed).

    `packing.metadata_unpacker(dictionary)` unpacks them.
    """

    ref: SeriesRef
    dictionary: bytes
    instances: tuple[tuple[str, bytes], ...]


async def locate_instance(index: Index, scope: Scope, ref: InstanceRef) -> InstancePlace:
    """Return where an Instance lies.

    Raises:
        NotFound: there is no such Instance under this Study and Series, or none that the scope
            covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOCATE_INSTANCE, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    return make_place(row)


async def locate_instances(index: Index, scope: Scope, ref: Ref) -> AsyncIterator[InstancePlace]:
    """Look a Study, Series or Instance up, then return an iterator over where its Instances lie.

    Instances that are added or removed meanwhile may or may not be among them.

    Raises:
        NotFound: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    if isinstance(ref, InstanceRef):
        return _one(await locate_instance(index, scope, ref))
    return _locate_pages(index, await _list_series(index, scope, ref))


async def locate_version(index: Index, scope: Scope, ref: Ref) -> str:
    """Return what changes whenever the Metadata of a Study, Series or Instance may have changed.

    Raises:
        NotFound: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(VERSIONS[type(ref)], *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    return f"{row[0]}.{row[1]}"


async def load_metadata(index: Index, scope: Scope, ref: Ref) -> AsyncIterator[MetadataPage]:
    """Look a Study, Series or Instance up, then return an iterator over its packed Metadata.

    Raises:
        NotFound: there is nothing by that name, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    if isinstance(ref, InstanceRef):
        row = await index.fetchrow(LOAD_INSTANCE, *reference_arguments(scope, ref))
        if row is None:
            raise await absence(index, scope, ref)
        return _one(_page(row, [row]))
    return _load_pages(index, await _list_series(index, scope, ref))


def make_place(row: Any) -> InstancePlace:
    """Return the place in a row of `PLACE`."""
    return InstancePlace(
        ref=InstanceRef(row[0], row[1], row[2]),
        object_key=row[3],
        base_offset=row[4],
        size=row[5],
        sha256=row[6],
        dataset_offset=row[7],
        transfer_syntax_uid=row[8],
        frame_kind=FrameKind(row[9]),
        frame_count=row[10],
    )


async def _list_series(index: Index, scope: Scope, ref: StudyRef | SeriesRef) -> list[Any]:
    rows = await index.fetch(LIST_SERIES[type(ref)], *reference_arguments(scope, ref))
    if not rows:
        raise await absence(index, scope, ref)
    return rows


async def _key_pages(index: Index, series_key: int) -> AsyncIterator[list[int]]:
    keys = [row[0] for row in await index.fetch(LIST_INSTANCES, series_key)]
    for start in range(0, len(keys), PAGE):
        yield keys[start : start + PAGE]


async def _locate_pages(index: Index, series: list[Any]) -> AsyncIterator[InstancePlace]:
    for one in series:
        async for keys in _key_pages(index, one["id"]):
            for row in await index.fetch(LOCATE_PAGE, keys):
                yield make_place(row)


async def _load_pages(index: Index, series: list[Any]) -> AsyncIterator[MetadataPage]:
    for one in series:
        async for keys in _key_pages(index, one["id"]):
            yield _page(one, await index.fetch(LOAD_PAGE, keys))


def _page(series: Any, rows: list[Any]) -> MetadataPage:
    return MetadataPage(
        SeriesRef(series["study_instance_uid"], series["series_instance_uid"]),
        series["metadata_dictionary"],
        tuple((row["sop_instance_uid"], row["metadata"]) for row in rows),
    )


async def _one(value: _Value) -> AsyncIterator[_Value]:
    yield value
