"""Lengths, tables and numbers that lie: refused where bytes are missing, else kept and served."""

import struct

import pytest

from tests.hostile.instances import FRAMES, PIXELS, SC, Raw, encapsulated, jpeg, uid
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.multipart import split_multipart
from tests.raw_elements import JPEG, SEQUENCE_END, UNDEFINED, explicit, item

CUT_SHORT = 0xC001
SEQUENCE = 0x00400275  # of a group between 0020 and 7FE0, as `Raw.more` is
INNER = explicit(0x00400007, "LO", b"inner ")
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
DECODED = 'multipart/related; type="application/octet-stream"'
JPEGS = 'multipart/related; type="image/jpeg"; transfer-syntax=*'


def fragments(*items: bytes) -> bytes:
    return explicit(0x7FE00010, "OB", b"".join(items), UNDEFINED)


def extended(offsets: tuple[int, ...], lengths: tuple[int, ...]) -> bytes:
    return explicit(0x7FE00001, "OV", struct.pack(f"<{len(offsets)}Q", *offsets)) + explicit(
        0x7FE00002, "OV", struct.pack(f"<{len(lengths)}Q", *lengths)
    )


REFUSED = {
    Hostile.VALUE_PAST_END: Raw(pixels=explicit(0x7FE00001, "OB", bytes(16), 64)),
    Hostile.VALUE_VAST: Raw(pixels=explicit(0x7FE00001, "OB", bytes(16), 0xFFFFFFF0)),
    Hostile.VALUE_UNDEFINED: Raw(pixels=explicit(0x7FE00001, "UT", b"text", UNDEFINED)),
    Hostile.SEQUENCE_PAST_END: Raw(
        tables=b"", pixels=explicit(0x7FE00011, "SQ", item(INNER), 4096)
    ),
    Hostile.ITEM_PAST_END: Raw(
        pixels=explicit(0x7FE00011, "SQ", item(INNER, length=4096), UNDEFINED)
    ),
    Hostile.FRAGMENT_PAST_END: Raw(
        JPEG, pixels=fragments(item(), item(FRAMES[0], length=2**31), SEQUENCE_END)
    ),
}
CONTRADICTIONS = {
    Hostile.SEQUENCE_PAST_PARENT: Raw(
        more=explicit(SEQUENCE, "SQ", item(explicit(SEQUENCE, "SQ", item(INNER), 4096)))
    ),
    Hostile.ITEM_PAST_SEQUENCE: Raw(more=explicit(SEQUENCE, "SQ", item(INNER, length=4096))),
}
_LENGTHS = tuple(map(len, FRAMES))
TABLES = {
    Hostile.TABLE_OUTSIDE: jpeg(struct.pack("<3L", 0, 2**31, 2**32 - 1)),
    Hostile.TABLE_BACKWARDS: jpeg(struct.pack("<3L", 0, 30, 14)),
    Hostile.TABLE_OVERLAPPING: jpeg(struct.pack("<3L", 0, 14, 14)),
    Hostile.TABLE_BETWEEN: jpeg(struct.pack("<3L", 0, 3, 30)),
    Hostile.TABLE_ODD: jpeg(b"\0" * 10),
    Hostile.TABLE_LONG: jpeg(struct.pack("<9L", *range(9))),
    Hostile.EXTENDED_OVERFLOW: jpeg(tables=extended((0, 14, 30), (2**64 - 1,) * 3)),
    Hostile.EXTENDED_OUTSIDE: jpeg(tables=extended((0, 2**40, 2**64 - 1), _LENGTHS)),
    Hostile.EXTENDED_UNEVEN: jpeg(tables=extended((0, 14, 30), _LENGTHS[:2])),
}
NUMBERS = {
    Hostile.FRAMES_ZERO: b"0 ",
    Hostile.FRAMES_NEGATIVE: b"-5",
    Hostile.FRAMES_VAST: b"2147483647",
    Hostile.FRAMES_NO_NUMBER: b"many",
}
SHAPES = {
    Hostile.PIXELS_SHORT: Raw(frames=b"4 ", pixels=explicit(0x7FE00010, "OW", bytes(40))),
    Hostile.PIXELS_EMPTY: Raw(pixels=explicit(0x7FE00010, "OW")),
    Hostile.PIXELS_LONG: Raw(pixels=explicit(0x7FE00010, "OW", bytes(1000))),
    Hostile.PIXELS_VAST: Raw(rows=65535, columns=65535, bits=16, frames=b"2147483647"),
    Hostile.PIXELS_WITHOUT_SHAPE: Raw(rows=0, columns=0),
    Hostile.FRAMES_NONE: Raw(
        JPEG, pixels=explicit(0x7FE00010, "OB", item() + SEQUENCE_END, UNDEFINED)
    ),
    Hostile.PIXELS_SEQUENCE: Raw(pixels=explicit(0x7FE00010, "SQ", item(INNER))),
    Hostile.BITS_ODD: Raw(bits=65535),
    Hostile.PICTURE_RUBBISH: Raw(JPEG, pixels=encapsulated(frames=(b"\xff\xd8no picture",))),
}
RESOURCES = ("frames/1", "frames/2147483647", "rendered", "thumbnail", "bulkdata/7FE00010")
COVERED = (
    frozenset(REFUSED)
    | frozenset(CONTRADICTIONS)
    | frozenset(TABLES)
    | frozenset(NUMBERS)
    | frozenset(SHAPES)
    | {Hostile.META_LENGTH, Hostile.PICTURE_VAST}
)


