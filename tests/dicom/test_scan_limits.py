"""Each danger has a limit, each limit a test (Z-06); large objects are scanned in little memory."""

import struct
import tracemalloc
import zlib

import pytest

from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scan import scan
from app.dicom.scanned import FrameKind
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.raw_elements import (
    DEFLATED,
    IMPLICIT,
    JPEG,
    SEQUENCE_END,
    UNDEFINED,
    explicit,
    image,
    implicit,
    item,
    open_item,
    part10,
)

SEQUENCE = 0x00081140
ID = explicit(0x00100020, "LO", b"X1")


def refused(data: bytes, limits: Limits, memo: Memo | None = None) -> str:
    with pytest.raises(InvalidDataset) as caught:
        scan(BytesSource(data), limits, memo)
    assert caught.value.reason == 0xC002
    return str(caught.value)


def nested(depth: int, *, undefined: bool) -> bytes:
    value = ID
    for _ in range(depth):
        if undefined:
            value = explicit(SEQUENCE, "SQ", open_item(value) + SEQUENCE_END, UNDEFINED)
        else:
            value = explicit(SEQUENCE, "SQ", item(value))
    return part10(value)


@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_are_nested_up_to_the_limit(undefined: bool) -> None:
    scan(BytesSource(nested(5, undefined=undefined)), Limits(nesting_depth=5))
    message = refused(nested(6, undefined=undefined), Limits(nesting_depth=5))
    assert message == "Sequences are nested too deeply"


@pytest.mark.parametrize("limit", [32, 10**6])
@pytest.mark.parametrize("undefined", [False, True])
def test_no_nesting_overflows_the_stack(limit: int, undefined: bool) -> None:
    refused(nested(3000, undefined=undefined), Limits(nesting_depth=limit))


def test_elements_are_counted_whether_they_are_remembered_or_not() -> None:
    data = part10(*[explicit(0x00100020 + i, "LO", b"X1") for i in range(20)])
    memo = Memo()
    for _ in range(2):
        scan(BytesSource(data), Limits(elements=20), memo)
        assert refused(data, Limits(elements=19), memo) == "more than 19 Data Elements"


def test_elements_and_items_of_a_remembered_sequence_are_counted() -> None:
    data = part10(explicit(SEQUENCE, "SQ", item(ID) + item(ID)))  # 1 + 2 items + 2 elements
    memo = Memo()
    for _ in range(2):
        scan(BytesSource(data), Limits(elements=5), memo)
        assert refused(data, Limits(elements=4), memo) == "more than 4 Data Elements"


def test_many_empty_items_are_counted() -> None:
    data = part10(explicit(SEQUENCE, "SQ", item() * 1000))
    assert refused(data, Limits(elements=1000)) == "more than 1000 Data Elements"


def test_values_that_are_held_are_counted() -> None:
    data = part10(*[explicit(0x00100020 + i, "LO", b"x" * 100) for i in range(20)])
    scan(BytesSource(data), Limits(header_bytes=2160))
    assert refused(data, Limits(header_bytes=2159)) == "more than 2159 bytes beside Bulk Data"


def test_bulk_data_is_not_held() -> None:
    data = part10(explicit(0x00282000, "OB", bytes(100_000)))
    scanned = scan(BytesSource(data), Limits(header_bytes=2000))
    assert scanned.bulk_values["00282000"].length == 100_000


def test_long_values_that_are_held_are_counted() -> None:
    data = part10(*[explicit(0x00080119 + i, "UC", b"x" * 60_000) for i in range(20)])
    assert refused(data, Limits(header_bytes=10**6)) == "more than 1000000 bytes beside Bulk Data"


@pytest.mark.parametrize("uid", [IMPLICIT, "1.2.840.10008.1.2.1"])
def test_text_is_inline_up_to_the_limit(uid: str) -> None:
    element = implicit if uid == IMPLICIT else lambda tag, value: explicit(tag, "UT", value)
    data = part10(element(0x0040A160, b"x" * 1000), uid=uid)
    scan(BytesSource(data), Limits(text_bytes=1000))
    message = refused(data, Limits(text_bytes=999))
    assert message == "the value of 0040A160 is longer than 999 bytes"


def test_short_text_has_the_same_limit() -> None:
    message = refused(part10(explicit(0x00104000, "LT", b"x" * 1000)), Limits(text_bytes=999))
    assert message == "the value of 00104000 is longer than 999 bytes"


def test_very_many_numbers_become_bulk_data() -> None:  # PS3.18 §F.2.6 allows it for FL
    data = part10(implicit(0x00700022, b"\0\0\x80\x3f" * 300), uid=IMPLICIT)
    scanned = scan(BytesSource(data), Limits(text_bytes=1000))
    assert (
        scanned.fragments[0x00700022] == b'"00700022":{"vr":"FL","BulkDataURI":"bulkdata/00700022"}'
    )


