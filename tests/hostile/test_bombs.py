"""What is small and wants to become large, or is many: refused within bounded memory and time."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.archive import store_metadata
from tests.cost import costs_at_most
from tests.dicomweb.test_stow_metadata import body_of, bulk, metadata
from tests.factories import new_uid
from tests.hostile.instances import SC, Raw
from tests.hostile.memory import growth
from tests.hostile.names import Hostile
from tests.hostile.scene import Scene
from tests.multipart import RELATED, make_multipart
from tests.raw_elements import DEFLATED, JPEG, SEQUENCE_END, UNDEFINED, explicit, item

JSON, XML = "application/dicom+json", "application/dicom+xml"
OVER_A_LIMIT = 0xC002
MANY = 99_000
IN_METADATA = RELATED.replace("application/dicom", JSON)
COVERED = frozenset(
    {
        Hostile.DEFLATE_BOMB,
        Hostile.GZIP_BOMB,
        Hostile.GZIP_MEMBERS,
        Hostile.NESTING,
        Hostile.ELEMENTS,
        Hostile.ITEMS,
        Hostile.HEADER_BYTES,
        Hostile.FRAGMENTS,
        Hostile.PARTS,
        Hostile.EMPTY_PARTS,
        Hostile.RUBBISH_PARTS,
        Hostile.NAMELESS_PARTS,
        Hostile.PART_HEADER,
        Hostile.PART_FIELDS,
        Hostile.LOOKALIKES,
        Hostile.CHUNKS,
        Hostile.PREAMBLE_OF_BODY,
        Hostile.JSON_NESTING,
        Hostile.JSON_VALUES,
        Hostile.JSON_EMPTY,
        Hostile.JSON_BODY,
        Hostile.XML_ENTITIES,
        Hostile.XML_EXTERNAL,
        Hostile.XML_NESTING,
        Hostile.BULK_AGAIN,
    }
)


@contextmanager
def bounded(seconds: float, size: int = 200 * 2**20) -> Iterator[None]:
    """See that this process takes about as much time of the processor, and no more memory."""
    with costs_at_most(seconds), growth() as grown:
        yield
    assert grown() < size


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body as a socket does."""
    for at in range(0, len(body), 2**16):
        yield body[at : at + 2**16]


def packed(pieces: Iterator[bytes], wbits: int) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(map(engine.compress, pieces)) + engine.flush()


# --- what grows ---------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_deflated_data_set_that_grows_without_end_is_refused(scene: Scene) -> None:
    raw = Raw(DEFLATED, pixels=explicit(0x7FE00010, "OW", length=2**28))

    def pieces() -> Iterator[bytes]:
        yield b"".join(raw.elements())
        yield from [bytes(2**20)] * 256

    body = raw.meta() + packed(pieces(), -15)
    with bounded(5):
        answer = await scene.post(body)
    assert answer.status_code == 409
    assert scene.reasons(answer) == [OVER_A_LIMIT]


@pytest.mark.slow
async def test_a_body_in_gzip_that_grows_without_end_is_413(scene: Scene) -> None:
    body = packed(iter([make_multipart(Raw().data())[:-7], *[bytes(2**20)] * 160]), 31)
    with bounded(5):
        answer = await scene.post(body, RELATED, content_encoding="gzip")
    assert answer.status_code == 413


async def test_very_many_gzip_members_are_one_body(scene: Scene) -> None:
    raw, nothing = Raw(), gzip.compress(b"", mtime=0)
    body = nothing * MANY + gzip.compress(raw.data(), mtime=0)
    with bounded(10):
        answer = await scene.post(body, content_encoding="gzip")
    assert answer.status_code == 200
    scene.kept[raw.path] = raw.data()


# --- what is deep or long in one Instance -------------------------------------------------------


def nested(depth: int, *, undefined: bool) -> bytes:
    value = explicit(0x00400007, "LO", b"x ")
    for _ in range(depth):
        inner = item(value) + (SEQUENCE_END if undefined else b"")
        value = explicit(0x00400275, "SQ", inner, UNDEFINED if undefined else None)
    return value


INSTANCES = {
    "nested in items of known length": ({}, Raw(more=nested(3000, undefined=False))),
    "nested in Sequences of unknown length": ({}, Raw(more=nested(3000, undefined=True))),
    "elements": (
        {"elements": 10_000},
        Raw(more=explicit(0x00204000, "LT", b"") * 10_001),
    ),
    "items": (
        {"elements": 100_000},
        Raw(more=explicit(0x00400275, "SQ", item() * 1_000_000)),
    ),
    "header bytes": (
        {"header_bytes": 10**6},
        Raw(more=explicit(0x00204000, "LT", bytes(60_000)) * 20),
    ),
    "fragments": (
        {"fragments": 10_000},
        Raw(JPEG, pixels=explicit(0x7FE00010, "OB", item() * 10_002 + SEQUENCE_END, UNDEFINED)),
    ),
}


