"""A compressed Instance, decoded, reads in pydicom as pydicom decodes it (M-03, M-24, M-26)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from app.dicom.codecs import decode_frame
from app.dicom.decoded_instance import DecodedInstance, NativePixels
from app.dicom.limits import Limits
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.scan import scan
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import find
from app.errors import InvalidDataset, TooLarge
from tests.dataset_comparison import differences
from tests.factories import make_dataset, make_part10
from tests.pydicom_oracle import our_frames, quiet, read
from tests.samples import SAMPLES, sample_id

PLAIN = "1.2.840.10008.1.2.1.98"
UNDECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}
"""Made to test delimiters: its codestream has one in the middle of its header."""
WITHOUT_ORACLE = {"JPEG-lossy.dcm", "JPGExtended.dcm"}
"""12-bit JPEG, which no decoder of pydicom's here can do; `test_codecs` judges it."""
CHANGED = ("(0028,0004)", "(0028,0006)", "(7FE0,0010)")


def is_decodable(path: Path) -> bool:
    dataset = read(path)
    syntax = find(dataset.file_meta.get("TransferSyntaxUID", ""))
    return bool(
        syntax
        and syntax.encapsulated
        and syntax.decodable
        and "PixelData" in dataset
        and path.name not in UNDECODABLE
    )


COMPRESSED = [path for path in SAMPLES if is_decodable(path)]


def describe(dataset: Dataset) -> PixelDescription:
    return PixelDescription(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.SamplesPerPixel,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        pixel_representation=dataset.PixelRepresentation,
        photometric_interpretation=dataset.PhotometricInterpretation,
        planar_configuration=dataset.get("PlanarConfiguration", 0),
        transfer_syntax_uid=dataset.file_meta.TransferSyntaxUID,
    )


def no_icon(codestream: bytes, description: PixelDescription) -> DecodedFrame | None:
    raise AssertionError("there is no icon to decode")


def open_instance(
    data: bytes, frames: list[DecodedFrame], decode_icon: Any = no_icon, **more: Any
) -> DecodedInstance:
    pixels = NativePixels(
        describe(read(data)),
        more.pop("number_of_frames", len(frames)),
        frames[0].photometric_interpretation,
        frames[0].planar_configuration,
    )
    return DecodedInstance(BytesSource(data), pixels, decode_icon, Limits(**more))


def decoded(data: bytes, frames: list[DecodedFrame] | None = None, **more: Any) -> bytes:
    """Return the decoded Instance; frames are found by the scan and decoded here."""
    if frames is None:
        description = describe(read(data))
        stored = our_frames(data, scan(BytesSource(data)).frames)
        frames = [decode_frame(codestream, description) for codestream in stored]
    instance = open_instance(data, frames, **more)
    pieces = [*instance.header(), *map(instance.frame, frames), *instance.trailer()]
    return b"".join(pieces)


def test_there_are_samples_of_several_codecs() -> None:
    assert len(COMPRESSED) > 50


@pytest.mark.slow
@pytest.mark.parametrize("path", COMPRESSED, ids=sample_id)
def test_a_sample_is_decoded_as_pydicom_decodes_it(path: Path) -> None:  # W-19
    data = path.read_bytes()
    source, copy = read(path), read(decoded(data))
    assert copy.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    if "too_short" not in path.name:  # pydicom drops its Data Set, for a delimiter that lacks
        found = differences(source, copy)
        assert [line for line in found if not line.startswith(CHANGED)] == []
    if path.name in WITHOUT_ORACLE or "too_short" in path.name:
        return
    uid = source.file_meta.TransferSyntaxUID
    expected, meta = quiet(get_decoder(uid).as_array)(source, raw=True)
    actual, _ = get_decoder(ExplicitVRLittleEndian).as_array(copy, raw=True)
    assert np.array_equal(actual, expected)
    colour = meta["photometric_interpretation"]
    subsampled = colour == "YBR_FULL_422"
    assert copy.PhotometricInterpretation == ("YBR_FULL" if subsampled else colour)
    assert copy.get("PlanarConfiguration") == (0 if source.SamplesPerPixel > 1 else None)


def native(frame: bytes, colour: str = "MONOCHROME2") -> DecodedFrame:
    return DecodedFrame(frame, colour)


