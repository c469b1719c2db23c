"""Whatever the bytes are, a scan ends soon, with a result that is whole or with InvalidDataset."""

import random
import struct
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.samples import SAMPLES, sample_id

HEAD = bytes(128) + b"DICM"
SMALL = [path for path in SAMPLES if path.stat().st_size < 40_000]
LIMITS = Limits(inflated_bytes=2**24, header_bytes=2**22)
UIDS = [
    b"1.2.840.10008.1.2\0", b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0",
    b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.4.50",
]  # fmt: skip


def meta(uid: bytes) -> bytes:
    return HEAD + struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid


def survive(data: bytes, memo: Memo | None = None) -> ScannedInstance | None:
    """Scan; what comes out must be valid JSON and places within the object."""
    with suppress(InvalidDataset):
        return whole(data, scan(BytesSource(data), LIMITS, memo))
    return None


def whole(data: bytes, scanned: ScannedInstance) -> ScannedInstance:
    """Return the scan if its JSON is valid and its places lie within the object."""
    orjson.loads(scanned.metadata)
    if scanned.transfer_syntax_uid != UIDS[3].decode():
        for place in scanned.bulk_values.values():
            assert 0 <= place.offset <= place.offset + place.length <= len(data)
        frames = scanned.frames
        if frames.table is None:
            assert frames.offset + frames.count * frames.length // 8 <= len(data)
    return scanned


@pytest.mark.parametrize("path", SMALL, ids=sample_id)
def test_a_sample_cut_anywhere_is_survived(path: Path) -> None:
    data = path.read_bytes()
    generator = random.Random(path.name)
    for _ in range(8):
        survive(data[: generator.randrange(len(data))])


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=sample_id)
def test_a_sample_with_wrong_bytes_is_survived(path: Path) -> None:
    original = path.read_bytes()
    generator = random.Random(path.name)
    memo = Memo(2**18)
    header = min(len(original), 4000)
    for _ in range(10):
        data = bytearray(original)
        for _ in range(generator.randrange(1, 6)):
            at = generator.randrange(100, header) if header > 100 else 0
            data[at] = generator.choice([0, 0xFF, 0xFE, generator.randrange(256)])
        found = survive(bytes(data), memo)
        assert found == survive(bytes(data))


@pytest.mark.slow
@pytest.mark.parametrize("path", SMALL, ids=sample_id)
def test_a_sample_with_moved_bytes_is_survived(path: Path) -> None:
    data = path.read_bytes()
    generator = random.Random(path.name)
    for _ in range(8):
        start, end = sorted(generator.randrange(len(data)) for _ in range(2))
        end = min(end, start + 200)
        survive(data[:start] + data[end:])
        survive(data[:end] + data[start:end] + data[end:])


PIECES = [
    b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
    b"\xfe\xff\x00\xe0\x08\x00\x00\x00",
    b"\xfe\xff\x0d\xe0\0\0\0\0",
    b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff",
    b"\x08\0\x15\x11\xff\xff\xff\xff",
    b"\x08\0\x15\x11SQ\0\0\x20\0\0\0",
    b"\x09\0\x10\0LO\x04\0ACME",
    b"\x09\0\x01\x10UN\0\0\xff\xff\xff\xff",
    b"\x09\0\x01\x10UN\0\0\x04\0\0\0",
    b"\x08\0\x05\0CS\x0a\0ISO_IR 100",
    b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff",
    b"\xe0\x7f\x10\0OW\0\0\x04\0\0\0",
    b"\x28\0\x03\x01US\x02\0\x01\0",
    b"\x28\0\x06\x01\x02\0\0\0\xff\xff",
    b"\0\0\0\0",
    b"\x10\0\x10\0  \x04\0A^B ",
    b"\x10\0\x20\0ZZ\x02\0xy",
    b"\x02\0\x10\0UI\x02\0\x31\0",
    b"\xfc\xff\xfc\xffOB\0\0\x02\0\0\0\0\0",
    b"\x28\0\x10\0US\x02\0\x02\0",
    b"\x7f\xe0\0\x10OW\0\0\0\0\0\x04",
    b"\xff\xfe\xe0\0\xff\xff\xff\xff",
]


@settings(max_examples=400, deadline=None)
@given(
    uid=st.sampled_from(UIDS),
    pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=16), max_size=14),
)
@example(uid=UIDS[0], pieces=[PIECES[5], PIECES[0]] * 200)
@example(uid=UIDS[1], pieces=[PIECES[4], PIECES[0]] * 200)
def test_any_pieces_of_a_data_set_are_survived(uid: bytes, pieces: list[bytes]) -> None:
    survive(meta(uid) + b"".join(pieces))


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300), uid=st.sampled_from([b"", *UIDS]))
def test_any_bytes_are_survived(data: bytes, uid: bytes) -> None:
    survive((meta(uid) if uid else HEAD) + data)
    survive(data)
