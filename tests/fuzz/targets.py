"""Each of our own parsers as a function of bytes that fails only where the parser is wrong.

An error in words is an answer; anything else that is raised, and whatever an `assert` here says
otherwise, is a finding. `make fuzz` gives them to atheris, `test_targets.py` to hypothesis; both
begin with `seeds` and `corpus/`, in which every finding there was is kept.
"""

import gzip
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

import orjson
from starlette.requests import Request

from app.dicom.attributes import Level
from app.dicom.composed_instance import compose_instance
from app.dicom.json_documents import read_json
from app.dicom.limits import Limits
from app.dicom.media_directory import referenced_files
from app.dicom.memo import Memo
from app.dicom.recode import rewritten
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from app.dicomweb.query import read_query
from app.dicomweb.rendering_parameters import render_request
from app.errors import ArchiveError, InvalidDataset
from app.mime.media_types import parse_accept, parse_media_type
from app.mime.multipart import PartLimits, read_parts
from app.web.accept import forms_of, gzip_accepted
from app.web.auth import given_by
from app.web.conditions import Unsatisfiable, read_conditions
from app.web.content_coding import decoded
from app.web.forwarded import named_origin
from app.web.sources import _read_basic
from app.web.tickets import split_query

LIMITS = Limits(inflated_bytes=2**22, header_bytes=2**20, elements=5000, request_bytes=2**22)
MEMO = Memo(2**22)
"""Shared by all scans of a process, as in a server: one input may not spoil another's result."""
_PARTS = PartLimits(100, 2000)
Target = Callable[[bytes], None]


def multipart(data: bytes) -> None:
    """A body is the same parts, or the same error, however it is cut into chunks."""
    size, body = data[:1], data[1:]
    whole = _done(_parts([body]))
    step = size[0] % 64 + 1 if size else 1
    assert _done(_parts([body[at : at + step] for at in range(0, len(body), step)])) == whole


async def _parts(chunks: list[bytes]) -> Any:
    try:
        return [
            (dict(part.headers), b"".join([piece async for piece in part]))
            async for part in read_parts(_stream(chunks), "b", _PARTS)
        ]
    except ArchiveError as error:
        return type(error)


def _done(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what comes of work that waits for nothing; an event loop would take longer."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits for something")


async def _stream(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def unpack(data: bytes) -> None:
    """A body in gzip is unpacked to the same bytes, or to the same error, however it is cut."""
    one = _done(_unpacked([data]))
    assert _done(_unpacked([data[at : at + 7] for at in range(0, len(data), 7)])) == one
    if isinstance(one, bytes):
        assert one == (gzip.decompress(data) if data else b"")


async def _unpacked(chunks: list[bytes]) -> Any:
    request = Request({"type": "http", "headers": [(b"content-encoding", b"gzip")]})
    try:
        return b"".join([it async for it in decoded(request, _stream(chunks), LIMITS)])
    except ArchiveError as error:
        return type(error)


def part10(data: bytes) -> None:
    """A scan ends with a result that is whole, the same with what was remembered of others."""
    alone = _scanned(data, None)
    together = _scanned(data, MEMO)
    assert together == alone
    with suppress(InvalidDataset):
        referenced_files(BytesSource(data))
    if alone is None:
        return
    write_xml(orjson.loads(alone.metadata)).decode()
    with suppress(InvalidDataset):
        for _ in rewritten(BytesSource(data), alone.transfer_syntax_uid, LIMITS):
            pass


def _scanned(data: bytes, memo: Memo | None) -> ScannedInstance | None:
    try:
        scanned = scan(BytesSource(data), LIMITS, memo)
    except InvalidDataset:
        return None
    most = max(len(data), LIMITS.inflated_bytes)
    for place in scanned.bulk_values.values():
        assert 0 <= place.offset <= place.offset + place.length <= most
    frames = scanned.frames
    if frames.table is None:
        assert frames.offset + frames.count * frames.length // 8 <= most
    else:
        assert len(frames.table) == 16 * frames.count
    return scanned


def json_upload(data: bytes) -> None:
    """Metadata in JSON is an Instance that can be scanned, or is refused in words."""
    with suppress(ArchiveError):
        read = read_json(data)
        for dataset in read if isinstance(read, list) else [read]:
            _composed(dataset)


def xml_upload(data: bytes) -> None:
    """Metadata in XML is an Instance that can be scanned, or is refused in words."""
    with suppress(ArchiveError):
        _composed(read_xml(data, LIMITS))


def _composed(dataset: Any) -> None:
    made = b"".join(compose_instance(dataset, lambda _: (), LIMITS))
    assert scan(BytesSource(made), LIMITS).transfer_syntax_uid == "1.2.840.10008.1.2.1"


def accept(data: bytes) -> None:
    """Accept, Content-Type and Accept-Encoding are read, whatever stands in them."""
    text = data.decode("latin-1")
    ranges = parse_accept(text)
    assert all(0 < one.q <= 1 and one.type == one.type.lower() for one in ranges)
    assert [one.q for one in ranges] == sorted((one.q for one in ranges), reverse=True)
    for form in forms_of(text, text.split("&")):
        assert not form.covers("") or "*" in form.media_type
    parse_media_type(text)
    gzip_accepted(text)


def query(data: bytes) -> None:
    """A query string is a search or an error in words; a warning may stand in a header."""
    for level in Level:
        with suppress(ArchiveError):
            found = read_query(data, level, "1.2", None)
            assert (found.limit or 0) >= 0 <= found.offset
            assert all(text.isprintable() and text.isascii() for text in found.warnings)
    scope = {"type": "http", "headers": [(b"accept", data[:99])], "query_string": data}
    with suppress(ArchiveError):
        render_request(Request(scope))


def headers(data: bytes) -> None:
    """Conditions, ranges, credentials and what proxies say are read, whatever stands in them."""
    fields = [_field(line) for line in data.split(b"\n")]
    conditions = read_conditions(fields)
    for length in (0, 1, 2**40):
        with suppress(Unsatisfiable):
            at = conditions.section("v", length)
            assert at is None or (at[0] >= 0 and at[1] > 0 and sum(at) <= length)
    conditions.settled_by("v")
    origin = named_origin(fields, lambda _: True)
    assert origin is None or (origin.isprintable() and origin.startswith("http"))
    kept, tickets = split_query(data)
    assert not split_query(kept)[1]
    assert all(isinstance(ticket, bytes) for ticket in tickets)
    with suppress(ArchiveError):
        shown = given_by({"headers": fields, "query_string": data})
        if shown is not None:
            _read_basic(shown.value)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), value


TARGETS: dict[str, Target] = {
    "multipart": multipart,
    "unpack": unpack,
    "part10": part10,
    "json_upload": json_upload,
    "xml_upload": xml_upload,
    "accept": accept,
    "query": query,
    "headers": headers,
}