def halves(dataset: Dataset, count: int) -> list[DecodedFrame]:
    length = len(dataset.PixelData) // count
    return [native(dataset.PixelData[n * length : (n + 1) * length]) for n in range(count)]


def test_elements_around_the_pixels_stay() -> None:
    dataset = make_dataset(NumberOfFrames=3, DataSetTrailingPadding=b"\0\0")
    copy = read(decoded(make_part10(dataset, transfer_syntax=PLAIN), halves(dataset, 3)))
    assert differences(read(make_part10(dataset)), copy) == []
    assert copy["PixelData"].VR == "OW"


def test_offset_tables_go() -> None:
    dataset = make_dataset(NumberOfFrames=2)
    frames = halves(dataset, 2)
    data = make_part10(dataset, transfer_syntax=PLAIN)
    stored = read(data)
    value, offsets, lengths = encapsulate_extended([frame.data for frame in frames])
    stored.PixelData, stored.ExtendedOffsetTable = value, offsets
    stored.ExtendedOffsetTableLengths = lengths
    copy = read(
        decoded(make_part10(stored, transfer_syntax=PLAIN, frames=[f.data for f in frames]))
    )
    assert "ExtendedOffsetTable" not in copy
    assert "ExtendedOffsetTableLengths" not in copy
    assert copy.PixelData == dataset.PixelData


def test_an_odd_value_is_made_even() -> None:
    dataset = make_dataset(Rows=3, Columns=3, BitsAllocated=8, BitsStored=8, HighBit=7)
    frame = dataset.PixelData[:9]
    data = make_part10(dataset, transfer_syntax=PLAIN, frames=[frame + b"\0"])
    copy = read(decoded(data, [native(frame)]))
    assert copy.PixelData == frame + b"\0"
    assert copy["PixelData"].VR == "OB"


@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (7, 7), (4, 4)])
def test_frames_of_one_bit_pixels_follow_each_other_without_padding(
    rows: int, columns: int
) -> None:
    dataset = make_dataset(
        Rows=rows, Columns=columns, NumberOfFrames=3, BitsAllocated=1, BitsStored=1, HighBit=0
    )
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    size = rows * columns
    frames = [
        np.packbits(bits[n * size : (n + 1) * size], bitorder="little").tobytes() for n in range(3)
    ]
    data = make_part10(dataset, transfer_syntax=PLAIN, frames=[f + b"\0" for f in frames])
    copy = read(decoded(data, [native(frame) for frame in frames]))
    assert copy.PixelData == dataset.PixelData


def test_what_colour_comes_out_is_said() -> None:
    dataset = make_dataset(
        Rows=2, Columns=2, SamplesPerPixel=3, BitsAllocated=8, BitsStored=8, HighBit=7,
        PhotometricInterpretation="YBR_RCT",
    )  # fmt: skip
    assert "PlanarConfiguration" not in dataset
    frame = native(dataset.PixelData, "RGB")
    copy = read(decoded(make_part10(dataset, transfer_syntax=PLAIN), [frame]))
    assert copy.PhotometricInterpretation == "RGB"
    assert copy.PlanarConfiguration == 0


def icon(**keywords: Any) -> Dataset:
    item = make_dataset(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7, **keywords)
    for tag in [tag for tag in item.keys() if tag.group != 0x28 and tag != 0x7FE00010]:  # noqa: SIM118
        del item[tag]
    return item


def with_icon(item: Dataset, *, compressed: bool = True) -> tuple[Dataset, bytes]:
    dataset = make_dataset(IconImageSequence=[item])
    pixels = item.PixelData
    if compressed:
        item.PixelData = encapsulate([pixels[:2], pixels[2:]])
        item["PixelData"].is_undefined_length = True
    item["PixelData"].VR = "OB"
    data = make_part10(dataset, transfer_syntax=PLAIN)
    item.PixelData = pixels
    item["PixelData"].is_undefined_length = False
    return dataset, data


