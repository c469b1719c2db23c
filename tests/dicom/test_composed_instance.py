"""Samples taken apart into metadata and Bulk Data, and put together again."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydicom import dcmread

from app.dicom.composed_instance import BulkPart, compose_instance, sop_uids
from app.dicom.limits import Limits
from app.dicom.pixel_length import check_pixel_length
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
from tests.samples import SAMPLES, UNREADABLE, sample_id

LIMITS = Limits()
NOTHING: Mapping[str, Any] = {}
PIXELS = "7FE00010"
OCTETS = "application/octet-stream"
BROKEN = "JPEG2000-embedded-sequence-delimiter.dcm"
"""Its frame says that it is of 3,722,445,056 columns."""
ODD = {"nested_priv_SQ.dcm", "meta_missing_tsyntax.dcm"}
"""They have values of odd length, which get a pad (PS3.5 §6.2)."""
REFUSED = {
    "MR_small_padded.dcm": "7FE00010 has 8320 bytes, where 64 Rows, 64 Columns, .* make 8192",
    "badVR.dcm": r"a value of 00280008 \(IS\) is no whole number",
}
"""Metadata that contradicts itself is not taken, though such files are."""
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


@pytest.mark.slow
@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize(
    "path",
    [path for path in SAMPLES if path.name not in {BROKEN, *ODD, *REFUSED, *UNREADABLE}],
    ids=sample_id,
)
def test_a_sample_is_the_same_when_it_is_put_together_again(  # S-17, X-09
    path: Path, form: str
) -> None:
    scanned = scan(BytesSource(path.read_bytes()))
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


@pytest.mark.parametrize("name", REFUSED)
def test_a_sample_that_contradicts_itself_is_refused_with_figures(name: str) -> None:
    (path,) = [path for path in SAMPLES if path.name == name]
    scanned = scan(BytesSource(path.read_bytes()))
    with pytest.raises(InvalidDataset, match=REFUSED[name]):
        compose(orjson.loads(scanned.metadata), bulk_of(path, scanned))


def pixels(**more: Any) -> dict[str, Any]:
    return {
        "00080016": {"vr": "UI", "Value": ["1.2.3"]},
        "00080018": {"vr": "UI", "Value": ["1.2.4"]},
        PIXELS: {"vr": "OB", "BulkDataURI": "1"},
        **more,
    }


def number(vr: str, value: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


JPEG = bytes.fromhex("ffd8ffc0000b080010001801011100ffda0008010100003f00aaffd9")
VIDEO, RLE = "video/mp4", "image/dicom-rle"


@pytest.mark.parametrize(
    ("dataset", "parts", "why"),
    [
        ([], [], "no JSON object"),
        ({"0008001a": {"vr": "UI"}, "0008001A": {"vr": "UI"}}, [], "stands twice"),
        (pixels(), [], "no part has the Content-Location of 7FE00010"),
        (pixels(), [part(JPEG, "image/jpeg"), part(b"x")], "different media types"),
        (pixels(), [part(b"", "image/jpeg")], "empty or over 4 GiB"),
        (pixels(), [part(b"pdf", "application/pdf")], "none of Pixel Data"),
        (pixels(), [part(b"mp4", VIDEO)] * 2, "one part with the whole video"),
        (pixels(**{"00280008": number("IS", 3)}), [part(JPEG, "image/jpeg")] * 2,
         "2 parts with .* says 3"),
        (pixels(**{"00280010": number("US", 17)}), [part(JPEG, "image/jpeg")], "Rows of the"),
        (pixels(**{"00282000": {"vr": "OB", "BulkDataURI": "1"}}), [part(b"1"), part(b"2")],
         "several parts have the Content-Location of 00282000"),
        ({"00880200": {"vr": "SQ", "Value": [pixels()]}}, [part(JPEG, "image/jpeg")],
         "in a Sequence is taken native only"),
        (pixels(), [BulkPart(BytesSource(b""), 0, 2**32 - 3)], "a value is over 4 GiB"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(
    dataset: Any, parts: Sequence[BulkPart], why: str
) -> None:
    with pytest.raises(InvalidDataset, match=why):
        compose(dataset, {"1": parts})


def test_the_attributes_of_the_frames_are_added_where_they_lack() -> None:  # S-19
    dataset = pixels(**{"00280101": number("US", 7), "00280002": {"vr": "US"}})
    made = dcmread(BytesIO(compose(dataset, {"1": [part(JPEG, "image/jpeg")] * 3})))
    assert (made.Rows, made.Columns, made.SamplesPerPixel) == (16, 24, 1)
    assert (made.BitsAllocated, made.BitsStored, made.NumberOfFrames) == (8, 7, 3)
    assert made.file_meta.MediaStorageSOPInstanceUID == "1.2.4"


def test_a_video_is_one_fragment_whatever_the_number_of_its_frames() -> None:
    dataset = pixels(**{"00280008": number("IS", 250)})
    made = scan(BytesSource(compose(dataset, {"1": [part(b"moovie", VIDEO)]})))
    assert made.transfer_syntax_uid == "1.2.840.10008.1.2.4.102"
    assert made.frames.count == 1


def test_an_extended_offset_table_is_made_anew() -> None:
    tables = {tag: {"vr": "OV", "InlineBinary": "AAAAAAAAAAA="} for tag in ("7FE00001", "7FE00002")}
    frames = [part(b"RLE0", RLE), part(b"RLE", RLE)]
    after = {"FFFCFFFC": {"vr": "OB", "InlineBinary": "AAA="}}
    made = compose(pixels(**tables, **after, **{"00280008": number("IS", 2)}), {"1": frames})
    read_again = dcmread(BytesIO(made))
    assert read_again[0x7FE00001].value == (0).to_bytes(8, "little") + (12).to_bytes(8, "little")
    assert read_again[0x7FE00002].value == 2 * (4).to_bytes(8, "little")
    assert our_frames(made, scan(BytesSource(made)).frames) == [b"RLE0", b"RLE\0"]
    assert 0xFFFCFFFC in read_again


def test_native_frames_may_come_in_parts() -> None:
    dataset = pixels(**{"00280100": number("US", 16)})
    made = dcmread(BytesIO(compose(dataset, {"1": [part(b"12"), part(b"345")]})))
    assert (made[0x7FE00010].VR, made.PixelData) == ("OW", b"12345\0")
    nested = {"00880200": {"vr": "SQ", "Value": [pixels()]}}
    made = dcmread(BytesIO(compose(nested, {"1": [part(b"1234")]})))
    assert made.IconImageSequence[0].PixelData == b"1234"


@pytest.mark.parametrize(
    ("dataset", "uids"),
    [
        ([], ("", "")),
        ({}, ("", "")),
        ({"00080016": 1, "00080018": {"vr": "UI", "Value": 3}}, ("", "")),
        ({"00080016": number("UI", "no UID"), "00080018": number("UI", 3)}, ("", "")),
        (pixels(), ("1.2.3", "1.2.4")),
    ],
)
def test_an_instance_is_named_as_far_as_it_can_be(dataset: Any, uids: tuple[str, str]) -> None:
    assert sop_uids(dataset) == uids


def image(
    frames: Any = 1, colours: str = "MONOCHROME2", more: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    found = pixels(
        **{
            "00280002": number("US", 3 if colours != "MONOCHROME2" else 1),
            "00280004": number("CS", colours),
            "00280008": number("IS", frames),
            "00280010": number("US", 3),
            "00280011": number("US", 6),
            "00280100": number("US", 8),
        }
        | dict(more)
    )
    return {key: value for key, value in found.items() if value}


ONE_BIT = {"00280100": number("US", 1)}
FLOATS = {"7FE00008": {"vr": "OF", "BulkDataURI": "1"}, PIXELS: None}


@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [
        (image(), [18]),
        (image(3), [54]),
        (image(3), [18, 18, 18]),
        (image("3"), [54]),
        (image(1, "RGB"), [54]),
        (image(1, "YBR_FULL_422"), [36]),
        (image(1, "YBR_PARTIAL_422"), [36]),
        (image(more=ONE_BIT), [3]),
        (image(more=ONE_BIT), [4]),  # made even
        (image(5, more=ONE_BIT), [12]),  # 90 bits
        (image(5, more=ONE_BIT), [15]),
        (image(more={"00280010": {"vr": "US"}}), [7]),  # nobody knows
        (image(more=FLOATS), [72]),
    ],
)
def test_native_pixels_are_as_long_as_their_description_says(
    dataset: dict[str, Any], sizes: list[int]
) -> None:
    composed = compose(dataset, {"1": [part(bytes(size)) for size in sizes]})
    tag = 0x7FE00008 if "7FE00008" in dataset else 0x7FE00010
    assert len(dcmread(BytesIO(composed))[tag].value) == sum(sizes) + sum(sizes) % 2


@pytest.mark.parametrize(
    ("dataset", "sizes", "why"),
    [
        (image(), [16], "7FE00010 has 16 bytes, where 3 Rows, 6 Columns, 1 Samples per Pixel, "
         "8 Bits Allocated and 1 frames make 18"),
        (image(), [20], "has 20 bytes"),
        (image(), [18, 18], "has 36 bytes"),
        (image(2), [18], "2 frames make 36"),
        (image(4), [36, 36], "2 parts have the Content-Location of 7FE00010, where 4 frames"),
        (image(1, "YBR_FULL_422"), [54], r"3 Samples per Pixel \(YBR_FULL_422\), .* make 36"),
        (image(more=FLOATS), [18], "7FE00008 has 18 bytes, where .* 32 Bits Allocated .* make 72"),
        (image(more={PIXELS: {"vr": "OW", "InlineBinary": "AAAA"}}), [], "has 4 bytes"),
    ],
)  # fmt: skip
def test_native_pixels_of_another_length_are_refused_with_figures(
    dataset: dict[str, Any], sizes: list[int], why: str
) -> None:
    with pytest.raises(InvalidDataset, match=why):
        compose(dataset, {"1": [part(bytes(size)) for size in sizes]})


def test_a_number_that_is_none_is_not_compared() -> None:
    check_pixel_length({"00280010": number("US", "many")}, 0x7FE00010, 7, 1)


def test_a_description_of_pixels_that_is_none_is_not_compared() -> None:
    item: dict[str, Any] = {"vr": "SQ", "Value": [{}]}
    for key, size in (("00280100", 2), ("00280010", 2), ("00280008", 18), ("00280004", 18)):
        assert compose(image(more={key: item}), {"1": [part(bytes(size))]})
