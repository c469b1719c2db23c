"""One Instance with its Metadata and bulk values in one query, and which Instance stands for more.

A picture of a Series or Study is that of one image in its middle; what only accompanies images
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
ORDER BY modality = ANY($5::text[]), count(*) DESC, series_number, series_instance_uid LIMIT 1
"""

MIDDLE_IMAGE = f"""
WITH image AS (
    SELECT sop_instance_uid, count(*) OVER () AS count,
        row_number() OVER (ORDER BY instance_number, sop_instance_uid) AS place
    {_IMAGES} AND series.series_instance_uid = $5)
SELECT sop_instance_uid FROM image WHERE place = count / 2 + 1
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


async def find_representative(index: Index, scope: Scope, ref: StudyRef | SeriesRef) -> InstanceRef:
    """Return the image that stands for a Series, the one in its middle, or for a Study.

    Of a Study, the Series with the most images is taken.

    Raises:
        NotFound: there is no image, or nothing that the scope covers.
        Unavailable: the index does not answer.
    """
    of_study = reference_arguments(scope, StudyRef(ref.study))
    series = ref.series if isinstance(ref, SeriesRef) else None
    if series is None:
        row = await index.fetchrow(REPRESENTATIVE_SERIES, *of_study, _VIDEOS, _ACCOMPANYING)
        if row is None:
            raise await _no_image(index, scope, ref)
        series = str(row[0])
    row = await index.fetchrow(MIDDLE_IMAGE, *of_study, _VIDEOS, series)
    if row is None:
        raise await _no_image(index, scope, SeriesRef(ref.study, series))
    return InstanceRef(ref.study, series, row[0])


async def _no_image(index: Index, scope: Scope, ref: StudyRef | SeriesRef) -> ArchiveError:
    """Return the error where no image was found: there is no such thing, or none in it."""
    try:
        await locate_version(index, scope, ref)
    except (NotFound, Gone) as error:
        return error
    uid = ref.series if isinstance(ref, SeriesRef) else ref.study
    return NotFound(f"An image of {type(ref).__name__.removesuffix('Ref')}", uid)
