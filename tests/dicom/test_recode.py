"""What is sent in Explicit VR Little Endian reads, in pydicom, as what is stored (M-03, M-24)."""

import os
import random
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from app.dicom.file_meta import read_file_meta
from app.dicom.limits import Limits
from app.dicom.recode import explicit_file_meta, to_explicit_little_endian
from app.dicom.scan import scan
from app.dicom.source import BytesSource, FileSource
from app.dicom.transfer_syntaxes import GE_PRIVATE, find
from app.errors import InvalidDataset
from tests.dataset_comparison import differences
from tests.dicom.test_scan_generated import datasets, write
from tests.factories import make_dataset, make_part10
from tests.pydicom_oracle import quiet, read
from tests.samples import SAMPLES, UNREADABLE, sample_id

"""By the scan, so they are never stored."""


WITHOUT_PIXELS = {
    "OT-PAL-8-face.dcm",
    "badVR.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
}
"""pydicom makes no array of theirs: something that it needs is not said."""


def syntax_of(path: Path) -> str:
    try:
        return read_file_meta(path.read_bytes()[: 2**16]).transfer_syntax_uid
    except InvalidDataset:
        return ""


def is_uncompressed(path: Path) -> bool:
    syntax = find(syntax_of(path))
    return syntax is not None and not syntax.encapsulated


def recode(data: bytes, transfer_syntax_uid: str, limits: Limits | None = None) -> bytes:
    pieces = to_explicit_little_endian(BytesSource(data), transfer_syntax_uid, limits or Limits())
    return b"".join(pieces)


UNCOMPRESSED = [path for path in SAMPLES if path.name not in UNREADABLE and is_uncompressed(path)]