def deflated(elements: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return part10(engine.compress(elements) + engine.flush(), uid=DEFLATED)


def test_a_deflated_data_set_is_inflated_up_to_the_limit() -> None:
    data = deflated(ID + explicit(0x7FE00010, "OW", bytes(100_000)))
    scan(BytesSource(data), Limits(inflated_bytes=200_000))
    message = refused(data, Limits(inflated_bytes=99_999))
    assert message == "the deflated Data Set is larger than 99999 bytes"


def test_a_deflated_data_set_grows_up_to_the_limit() -> None:
    data = deflated(ID + explicit(0x7FE00010, "OW", bytes(70 * 2**20)))
    assert refused(data, Limits()) == "the deflated Data Set grows more than 200 times"


def test_a_data_set_that_makes_us_begin_again_and_again_is_refused() -> None:
    value = explicit(0x00100020, "LO", b"X1") + explicit(0x00080005, "CS", b"ISO_IR 192")
    value += explicit(0x00282000, "OB", bytes(100_000))
    for charset in (b"ISO_IR 100", b"ISO_IR 144") * 15:
        late = explicit(0x00100020, "LO", b"X1") + explicit(0x00080005, "CS", charset)
        value = explicit(0x00081140, "SQ", open_item(value) + SEQUENCE_END, UNDEFINED) + late
    message = refused(part10(value), Limits())
    assert message == "the elements are out of order at too many levels"


def test_items_that_are_mistaken_about_pixels_at_every_level_are_refused() -> None:
    value = implicit(0x00280106, b"\xff\xff") + implicit(0x00282000, bytes(100_000))
    for representation in (b"\1\0", b"\2\0") * 15:
        value = implicit(SEQUENCE, item(value)) + implicit(0x00280103, representation)
    message = refused(part10(value, uid=IMPLICIT), Limits())
    assert message == "the elements are out of order at too many levels"


class SparseSource:
    """An object of which only some stretches are not zeros; counts what is read of it."""

    def __init__(self, size: int, stretches: dict[int, bytes]) -> None:
        self.size = size
        self.stretches = stretches
        self.bytes_read = 0

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes as any source does."""
        length = max(0, min(length, self.size - offset))
        self.bytes_read += length
        data = bytearray(length)
        for start, stretch in self.stretches.items():
            if start < offset + length and offset < start + len(stretch):
                piece = stretch[max(0, offset - start) : offset + length - start]
                at = max(0, start - offset)
                data[at : at + len(piece)] = piece
        return bytes(data)


def test_native_pixel_data_of_4_gb_is_not_read() -> None:
    head = part10(
        image(2000, 1000, bits=16, frames=1000),
        explicit(0x7FE00010, "OW", length=4 * 10**9 - 2**20),
    )
    source = SparseSource(len(head) + 4 * 10**9 - 2**20, {0: head})
    tracemalloc.start()
    scanned = scan(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (scanned.frames.kind, scanned.frames.count) == (FrameKind.STRIDE, 999)
    assert source.bytes_read < 2**20
    assert peak < 4 * 2**20


def test_encapsulated_pixel_data_of_8_gb_is_scanned_by_its_item_headers() -> None:
    head = part10(
        image(512, 512, frames=2_000), explicit(0x7FE00010, "OB", item(), UNDEFINED), uid=JPEG
    )
    fragment = 4_000_000
    stretches = {0: head}
    for i in range(2_000):
        stretches[len(head) + i * (fragment + 8)] = struct.pack("<HHL", 0xFFFE, 0xE000, fragment)
    end = len(head) + 2_000 * (fragment + 8)
    stretches[end] = SEQUENCE_END
    source = IndexedSource(end + 8, stretches, fragment + 8, len(head))
    tracemalloc.start()
    scanned = scan(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scanned.frames.count == 2_000
    assert source.bytes_read < 16 * 2**20
    assert peak < 4 * 2**20


class IndexedSource(SparseSource):
    """Finds the stretches of one block without a look at all the others."""

    def __init__(self, size: int, stretches: dict[int, bytes], block: int, first: int) -> None:
        super().__init__(size, stretches)
        self.all, self.block, self.first = stretches, block, first

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes as any source does."""
        at = self.first + max(0, offset - self.first) // self.block * self.block
        self.stretches = {k: self.all[k] for k in (0, at, at + self.block) if k in self.all}
        return super().read(offset, length)


def test_a_number_of_fragments_is_no_reason_to_read_them() -> None:
    small = item() + item(b"ab") * 5000 + SEQUENCE_END
    data = part10(image(1, 2, frames=5000), explicit(0x7FE00010, "OB", small, UNDEFINED), uid=JPEG)
    source = SparseSource(len(data), {0: data})
    assert scan(source).frames.count == 5000
    assert source.bytes_read < 3 * len(data) + 2**17