@pytest.mark.parametrize(("limits", "raw"), INSTANCES.values(), ids=INSTANCES)
async def test_an_instance_over_a_limit_is_refused_and_its_neighbour_is_not(
    scene: Scene, raw: Raw
) -> None:
    good = Raw()
    with bounded(10):
        answer = await scene.store(raw, good)
    assert answer.status_code == 202
    assert scene.reasons(answer) == [OVER_A_LIMIT]
    assert [stored for stored, _ in scene.stored(answer)] == [good.instance]


# --- many parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [{"parts": 1000}])
async def test_too_many_parts_are_413_and_nothing_of_them_stays(scene: Scene) -> None:
    parts = [Raw().data(), *[b""] * 1000]
    answer = await scene.post(make_multipart(*parts), RELATED)
    assert answer.status_code == 413


def many(part: bytes, count: int) -> bytes:
    """Return a body of the shortest parts that there are: without any header field."""
    return (b"\r\n--b\r\n\r\n" + part) * count + b"\r\n--b--\r\n"


NAMELESS = explicit(0x00080060, "CS", b"CT")
RUBBISH = {Hostile.EMPTY_PARTS: b"", Hostile.RUBBISH_PARTS: b"rubbish!"}


async def test_very_many_parts_that_are_nothing_are_413_soon(scene: Scene) -> None:
    for name, part in RUBBISH.items():
        body = make_multipart(Raw().data())[:-9] + many(part, MANY)
        with bounded(5):
            answer = await scene.post(in_chunks(body), RELATED)
        assert answer.status_code == 413, name
        assert "no Instances" in answer.json()["detail"], name


@pytest.mark.parametrize("limits", [{"refused_parts": 2000}])
async def test_data_sets_without_uids_are_no_instances(scene: Scene) -> None:
    with bounded(5):
        answer = await scene.post(in_chunks(many(NAMELESS, 2500)), RELATED)
    assert answer.status_code == 413


async def test_an_answer_is_no_bomb_and_still_counts(scene: Scene) -> None:
    raw = Raw()
    body = make_multipart(raw.data())[:-9] + many(b"", 9000)
    with bounded(5):
        answer = await scene.post(in_chunks(body), RELATED)
    assert answer.status_code == 202
    scene.kept[raw.path] = raw.data()
    others = answer.json()["0008119A"]["Value"]
    assert len(others) == 1001
    assert others[-1]["00000902"]["Value"] == ["and 8000 more parts that are refused"]
    assert len(answer.content) < 200_000


@pytest.mark.slow
async def test_others_have_their_turn_while_many_parts_are_refused(scene: Scene) -> None:
    flood = scene.post(in_chunks(many(b"", 9000)), RELATED)
    turns = 0

    async def ask() -> None:
        nonlocal turns
        while True:
            answer = await scene.client.get("/studies?limit=1")
            assert answer.status_code == 200
            turns += 1

    asking = asyncio.create_task(ask())
    assert (await flood).status_code == 409
    asking.cancel()
    assert turns > 2


async def test_a_huge_header_of_a_part_is_413(scene: Scene) -> None:
    answer = await scene.post(b"--b\r\nX: " + b"y" * 10**7 + b"\r\n\r\n\r\n--b--\r\n", RELATED)
    assert answer.status_code == 413


async def test_thousands_of_header_fields_are_none_of_ours(scene: Scene) -> None:
    raw = Raw()
    fields = b"".join(b"x%d:\r\n" % number for number in range(2000))
    body = b"--b\r\n" + fields + b"\r\n" + raw.data() + b"\r\n--b--\r\n"
    assert (await scene.post(body, RELATED)).status_code == 200
    scene.kept[raw.path] = raw.data()


LOOKS_ALIKE = {
    "a longer boundary": b"\r\n--bX",
    "one dash": b"\r\n--b-X",
    "blanks": b"\r\n--b" + b" " * 250 + b"X",
    "more blanks than a line may have": b"\r\n--b" + b" " * 300 + b"\r\n",
    "ends of lines": b"\r\n\r",
}


