"""Samples taken apart into metadata and Bulk Data, and put together again."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import dcmread

from app.dicom.composed_instance import BulkPart, FindParts, compose_instance
from app.dicom.limits import Limits
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, find
from app.dicom.xml_model import write_xml
from app.dicom.xml_reader import read_xml
from app.errors import InvalidDataset
from tests.conformance.oracle import little_endian
from tests.dicom.test_xml_model import without_controls
from tests.pydicom_oracle import element_at, our_frames, quiet, read
from tests.samples import SAMPLES, sample_id

LIMITS = Limits()
PIXELS = "7FE00010"
OCTETS = "application/octet-stream"
NOTHING: FindParts = lambda _: ()  # noqa: E731
BROKEN = "JPEG2000-embedded-sequence-delimiter.dcm"
"""Its frame says that it is of 3,722,445,056 columns."""
JP2_FILE = "GDCMJ2K_TextGBR.dcm"
"""Its frame is a JP2 file, which no frame may be (PS3.5 §8.2.4)."""


def part(data: bytes, media_type: str = OCTETS, syntax: str | None = None) -> BulkPart:
    """Return a part that does not begin where its source does."""
    return BulkPart(BytesSource(b"other" + data + b"more"), 5, len(data), media_type, syntax)


@quiet
def bulk_of(path: Path, scanned: ScannedInstance) -> Mapping[str, Sequence[BulkPart]]:
    """Return the Bulk Data of a sample by its BulkDataURI, frames as parts of their media type."""
    data, dataset = path.read_bytes(), read(path)
    syntax = find(scanned.transfer_syntax_uid)
    assert syntax is not None
    found: dict[str, Sequence[BulkPart]] = {}
    for place, bulk in scanned.bulk_values.items():
        if place == PIXELS and syntax.encapsulated:
            frames = our_frames(data, scanned.frames)
            found[f"bulkdata/{place}"] = [
                part(one, syntax.media_type, syntax.uid) for one in frames
            ]
        else:
            value = little_endian(element_at(dataset, place).value, bulk.vr, dataset)
            found[f"bulkdata/{place}"] = [part(value)]
    return found


def compose(dataset: Any, bulk: Mapping[str, Sequence[BulkPart]]) -> bytes:
    return b"".join(compose_instance(dataset, lambda uri: bulk.get(uri, ()), LIMITS))


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("path", [path for path in SAMPLES if path.name != BROKEN], ids=sample_id)
def test_a_sample_is_the_same_when_it_is_put_together_again(  # S-17, X-09
    path: Path, form: str
) -> None:
    try:
        scanned = scan(BytesSource(path.read_bytes()))
    except InvalidDataset:
        pytest.skip("no Data Set")
    dataset = orjson.loads(scanned.metadata)
    if form == "xml":
        dataset = read_xml(write_xml(dataset), LIMITS)
    bulk = bulk_of(path, scanned)
    made = compose(dataset, bulk)
    again = scan(BytesSource(made))
    syntax = find(scanned.transfer_syntax_uid)
    assert syntax is not None
    encapsulated = syntax.encapsulated and f"bulkdata/{PIXELS}" in bulk
    if PIXELS in dataset:  # in some samples it is not the VR that it has to be (PS3.5 §A.4, §8.1.2)
        deep = "00280100" in dataset and dataset["00280100"]["Value"][0] > 8
        dataset[PIXELS]["vr"] = "OB" if encapsulated else "OW" if deep else dataset[PIXELS]["vr"]
    assert without_controls(orjson.loads(again.metadata)) == without_controls(dataset)
    assert again.transfer_syntax_uid == (syntax.uid if encapsulated else EXPLICIT_LITTLE_ENDIAN)
    if encapsulated:
        frames = our_frames(path.read_bytes(), scanned.frames)
        if path.name == JP2_FILE:
            frames = [one[one.index(b"\xff\x4f\xff\x51") :] for one in frames]
        assert our_frames(made, again.frames) == frames
    else:
        for place, bytes_of in again.bulk_values.items():
            (kept,) = bulk[f"bulkdata/{place}"]
            value = made[bytes_of.offset : bytes_of.offset + bytes_of.length]
            assert value[: kept.size] == b"".join(kept.blocks())
    assert compose(dataset, bulk) == made
    assert dcmread(BytesIO(made)).file_meta.TransferSyntaxUID == again.transfer_syntax_uid
