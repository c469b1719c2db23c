"""Deflated Data Sets: inflated in bounds, in memory or from front to back."""

import zlib

import pytest

from app.dicom import deflated
from app.dicom.deflated import InflatingSource, inflate_dataset, rendition
from app.dicom.limits import Limits
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.raw_elements import DEFLATED, explicit, image, part10

DATA = b"".join(i.to_bytes(4, "little") for i in range(1_500_000))
"""6 MB: more than is kept in memory."""


def deflate(data: bytes, bits: int = -15) -> bytes:
    engine = zlib.compressobj(1, zlib.DEFLATED, bits)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize("bits", [-15, 15])
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_chunks_are_the_inflated_data_set(bits: int, padding: bytes) -> None:
    source = BytesSource(b"head" + deflate(DATA, bits) + padding)
    chunks = list(inflate_dataset(source, 4, Limits()))
    assert b"".join(chunks) == DATA
    assert max(map(len, chunks)) <= 2**18


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [(b"", 0xC001, "cut short"), (deflate(DATA)[:-5], 0xC001, "cut short"),
     (b"\xff" * 100, 0xC000, "cannot be inflated")],
)  # fmt: skip
def test_a_broken_stream_is_refused(data: bytes, reason: int, words: str) -> None:
    with pytest.raises(InvalidDataset, match=words) as caught:
        list(inflate_dataset(BytesSource(data), 0, Limits()))
    assert caught.value.reason == reason


def test_a_small_rendition_is_in_memory() -> None:
    found = rendition(BytesSource(b"head" + deflate(b"body")), 4, Limits())
    assert isinstance(found, BytesSource)
    assert found.data == b"headbody"


def test_a_large_rendition_is_read_from_front_to_back() -> None:
    found = rendition(BytesSource(b"head" + deflate(DATA)), 4, Limits())
    assert isinstance(found, InflatingSource)
    whole = b"head" + DATA
    assert found.size == len(whole)
    for offset, length in [
        (0, 10), (2, 70_000), (60_000, 100), (3_000_000, 5000), (2_500_000, 50), (0, 4),
        (len(whole) - 7, 100), (len(whole), 5), (5_999_000, 2000), (1, 3),
    ]:  # fmt: skip
        assert found.read(offset, length) == whole[offset : offset + length]


def test_steps_far_back_are_counted() -> None:
    found = rendition(BytesSource(deflate(DATA)), 0, Limits())
    for _ in range(deflated._RESTARTS):
        found.read(2_000_000, 4)
        found.read(0, 4)
    found.read(2_000_000, 4)
    with pytest.raises(InvalidDataset, match="out of order too often"):
        found.read(0, 4)


def test_a_large_deflated_object_scans_as_a_plain_one() -> None:
    elements = explicit(0x00100020, "LO", b"X1") + image(1000, 1000, bits=8, frames=6)
    elements += explicit(0x7FE00010, "OW", DATA) + explicit(0xFFFCFFFC, "OB", b"\0\0")
    plain = scan(BytesSource(part10(elements)))
    packed = scan(BytesSource(part10(deflate(elements), uid=DEFLATED)))
    shift = packed.dataset_offset - plain.dataset_offset
    assert packed.metadata == plain.metadata
    assert packed.frames.offset == plain.frames.offset + shift
    assert packed.frames.count == 6
