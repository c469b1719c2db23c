"""Where frames and Bulk Data lie, asked of a real PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from struct import pack

import orjson
import pytest

from app.dicom.scanned import BulkPlace, FrameKind, Frames
from app.errors import NotFound
from app.index.access import reference_arguments
from app.index.engine import Index
from app.index.frames import (
    LOCATE_FRAMES,
    FramePlace,
    load_frames,
    locate_bulk_value,
    locate_frames,
    pack_bulk_values,
    unpack_bulk_values,
)
from app.index.instances import NewInstance, add_each_instance
from app.rights import Scope
from tests.factories import new_uid
from tests.index_factories import make_new_instance

EVERYTHING = Scope()


async def stored(index: Index, frames: Frames) -> NewInstance:
    one = make_new_instance()
    one = replace(one, scanned=replace(one.scanned, frames=frames))
    assert await add_each_instance(index, 1, "tester", [one]) == [None]
    return one


def table(count: int, fragmented: Sequence[int] = ()) -> bytes:
    """Frame n lies at 1000 n and has n bytes."""
    return b"".join(
        pack("<QQ", 1000 * n, n | (1 << 63 if n in fragmented else 0)) for n in range(1, count + 1)
    )


async def test_native_frames_follow_each_other(index: Index) -> None:
    one = await stored(index, Frames(FrameKind.STRIDE, count=5, offset=1000, length=512))
    found = await locate_frames(index, EVERYTHING, one.ref, [3, 1, 3])
    assert found.frames == (
        FramePlace(3, 2024, 512),
        FramePlace(1, 1000, 512),
        FramePlace(3, 2024, 512),
    )
    place = found.instance
    assert place.ref == one.ref
    assert (place.object_key, place.base_offset, place.size) == (one.object_key, 0, one.size)
    assert (place.sha256, place.dataset_offset) == (one.sha256, one.scanned.dataset_offset)
    assert place.transfer_syntax_uid == one.scanned.transfer_syntax_uid
    assert (place.frame_kind, place.frame_count) == (FrameKind.STRIDE, 5)


async def test_encapsulated_frames_come_from_the_table(index: Index) -> None:
    frames = Frames(FrameKind.TABLE, count=5, table=table(5, fragmented=[4]))
    one = await stored(index, frames)
    found = await locate_frames(index, EVERYTHING, one.ref, [5, 4, 1])
    assert found.frames == (
        FramePlace(5, 5000, 5),
        FramePlace(4, 4000, 4, fragmented=True),
        FramePlace(1, 1000, 1),
    )
    assert await load_frames(index, EVERYTHING, one.ref) == frames


async def test_any_frames_of_a_long_table_are_found(index: Index) -> None:
    one = await stored(index, Frames(FrameKind.TABLE, count=100_000, table=table(100_000)))
    few = [[1], [100_000], [1, 100_000], [99_999, 7, 50_000, 8, 300]]
    for numbers in (*few, list(range(1, 2000))):
        found = await locate_frames(index, EVERYTHING, one.ref, numbers)
        assert found.frames == tuple(FramePlace(n, 1000 * n, n) for n in numbers)


async def test_a_slice_of_a_long_table_is_all_that_is_read(index: Index) -> None:
    one = await stored(index, Frames(FrameKind.TABLE, count=1_000_000, table=table(1_000_000)))
    names = reference_arguments(EVERYTHING, one.ref)
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {LOCATE_FRAMES}"
    (row,) = await index.fetch(explain, *names, [8_000_001], [16])
    plan = orjson.loads(row[0])[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 40  # the table has 2,000


async def test_one_bit_frames_lie_between_bytes(index: Index) -> None:
    one = await stored(index, Frames(FrameKind.BITS, count=3, offset=1000, length=15))
    found = await locate_frames(index, EVERYTHING, one.ref, [1, 2, 3])
    assert found.frames == (
        FramePlace(1, 1000, 2, skip=0, bits=15),
        FramePlace(2, 1001, 3, skip=7, bits=15),
        FramePlace(3, 1003, 3, skip=6, bits=15),
    )


@pytest.mark.parametrize("kind", [FrameKind.STRIDE, FrameKind.TABLE, FrameKind.BITS])
async def test_a_frame_beyond_the_last_is_not_found(index: Index, kind: FrameKind) -> None:
    one = await stored(index, Frames(kind, count=5, length=8, table=table(5)))
    for number in (0, -1, 6, 2**31, 2**63):
        shown = number if number < 2**31 else "of that number"
        words = f"Frame {shown} of Instance {one.ref.instance} not found"
        with pytest.raises(NotFound, match=words):
            await locate_frames(index, EVERYTHING, one.ref, [1, number])


async def test_an_instance_without_pixels_has_no_frames(index: Index) -> None:
    one = await stored(index, Frames())
    with pytest.raises(NotFound):
        await locate_frames(index, EVERYTHING, one.ref, [1])


@pytest.mark.parametrize("wrong", ["study", "series", "instance"])
async def test_the_wrong_hierarchy_is_not_found(index: Index, wrong: str) -> None:  # W-17
    one = await stored(index, Frames(FrameKind.STRIDE, count=1, length=8))
    other = await stored(index, Frames(FrameKind.STRIDE, count=1, length=8))
    ref = replace(one.ref, **{wrong: new_uid()})
    mixed = replace(one.ref, **{wrong: getattr(other.ref, wrong)})
    for each in {ref, mixed} - {other.ref}:
        for ask in (
            locate_frames(index, EVERYTHING, each, [1]),
            load_frames(index, EVERYTHING, each),
        ):
            with pytest.raises(NotFound, match=each.instance):
                await ask
        with pytest.raises(NotFound):
            await locate_bulk_value(index, EVERYTHING, each, "7FE00010")


async def test_only_the_studies_of_the_scope_are_seen(index: Index) -> None:
    one = await stored(index, Frames(FrameKind.STRIDE, count=1, length=8))
    await locate_frames(index, Scope(studies=frozenset({one.ref.study})), one.ref, [1])
    for scope in (
        Scope(studies=frozenset()),
        Scope(studies=frozenset({"1.2"})),
        Scope(tenant_id=2),
    ):
        with pytest.raises(NotFound):
            await locate_frames(index, scope, one.ref, [1])


async def test_bulk_data_is_found_by_its_path(index: Index) -> None:
    one = make_new_instance()
    values = {"7FE00010": BulkPlace(1400, 512, "OW"), "54000100/1/54001010": BulkPlace(9, 7, "OB")}
    one = replace(one, scanned=replace(one.scanned, bulk_values=values))
    await add_each_instance(index, 1, "tester", [one])
    for path, value in values.items():
        place, found = await locate_bulk_value(index, EVERYTHING, one.ref, path)
        assert found == value
        assert place.object_key == one.object_key
    with pytest.raises(NotFound, match=r"Bulk Data 00101010 of Instance"):
        await locate_bulk_value(index, EVERYTHING, one.ref, "00101010")


def test_bulk_values_are_packed_and_unpacked() -> None:
    values = {"7FE00010": BulkPlace(2**40, 512, "OW")}
    assert unpack_bulk_values(pack_bulk_values(values)) == values
    assert pack_bulk_values({}) == ""
    assert unpack_bulk_values("") == {}
