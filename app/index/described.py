"""One Instance with its Metadata and bulk values in one query, and which Instance stands for more.

A picture of a Series or Study is that of one image in its middle, or, if that one is damaged, of
another; what only accompanies images
(segmentations, presentation states, doses) stands for a Study only if there is nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from app.dicom.scanned import BulkPlace, FrameKind
from app.dicom.transfer_syntaxes import ROWS
from app.dicom.uids import InstanceRef, SeriesRef, StudyRef
from app.errors import ArchiveError, Gone, NotFound
from app.index.absence import absence
from app.index.access import INSTANCE, VISIBLE, reference_arguments
from app.index.engine import Index
from app.index.frames import NativeFrames, unpack_bulk_values
from app.index.packing import unpack_metadata
from app.index.places import PLACE, InstancePlace, locate_version, make_place
from app.rights import Scope

_VIDEOS = [row.uid for row in ROWS if row.video]
_ACCOMPANYING = ["SEG", "PR", "RTDOSE", "REG", "KO", "SR", "SMR", "OT"]

LOAD_DESCRIBED = f"""
SELECT {PLACE}, metadata, metadata_dictionary, bulk_values, frame_offset, frame_length {INSTANCE}
"""

_IMAGES = f"""
FROM study JOIN series ON series.study_key = study.id JOIN instance ON series_key = series.id
WHERE {VISIBLE} AND study.study_instance_uid = $3 AND frame_count > 0
    AND transfer_syntax_uid <> ALL($4::text[])
"""

REPRESENTATIVE_SERIES = f"""
SELECT series_instance_uid {_IMAGES}
GROUP BY series.id
ORDER BY modality = ANY($5::text[]), count(*) DESC, series_number, series_instance_uid LIMIT 3
"""

MIDDLE_IMAGES = f"""
WITH image AS (
    SELECT instance.id AS key, count(*) OVER () AS count,
        row_number() OVER (ORDER BY instance_number, sop_instance_uid) AS position
    {_IMAGES} AND series.series_instance_uid = $5)
SELECT {PLACE} FROM image JOIN instance ON instance.id = key
    JOIN series ON series.id = series_key JOIN study ON study.id = series.study_key
WHERE position IN (count / 2 + 1, count / 4 + 1, count * 3 / 4 + 1)
ORDER BY abs(position - (count / 2 + 1)), position
"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class StoredDescription:
    """Where an Instance lies, its Metadata as JSON, and where its bulk values lie, by path."""

    place: InstancePlace
    metadata: bytes
    bulk_values: Mapping[str, BulkPlace]
    native: NativeFrames | None = None
    """Where its frames lie, if they are native."""


async def load_described(index: Index, scope: Scope, ref: InstanceRef) -> StoredDescription:
    """Return an Instance's place, Metadata and bulk values.

    Raises:
        NotFound: there is no such Instance, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOAD_DESCRIBED, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    metadata = unpack_metadata(row["metadata_dictionary"], row["metadata"])
    place, native = make_place(row), None
    if place.frame_kind in {FrameKind.STRIDE, FrameKind.BITS}:
        native = NativeFrames(place, row["frame_offset"], row["frame_length"])
    return StoredDescription(place, metadata, unpack_bulk_values(row["bulk_values"]), native)


async def list_representatives(
    index: Index, scope: Scope, ref: StudyRef | SeriesRef
) -> list[InstancePlace]:
    """Return the images that may stand for a Series or Study, the best first: one at least.

    Of a Series that is the one in its middle, then those in the middle of its halves; of a Study,
    those of the Series with the most images, then those of the next ones.

    Raises:
        NotFound: there is no image, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    of_study = reference_arguments(scope, StudyRef(ref.study))
    if isinstance(ref, SeriesRef):
        names = [ref.series]
    else:
        series = await index.fetch(REPRESENTATIVE_SERIES, *of_study, _VIDEOS, _ACCOMPANYING)
        names = [str(row[0]) for row in series]
    found: list[InstancePlace] = []
    for name in names:
        rows = await index.fetch(MIDDLE_IMAGES, *of_study, _VIDEOS, name)
        found += map(make_place, rows)
    if not found:
        raise await _no_image(index, scope, ref)
    return found


async def _no_image(index: Index, scope: Scope, ref: StudyRef | SeriesRef) -> ArchiveError:
    """Return the error where no image was found: there is no such thing, or none in it."""
    try:
        await locate_version(index, scope, ref)
    except (NotFound, Gone) as error:
        return error
    uid = ref.series if isinstance(ref, SeriesRef) else ref.study
    return NotFound(f"An image of {type(ref).__name__.removesuffix('Ref')}", uid)