async def test_where_bytes_are_missing_it_is_refused(scene: Scene, small_memory: None) -> None:
    for name, raw in REFUSED.items():
        answer = await scene.post(raw.data())
        assert answer.status_code == 409, name
        assert scene.reasons(answer) == [CUT_SHORT], name


async def test_what_only_contradicts_itself_is_kept_as_it_is(scene: Scene) -> None:
    for name, raw in CONTRADICTIONS.items():
        assert (await scene.store(raw)).status_code == 200, name
        (metadata,) = (await scene.client.get(f"{raw.path}/metadata")).json()
        assert "inner" in str(metadata["00400275"]), name
        assert "7FE00010" in metadata, name


async def test_a_length_of_group_2_that_lies_is_not_believed(scene: Scene) -> None:
    raw = Raw()
    data = bytearray(raw.data())
    data[140:144] = struct.pack("<L", 2**32 - 2)
    answer = await scene.post(bytes(data))
    assert answer.status_code == 200
    scene.kept[raw.path] = bytes(data)


async def test_a_table_that_lies_is_not_believed(scene: Scene) -> None:
    for name, raw in TABLES.items():
        assert (await scene.store(raw)).status_code == 200, name
        answer = await scene.client.get(f"{raw.path}/frames/1,2,3", headers={"accept": JPEGS})
        assert answer.status_code == 200, name
        assert [content for _, content in split_multipart(answer)] == list(FRAMES), name
        beyond = await scene.client.get(f"{raw.path}/frames/4", headers={"accept": JPEGS})
        assert beyond.status_code == 404, name


@pytest.mark.parametrize("framed", [False, True])
async def test_a_number_of_frames_that_lies_makes_no_frames(
    scene: Scene, framed: bool, small_memory: None
) -> None:
    accept = {"accept": JPEGS if framed else OCTETS}
    for name, number in NUMBERS.items():
        raw = jpeg(number=number) if framed else Raw(frames=number)
        assert (await scene.store(raw)).status_code == 200, name
        there = 3 if framed and name is Hostile.FRAMES_VAST else 1
        for asked in (1, there + 1, 2**31 - 1, 2**31, 2**63):
            answer = await scene.client.get(f"{raw.path}/frames/{asked}", headers=accept)
            assert answer.status_code == (200 if asked == 1 else 404), (name, asked)


async def test_pixels_that_are_not_what_is_said_are_kept_and_never_served_as_more(
    scene: Scene, small_memory: None
) -> None:
    for name, raw in SHAPES.items():
        assert (await scene.store(raw)).status_code == 200, name
        for resource in RESOURCES:
            accept = {"accept": OCTETS} if resource[0] in "fb" else {}
            answer = await scene.client.get(f"{raw.path}/{resource}", headers=accept)
            assert answer.status_code in {200, 404, 406, 409}, (name, resource)
            assert len(answer.content) < 3000, (name, resource)
        metadata = await scene.client.get(f"{raw.path}/metadata")
        assert metadata.status_code == 200, name


async def test_very_many_fragments_in_a_value_of_defined_length_are_found(scene: Scene) -> None:
    items = item() + b"".join(item(b"%04d" % number) for number in range(2500)) + SEQUENCE_END
    raw = Raw(JPEG, frames=b"2500", pixels=explicit(0x7FE00010, "OB", items))
    assert (await scene.store(raw)).status_code == 200
    answer = await scene.client.get(f"{raw.path}/frames/2500", headers={"accept": JPEGS})
    assert [content for _, content in split_multipart(answer)] == [b"2499"]


def _vast_jpeg() -> bytes:
    """Return a JPEG of 65,500 × 65,500 pixels, by what it says of itself."""
    frame = struct.pack(">HBHHB", 11, 8, 65500, 65500, 1) + b"\1\x11\0"
    scan = struct.pack(">HB", 8, 1) + b"\1\0\0\x3f\0"
    return b"\xff\xd8\xff\xc0" + frame + b"\xff\xda" + scan + bytes(200) + b"\xff\xd9"


async def test_a_codestream_that_would_decode_to_gigabytes_is_not_decoded(
    scene: Scene, small_memory: None
) -> None:
    raw = Raw(JPEG, rows=65500, columns=65500, pixels=encapsulated(frames=(_vast_jpeg(),)))
    assert (await scene.store(raw)).status_code == 200
    rendered = await scene.client.get(f"{raw.path}/rendered")
    decoded = await scene.client.get(f"{raw.path}/frames/1", headers={"accept": DECODED})
    assert {rendered.status_code, decoded.status_code} <= {406, 409, 413}


def test_the_places_of_elements_are_right() -> None:
    raw = Raw()
    assert raw.data()[raw.place(0) :].startswith(uid(0x00080016, SC))
    assert raw.data()[raw.place(PIXELS) :].startswith(b"\xe0\x7f\x10\0OW")
