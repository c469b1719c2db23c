"""Where the frames and Bulk Data of an Instance lie: one query, with the right to see the Study.

The frame table of an encapsulated object may hold millions of frames. Only the slices that were
asked for leave the database, which can read them without the rest (STORAGE EXTERNAL).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from struct import unpack_from

import orjson

from app.dicom.native_frames import bit_range
from app.dicom.scanned import BulkPlace, FrameKind, Frames
from app.dicom.uids import InstanceRef, SeriesRef
from app.errors import NotFound
from app.index.absence import absence
from app.index.access import INSTANCE, VISIBLE, reference_arguments
from app.index.engine import Index
from app.index.places import PLACE, InstancePlace, make_place
from app.rights import Scope

ENTRY = 16
"""Bytes of a frame table's entry."""
MOST_ENTRIES = 2**26
"""No frame table is longer: a value of PostgreSQL holds 1 GB."""
NEAR = 128
"""Entries between two wanted ones that are read along: 2 KB, what the database reads anyway."""
FRAGMENTED = 1 << 63

LOCATE_FRAMES = f"""
SELECT {PLACE}, frame_offset, frame_length, CASE WHEN frame_kind = {FrameKind.TABLE:d} THEN ARRAY(
    SELECT substring(frame_table FROM first FOR length)
    FROM unnest($6::integer[], $7::integer[]) AS slice (first, length)) END AS slices
{INSTANCE}
"""  # noqa: S608 - our own text, as below

LIST_NATIVE = f"""
SELECT {PLACE}, frame_offset, frame_length
FROM study JOIN series ON series.study_key = study.id AND series.tenant_id = study.tenant_id
    JOIN instance ON instance.series_key = series.id
WHERE {VISIBLE} AND study.study_instance_uid = $3 AND series.series_instance_uid = $4
    AND frame_kind IN ({FrameKind.STRIDE:d}, {FrameKind.BITS:d})
LIMIT $5
"""  # noqa: S608

LOAD_FRAMES = f"""
SELECT frame_kind, frame_count, frame_offset, frame_length, frame_table {INSTANCE}
"""

LOCATE_BULK_VALUE = f"SELECT {PLACE}, bulk_values {INSTANCE}"


@dataclass(frozen=True, slots=True)
class FramePlace:
    """Where one frame lies, in bytes from the Instance's beginning (as in `dicom.scanned`).

    `fragmented`: item headers lie within it. `skip` and `bits` are of one-bit frames: how many
    bits of the first byte belong to the frame before, and how many the frame has.
    """

    number: int
    offset: int
    length: int
    fragmented: bool = False
    skip: int = 0
    bits: int = 0


@dataclass(frozen=True, slots=True)
class FramePlaces:
    """An Instance and the frames of it that were asked for, in the order they were asked for."""

    instance: InstancePlace
    frames: tuple[FramePlace, ...]


async def locate_frames(
    index: Index, scope: Scope, ref: InstanceRef, numbers: Sequence[int]
) -> FramePlaces:
    """Return where the frames `numbers` (1-based) of an Instance lie.

    Raises:
        NotFound: there is no such Instance under this Study and Series, or none that the scope
            covers, or it lacks one of the frames.
        Unavailable: the index does not answer.
    """
    runs = _runs(numbers)
    firsts = [(first - 1) * ENTRY + 1 for first, _ in runs]
    lengths = [(last - first + 1) * ENTRY for first, last in runs]
    row = await index.fetchrow(LOCATE_FRAMES, *reference_arguments(scope, ref), firsts, lengths)
    if row is None:
        raise await absence(index, scope, ref)
    instance = make_place(row)
    if instance.frame_kind is FrameKind.TABLE:
        _check_numbers(instance, numbers)
        table = _entries(runs, row["slices"])
        return FramePlaces(instance, tuple(_from_table(n, *table[n]) for n in numbers))
    return NativeFrames(instance, row["frame_offset"], row["frame_length"]).places(numbers)


@dataclass(frozen=True, slots=True)
class NativeFrames:
    """Where all frames of an Instance lie that has them one after the other."""

    instance: InstancePlace
    offset: int
    length: int

    def places(self, numbers: Sequence[int]) -> FramePlaces:
        """Return where the frames `numbers` (1-based) lie.

        Raises:
            NotFound: the Instance lacks one of them.
        """
        _check_numbers(self.instance, numbers)
        place = _one_bit if self.instance.frame_kind is FrameKind.BITS else _stride
        frames = tuple(place(number, self.offset, self.length) for number in numbers)
        return FramePlaces(self.instance, frames)