async def test_content_full_of_lookalikes_is_content(scene: Scene) -> None:
    for name, alike in LOOKS_ALIKE.items():
        noise = alike * (4 * 2**20 // len(alike))
        raw = Raw(pixels=explicit(0x7FE00010, "OW", noise + b"\0" * (len(noise) % 2)))
        body = make_multipart(raw.data())
        with bounded(3):
            answer = await scene.post(in_chunks(body), RELATED)
        assert answer.status_code == 200, name
        scene.kept[raw.path] = raw.data()


async def test_a_body_in_chunks_of_one_byte_is_a_body(scene: Scene) -> None:
    raw = Raw(pixels=explicit(0x7FE00010, "OW", bytes(100_000)))

    async def one_by_one() -> AsyncIterator[bytes]:
        for byte in make_multipart(raw.data(), b"", b"rubbish"):
            yield bytes([byte])

    with bounded(10):
        answer = await scene.post(one_by_one(), RELATED)
    assert answer.status_code == 202
    assert scene.reasons(answer) == [0xC000, 0xC000]
    scene.kept[raw.path] = raw.data()


async def test_a_body_that_never_begins_is_400_soon(scene: Scene) -> None:
    for preamble in (b"x" * 2**20, b"\n--bX" * 2**18, b"\r\n--b-" * 2**18):
        with bounded(3):
            answer = await scene.post(in_chunks(preamble + make_multipart(Raw().data())), RELATED)
        assert answer.status_code == 400


# --- metadata -----------------------------------------------------------------------------------


def deep_json(depth: int) -> bytes:
    names = {"00080016": {"vr": "UI", "Value": [SC]}, "00080018": {"vr": "UI", "Value": ["1.2"]}}
    text = json.dumps(names)[:-1] + ","
    opening = '"00400275":{"vr":"SQ","Value":[{'
    return (text + opening * depth + "}]}" * depth + "}").encode()


async def test_json_that_is_nested_deep_is_refused(scene: Scene) -> None:
    for depth, status in ((100, 409), (300, 409), (50_000, 400)):
        with bounded(3):
            answer = await scene.post(deep_json(depth), JSON)
        assert answer.status_code == status, depth


async def test_json_of_brackets_is_400(scene: Scene) -> None:
    for document in (b"[" * 10**6, b'{"a":' * 10**6, b"[" + b"0," * 3 * 10**6):
        with bounded(5):
            answer = await scene.post(in_chunks(document), JSON)
        assert answer.status_code in {400, 413}, document[:10]


async def test_json_of_very_many_values_is_413(scene: Scene) -> None:
    with bounded(5):
        answer = await scene.post(in_chunks(b"[" + b"{}," * 2 * 10**6 + b"{}]"), JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize("limits", [{"refused_parts": 2000}])
async def test_very_many_empty_instances_are_413(scene: Scene) -> None:
    with bounded(10):
        answer = await scene.post(b"[" + b"{}," * 90_000 + b"{}]", JSON)
    assert answer.status_code == 413


async def test_a_request_of_an_operator_is_small_and_flat(scene: Scene) -> None:
    url = f"http://127.0.0.1:8080/api/v1/studies/{new_uid()}/hold"
    large = b'{"reason":"' + b"x" * 10**6 + b'"}'
    for body, status in ((large, 413), (b"[" * 60_000, 400), (b'{"a":' * 9000, 400)):
        with bounded(3):
            answer = await scene.client.put(url, content=body)
        assert answer.status_code == status, body[:10]


def model(inner: str, doctype: str = "") -> bytes:
    return f'<?xml version="1.0"?>{doctype}<NativeDicomModel>{inner}</NativeDicomModel>'.encode()


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(12))
VALUE = (
    '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"><Value number="1">{}</Value>'
    "</DicomAttribute>"
)
DOCUMENTS = {
    Hostile.XML_ENTITIES: model(VALUE.format("&l11;"), f"<!DOCTYPE n [{LAUGHS}]>"),
    Hostile.XML_EXTERNAL: model(
        VALUE.format("&file;"), '<!DOCTYPE n [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
    ),
    Hostile.XML_NESTING: model('<DicomAttribute tag="00400275" vr="SQ"><Item number="1">' * 10_000),
}


async def test_xml_is_without_entities_and_shallow(scene: Scene) -> None:
    for name, document in DOCUMENTS.items():
        with bounded(3):
            answer = await scene.post(document, XML)
        assert answer.status_code == 400, name
        assert "root:" not in answer.text


async def test_one_part_is_not_referred_to_without_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_metadata, "_SMALL_REUSE", 0)
    large: dict[str, Any] = {"vr": "OB", "BulkDataURI": "large"}
    dataset = {f"0009{n:04X}": large for n in range(0x1010, 0x1020)}
    dataset |= {"00090010": {"vr": "LO", "Value": ["FILEROOM"]}}
    uids = {"00080016": SC, "00080018": new_uid(), "0020000D": "1.2", "0020000E": "1.3"}
    dataset |= {tag: {"vr": "UI", "Value": [value]} for tag, value in uids.items()}
    body = body_of(metadata(dataset), bulk("large", bytes(2**20)))
    with bounded(5):
        answer = await scene.post(body, IN_METADATA)
    assert answer.status_code == 409
    assert scene.reasons(answer) == [OVER_A_LIMIT]
