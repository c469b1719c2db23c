"""What each target is tried with first: good input of each sort, from which bad input is made.

`corpus/` has the rest: what a fuzzer found to lead elsewhere, in small, and what was once wrong.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.xml_model import write_xml
from tests.multipart import make_multipart
from tests.raw_elements import (
    BIG,
    DEFLATED,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    explicit,
    fragments,
    image,
    implicit,
    item,
    open_item,
    part10,
)

CORPUS = Path(__file__).with_name("corpus")
_SEQUENCE = explicit(0x00081140, "SQ", item(explicit(0x00080018, "UI", b"1.2\0")))
_OPEN = explicit(0x00081140, "SQ", open_item(_SEQUENCE) + fragments(), UNDEFINED)
_PRIVATE = explicit(0x00290010, "LO", b"OURS") + explicit(0x00291001, "UN", b"\1\2\3\4")
_NAME = explicit(0x00080005, "CS", b"ISO_IR 192") + explicit(0x00100010, "PN", b"A^B=C=D ")
_NUMBERS = explicit(0x00280010, "US", b"\2\0") + explicit(0x00281053, "DS", b"1.5\\-2E3 ")
_PIXELS = explicit(0x7FE00010, "OB", fragments(b"\xff\xd8\xff\xd9", b"\1\2"), UNDEFINED)
_INSTANCES = (
    part10(_NAME, _SEQUENCE, _OPEN, _PRIVATE, _NUMBERS),
    part10(image(2, 2), explicit(0x7FE00010, "OB", b"\1\2\3\4")),
    part10(image(2, 2, frames=2), _PIXELS, uid=JPEG),
    part10(implicit(0x00100020, b"ID"), implicit(0x00081140, item()), uid=IMPLICIT),
    part10(b"\0\x10\0\x20LO\0\2ID", uid=BIG),
    part10(b"\x4b\x4c\x04\0", uid=DEFLATED),
    part10(explicit(0x00041220, "SQ", item(explicit(0x00041500, "CS", b"A\\B ")))),
    _NAME,
)
_METADATA = scan(BytesSource(_INSTANCES[0])).metadata
_WHOLE: dict[str, dict[str, Any]] = {
    "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.7"]},
    "00080018": {"vr": "UI", "Value": ["1.2.3"]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "王"}]},
    "00281053": {"vr": "DS", "Value": [1.5, "2", None]},
    "00081140": {"vr": "SQ", "Value": [{"00080018": {"vr": "UI", "Value": ["1"]}}, {}]},
    "00420011": {"vr": "OB", "InlineBinary": "AQIDBA=="},
    "7FE00010": {"vr": "OW", "BulkDataURI": "file:///etc/passwd"},
}
_MADE: dict[str, Sequence[bytes]] = {
    "multipart": (
        b"\x03" + make_multipart(b"one", b"", b"\r\n--b\r\n-"),
        b"\x20preamble\n--b \r\nA: b\r\n c\r\n\r\n\r\n--bb\r\n--b--epilogue",
    ),
    "unpack": (gzip.compress(b"a" * 99), gzip.compress(b"a") + gzip.compress(b"b"), b""),
    "part10": _INSTANCES,
    "json_upload": (_METADATA, orjson.dumps([_WHOLE]), b"[]", b'{"00100010":{"vr":"PN"}}'),
    "xml_upload": (
        write_xml(orjson.loads(_METADATA)),
        write_xml(_WHOLE),
        b"<NativeDicomModel/>",
    ),
    "accept": (
        b'multipart/related; type="application/dicom"; transfer-syntax=*, */*;q=0.1',
        b"image/jpeg;q=.5, image/*; q=0, application/dicom+json;a=\"b\\\"c\"",
        b"gzip;q=0, *",
    ),
    "query": (
        b"PatientName=A*%3F&StudyDate=20200101-&00080061=CT%5CMR&includefield=all&limit=5&offset=1",
        b"StudyInstanceUID=1.2,3.4&fuzzymatching=true&TimezoneOffsetFromUTC=%2B0100&StudyTime=12-",
        b"00081140.00080018=1&00290010=OURS&00291001=x&emptyvaluematching=true&PatientID=%22%22",
        b"viewport=512,512,0,0,-1,1&window=40,400,linear&quality=90&annotation=patient&accept=*/*",
    ),
    "headers": (
        b'if-none-match: "a", W/"b"\nif-match: *\nrange: bytes=0-9\nif-range: "v"',
        b"if-unmodified-since: Wed, 21 Oct 2015 07:28:00 GMT\nrange: bytes=-5",
        b"if-unmodified-since: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",  # was a 500
        b'forwarded: for="[::1]:9";proto=https;host=a.b:1, for=c\nx-forwarded-host: h',
        b"authorization: Basic YTpi",
        b"ticket=frt_x&a=b&%74icket=y\ncookie: fileroom=1; a=b",
    ),
}  # fmt: skip


def seeds(name: str) -> list[bytes]:
    """Return all that a target is tried with first."""
    kept = sorted(path for path in (CORPUS / name).glob("*"))
    return [*_MADE[name], *(path.read_bytes() for path in kept)]