def test_an_icon_is_decoded_too() -> None:
    dataset, data = with_icon(icon())
    asked: list[tuple[bytes, PixelDescription]] = []

    def decode(codestream: bytes, description: PixelDescription) -> DecodedFrame:
        asked.append((codestream, description))
        return DecodedFrame(codestream[::-1], "MONOCHROME1")

    copy = read(decoded(data, halves(dataset, 1), decode_icon=decode))
    ((codestream, description),) = asked
    pixels = dataset.IconImageSequence[0].PixelData
    assert codestream == pixels
    assert (description.rows, description.bits_allocated) == (2, 8)
    assert copy.IconImageSequence[0].PixelData == pixels[::-1]
    assert copy.IconImageSequence[0].PhotometricInterpretation == "MONOCHROME1"
    assert not copy.IconImageSequence[0]["PixelData"].is_undefined_length
    assert copy.PixelData == dataset.PixelData


def test_an_icon_that_cannot_be_decoded_stays_as_it_is() -> None:
    dataset, data = with_icon(icon())
    copy = read(decoded(data, halves(dataset, 1), decode_icon=lambda *_: None))
    assert copy.IconImageSequence[0]["PixelData"].is_undefined_length
    assert copy.IconImageSequence[0].PixelData == read(data).IconImageSequence[0].PixelData


@pytest.mark.parametrize("item", [icon(), icon(PixelData=None)], ids=["native", "without pixels"])
def test_an_icon_that_is_not_compressed_needs_no_decoder(item: Dataset) -> None:
    if "PixelData" in item:
        dataset, data = with_icon(item, compressed=False)
    else:
        dataset = make_dataset(IconImageSequence=[item])
        data = make_part10(dataset, transfer_syntax=PLAIN)
    copy = read(decoded(data, halves(dataset, 1)))
    assert differences(read(make_part10(dataset)), copy) == []


def test_an_icon_of_any_size_is_not_read_into_memory() -> None:
    dataset, data = with_icon(icon())
    with pytest.raises(InvalidDataset, match="icon"):
        decoded(data, halves(dataset, 1), header_bytes=3)


@pytest.mark.parametrize(
    "other",
    [native(b"\0" * 511), native(b"\0" * 512, "RGB"), DecodedFrame(b"\0" * 512, "MONOCHROME2", 1)],
)
def test_frames_that_differ_in_kind_are_no_instance(other: DecodedFrame) -> None:
    dataset = make_dataset()
    instance = open_instance(make_part10(dataset, transfer_syntax=PLAIN), halves(dataset, 1))
    with pytest.raises(InvalidDataset, match="differ"):
        instance.frame(other)


@pytest.mark.parametrize("sent", [1, 3])
def test_as_many_frames_are_sent_as_were_promised(sent: int) -> None:
    dataset = make_dataset(NumberOfFrames=2)
    frames = halves(dataset, 2)
    instance = open_instance(make_part10(dataset, transfer_syntax=PLAIN), frames)
    list(instance.header())
    for _ in range(sent):
        instance.frame(frames[0])
    with pytest.raises(InvalidDataset, match="as many"):
        list(instance.trailer())


def test_what_no_element_can_hold_is_too_large() -> None:
    dataset = make_dataset(Rows=1000, Columns=1000)
    data = make_part10(dataset, transfer_syntax=PLAIN)
    with pytest.raises(TooLarge):
        open_instance(data, halves(dataset, 1), number_of_frames=3000)


@pytest.mark.parametrize("uid", [str(ExplicitVRLittleEndian), "1.2.3"])
def test_what_is_not_encapsulated_is_not_decoded(uid: str) -> None:
    data = make_part10(make_dataset())
    description = describe(read(data))
    other = PixelDescription(
        rows=1, columns=1, bits_allocated=8, bits_stored=8, photometric_interpretation="RGB",
        transfer_syntax_uid=uid,
    )  # fmt: skip
    assert description.transfer_syntax_uid == ExplicitVRLittleEndian
    with pytest.raises(InvalidDataset, match="encapsulated"):
        DecodedInstance(BytesSource(data), NativePixels(other, 1, "RGB", 0), no_icon, Limits())


def test_an_instance_whose_pixels_are_native_against_its_syntax_is_not_decoded() -> None:
    dataset = make_dataset()
    data = make_part10(dataset).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    assert read(data).file_meta.TransferSyntaxUID == RLELossless
    instance = open_instance(data, halves(dataset, 1))
    with pytest.raises(InvalidDataset, match="no encapsulated"):
        list(instance.header())