def test_there_are_samples_of_every_encoding() -> None:
    assert len(UNCOMPRESSED) > 150
    assert {str(uid) for uid in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)} < {
        syntax_of(path) for path in UNCOMPRESSED
    }
    assert {str(uid) for uid in (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)} < {
        syntax_of(path) for path in UNCOMPRESSED
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", UNCOMPRESSED, ids=sample_id)
def test_every_element_of_a_sample_stays_what_it_is(path: Path) -> None:  # W-18
    data = path.read_bytes()
    copy = read(recode(data, syntax_of(path)))
    assert copy.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert copy.original_encoding == (False, True)
    assert differences(read(data), copy) == []


@pytest.mark.parametrize(
    "path", [path for path in UNCOMPRESSED if path.name not in WITHOUT_PIXELS], ids=sample_id
)
def test_pixels_of_a_sample_stay_what_they_are(path: Path) -> None:  # W-19
    source = read(path)
    copy = read(recode(path.read_bytes(), syntax_of(path)))
    if "PixelData" in source:
        assert np.array_equal(
            quiet(lambda: copy.pixel_array)(), quiet(lambda: source.pixel_array)()
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "transfer_syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
    ids=lambda uid: uid.name,
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_generated_data_set_stays_what_it_is(transfer_syntax: str, data: st.DataObject) -> None:
    written = write(
        data.draw(datasets(explicit=transfer_syntax != ImplicitVRLittleEndian)), transfer_syntax
    )
    assert differences(read(written), read(recode(written, transfer_syntax))) == []


def damage(data: bytes, start: int, chance: random.Random) -> bytes:
    """Return data with some bytes changed, put in or taken out from `start` on."""
    damaged = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(start, len(damaged))
        mark = b"\xfe\xff" + chance.choice((b"\x0d\xe0", b"\xdd\xe0", b"\0\xe0")) + bytes(4)
        new = chance.choice((bytes(1), b"\xff" * 4, chance.randbytes(1), chance.randbytes(2), mark))
        damaged[at : at + chance.choice((len(new), len(new), len(new), 0))] = new
    return bytes(damaged)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_what_the_scan_lets_in_can_be_sent_and_scans_the_same(seed: int) -> None:
    """The scan and the rewriting forgive the same damage in the same way."""
    chance = random.Random(seed)
    small = [path for path in UNCOMPRESSED if path.stat().st_size < 50_000]
    sent = 0
    for _ in range(60):
        stored = chance.choice(small).read_bytes()
        data = damage(stored, read_file_meta(stored[: 2**16]).dataset_offset, chance)
        try:
            scanned = scan(BytesSource(data))
        except InvalidDataset:
            continue
        uid = scanned.transfer_syntax_uid
        copied = scan(BytesSource(recode(data, uid)))
        different = {
            tag
            for tag in scanned.fragments.keys() | copied.fragments.keys()
            if scanned.fragments.get(tag) != copied.fragments.get(tag)
            and not (uid == ExplicitVRBigEndian and b"InlineBinary" in scanned.fragments[tag])
        }
        assert different == set()
        sent += 1
    assert sent > 10


def test_preamble_and_file_meta_information_stay_but_for_the_syntax() -> None:  # M-26
    dataset = make_dataset()
    data = bytearray(make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian))
    data[:4] = b"II*\0"
    copy = recode(bytes(data), ImplicitVRLittleEndian)
    meta, before = read(copy).file_meta, read(bytes(data)).file_meta
    assert copy[:132] == data[:132]
    assert meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert meta.FileMetaInformationGroupLength == read_file_meta(copy).dataset_offset - 144
    for tag in before.keys() - {0x00020000, 0x00020010}:
        assert meta[tag] == before[tag]


def test_what_came_without_file_meta_information_gets_what_it_needs() -> None:
    buffer = BytesIO()
    dataset = make_dataset()
    dcmwrite(buffer, dataset, implicit_vr=True, little_endian=True)
    copy = recode(buffer.getvalue(), ImplicitVRLittleEndian)
    assert copy[:132] == bytes(128) + b"DICM"
    assert differences(dataset, read(copy)) == []


def test_a_file_meta_information_in_implicit_vr_becomes_explicit() -> None:
    group = b"\x02\x00\x02\x00\x06\x00\x00\x001.2.3\0" + b"\x02\x00\x99\x00\x02\x00\x00\x00ab"
    head = bytes(128) + b"DICM" + group
    meta = read(explicit_file_meta(head)).file_meta
    assert meta.MediaStorageSOPClassUID == "1.2.3"
    assert meta[0x00020099].value == b"ab"


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.70", "1.2.3", ""])
def test_what_is_not_uncompressed_is_refused_before_the_first_byte(uid: str) -> None:
    with pytest.raises(InvalidDataset, match="uncompressed"):
        to_explicit_little_endian(BytesSource(make_part10()), uid, Limits())


def test_pixels_of_the_private_ge_syntax_are_turned_alone() -> None:
    dataset = make_dataset(LargestImagePixelValue=258)
    turned = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    data = make_part10(dataset, transfer_syntax=ImplicitVRLittleEndian, PixelData=turned)
    data = data.replace(dataset.PixelData, turned)
    copy = read(recode(data, GE_PRIVATE))
    assert copy.PixelData == dataset.PixelData
    assert copy.LargestImagePixelValue == 258


def test_pieces_are_large_but_no_larger_than_a_mebibyte() -> None:
    data = make_part10(
        transfer_syntax=ImplicitVRLittleEndian, Rows=2000, Columns=1000, BitsAllocated=16
    )
    pieces = list(to_explicit_little_endian(BytesSource(data), ImplicitVRLittleEndian, Limits()))
    assert max(map(len, pieces)) <= 2**20
    assert len(pieces) <= 6


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_memory_does_not_grow_with_the_instance(tmp_path: Path, transfer_syntax: str) -> None:
    head = make_part10(make_dataset(Rows=None, PixelData=None), transfer_syntax=transfer_syntax)
    size = 80 * 2**20
    little = transfer_syntax == ImplicitVRLittleEndian
    tag = b"\xe0\x7f\x10\x00" if little else b"\x7f\xe0\x00\x10OW\0\0"
    path = tmp_path / "large"
    path.write_bytes(head + tag + size.to_bytes(4, "little" if little else "big"))
    start = path.stat().st_size
    os.truncate(path, start + size)  # a sparse file
    descriptor = os.open(path, os.O_RDONLY)
    source = FileSource(descriptor, start + size)
    tracemalloc.start()
    try:
        sent = sum(map(len, to_explicit_little_endian(source, transfer_syntax, Limits())))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.close(descriptor)
    assert sent > size
    assert peak < 16 * 2**20


def test_a_deflated_bomb_is_stopped() -> None:
    data = make_part10(
        transfer_syntax=DeflatedExplicitVRLittleEndian, Rows=4000, Columns=1000, BitsAllocated=16
    )
    pieces = to_explicit_little_endian(
        BytesSource(data), DeflatedExplicitVRLittleEndian, Limits(inflated_bytes=2**20)
    )
    with pytest.raises(InvalidDataset, match="larger"):
        for _ in pieces:
            pass