async def list_native_frames(
    index: Index, scope: Scope, ref: SeriesRef, most: int
) -> dict[str, NativeFrames]:
    """Return, by SOP Instance UID, the native frames of up to `most` Instances of a Series.

    A Series that is not there, or not for this scope, has none.

    Raises:
        Unavailable: the index does not answer.
    """
    rows = await index.fetch(LIST_NATIVE, *reference_arguments(scope, ref), most)
    found = (
        NativeFrames(make_place(row), row["frame_offset"], row["frame_length"]) for row in rows
    )
    return {native.instance.ref.instance: native for native in found}


def _check_numbers(instance: InstancePlace, numbers: Sequence[int]) -> None:
    for number in numbers:
        if not 1 <= number <= instance.frame_count:
            raise no_frame(number, instance)


def no_frame(number: int, instance: InstancePlace) -> NotFound:
    """Return the error for a frame that an Instance does not have."""
    shown = number if number <= MOST_ENTRIES else "of that number"
    why = "" if instance.frame_count else ", which has no pixels, or describes them as no frame,"
    return NotFound("Frame", f"{shown} of Instance {instance.ref.instance}{why}")


async def load_frames(index: Index, scope: Scope, ref: InstanceRef) -> Frames:
    """Return the whole frame index of an Instance; its table may be many megabytes.

    Raises:
        NotFound: there is no such Instance, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOAD_FRAMES, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    kind, *rest = row.values()
    return Frames(FrameKind(kind), *rest)


async def locate_bulk_value(
    index: Index, scope: Scope, ref: InstanceRef, path: str
) -> tuple[InstancePlace, BulkPlace]:
    """Return where the Bulk Data at `path` (as in the Metadata's BulkDataURI) lies.

    Raises:
        NotFound: there is no such Instance or value, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOCATE_BULK_VALUE, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    found = unpack_bulk_values(row["bulk_values"]).get(path)
    if found is None:
        raise no_bulk_data(path, ref.instance)
    return make_place(row), found


async def list_bulk_values(index: Index, scope: Scope, ref: InstanceRef) -> dict[str, BulkPlace]:
    """Return where all Bulk Data of an Instance lies, by path.

    Raises:
        NotFound: there is no such Instance, or none that the scope covers.
        Unavailable: the index does not answer.
    """
    row = await index.fetchrow(LOCATE_BULK_VALUE, *reference_arguments(scope, ref))
    if row is None:
        raise await absence(index, scope, ref)
    return unpack_bulk_values(row["bulk_values"])


def pack_bulk_values(places: Mapping[str, BulkPlace]) -> str:
    """Return what the column `bulk_values` holds: JSON, path -> [offset, length, VR]; or ''."""
    if not places:
        return ""
    listed = {path: (place.offset, place.length, place.vr) for path, place in places.items()}
    return orjson.dumps(listed).decode()


def no_bulk_data(path: str, instance: str) -> NotFound:
    """Return the error for a value that is not there; what is no path of tags is not repeated."""
    said = f"{path} of" if re.fullmatch("[0-9A-Fa-f/]{1,200}", path) else "of"
    return NotFound("Bulk Data", f"{said} Instance {instance}")


def unpack_bulk_values(packed: str) -> dict[str, BulkPlace]:
    """Return what `pack_bulk_values` was given."""
    return {path: BulkPlace(*place) for path, place in orjson.loads(packed or "{}").items()}


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the slices of a frame table to read, first and last entry, in ascending order."""
    runs: list[tuple[int, int]] = []
    for number in sorted(n for n in set(numbers) if 1 <= n <= MOST_ENTRIES):
        if runs and number - runs[-1][1] <= NEAR:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _entries(
    runs: Sequence[tuple[int, int]], slices: Sequence[bytes]
) -> dict[int, tuple[int, int]]:
    """Return offset and length of the frames in the slices, the flag still in the length."""
    return {
        first + position // ENTRY: unpack_from("<QQ", data, position)
        for (first, _), data in zip(runs, slices, strict=True)
        for position in range(0, len(data), ENTRY)
    }


def _from_table(number: int, offset: int, length: int) -> FramePlace:
    return FramePlace(number, offset, length & ~FRAGMENTED, bool(length & FRAGMENTED))


def _stride(number: int, offset: int, length: int) -> FramePlace:
    return FramePlace(number, offset + (number - 1) * length, length)


def _one_bit(number: int, offset: int, bits: int) -> FramePlace:
    first, length, skip = bit_range(number, bits)
    return FramePlace(number, offset + first, length, skip=skip, bits=bits)
