"""Instances in another encapsulated Transfer Syntax, held against what pydicom reads in them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from app.dicom.codecs import decode_frame
from app.dicom.decoded_instance import NativePixels
from app.dicom.encoded_instance import EncodedInstance
from app.dicom.encoders import transcode_frame
from app.dicom.limits import Limits
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.source import BytesSource
from app.errors import InvalidDataset
from tests.dataset_comparison import differences
from tests.factories import make_dataset, make_part10
from tests.pydicom_oracle import read

PLAIN = "1.2.840.10008.1.2.1.98"


def describe(dataset: Dataset, uid: str) -> PixelDescription:
    return PixelDescription(
        rows=dataset.Rows,
        columns=dataset.Columns,
        samples_per_pixel=dataset.SamplesPerPixel,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        pixel_representation=dataset.PixelRepresentation,
        photometric_interpretation=dataset.PhotometricInterpretation,
        planar_configuration=dataset.get("PlanarConfiguration", 0),
        transfer_syntax_uid=uid,
    )


def encoded(
    data: bytes, native: Dataset, uid: str, decode_icon: Any = None, count: int | None = None
) -> bytes:
    """Return the encoded Instance; `native` has the pixels of `data`."""
    description = describe(native, read(data).file_meta.TransferSyntaxUID)
    plain = replace(description, transfer_syntax_uid=ExplicitVRLittleEndian)
    frames = int(native.get("NumberOfFrames") or 1)
    step = description.length
    streams = [
        transcode_frame(native.PixelData[n * step : (n + 1) * step], plain, uid)
        for n in range(frames)
    ]
    pixels = NativePixels(description, count or frames, streams[0][1], 0)
    instance = EncodedInstance(BytesSource(data), pixels, uid, decode_icon, Limits())
    pieces = [*instance.header()]
    pieces += [instance.frame(*stream) for stream in streams]
    return b"".join([*pieces, *instance.trailer()])


def pixels_of(copy: Dataset, like: Dataset) -> bytes:
    """Return the decoded frames, one after the other."""
    description = describe(copy, copy.file_meta.TransferSyntaxUID)
    count = int(like.get("NumberOfFrames") or 1)
    streams = generate_frames(copy.PixelData, number_of_frames=count)
    return b"".join(decode_frame(stream, description).data for stream in streams)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, PLAIN]
)
@pytest.mark.parametrize("uid", [JPEG2000Lossless, RLELossless])
def test_only_what_describes_the_encoding_changes(syntax: str, uid: str) -> None:  # M-24 M-26
    dataset = make_dataset(NumberOfFrames=3, PixelRepresentation=1, DataSetTrailingPadding=b"\0\0")
    copy = read(encoded(make_part10(dataset, transfer_syntax=syntax), dataset, uid))
    assert copy.file_meta.TransferSyntaxUID == uid
    assert (copy["PixelData"].VR, copy["PixelData"].is_undefined_length) == ("OB", True)
    assert pixels_of(copy, dataset) == dataset.PixelData
    for one in (copy, expected := read(make_part10(dataset))):
        del one.PixelData
    assert differences(expected, copy) == []


def test_rgb_by_plane_becomes_what_it_says() -> None:  # M-26
    dataset = make_dataset(
        Rows=4, Columns=6, SamplesPerPixel=3, BitsAllocated=8, BitsStored=8, HighBit=7,
        PhotometricInterpretation="RGB", PlanarConfiguration=1,
    )  # fmt: skip
    copy = read(encoded(make_part10(dataset), dataset, JPEG2000Lossless))
    assert (copy.PhotometricInterpretation, copy.PlanarConfiguration) == ("YBR_RCT", 0)
    planes = np.frombuffer(dataset.PixelData, np.uint8).reshape(3, 4, 6)
    assert pixels_of(copy, dataset) == np.moveaxis(planes, 0, -1).tobytes()


def with_icon(syntax: str) -> tuple[Dataset, bytes]:
    item = make_dataset(Rows=2, Columns=2, BitsAllocated=8, BitsStored=8, HighBit=7)
    for tag in [tag for tag in item.keys() if tag.group != 0x28 and tag != 0x7FE00010]:  # noqa: SIM118
        del item[tag]
    item["PixelData"].VR = "OB"
    if syntax == PLAIN:
        item.PixelData = encapsulate([b"\4\3\2\1"])
        item["PixelData"].is_undefined_length = True
    dataset = make_dataset(IconImageSequence=[item])
    return dataset, make_part10(dataset, transfer_syntax=syntax)


def test_a_native_icon_stays() -> None:
    dataset, data = with_icon(ExplicitVRLittleEndian)
    copy = read(encoded(data, dataset, RLELossless))
    assert copy.IconImageSequence == read(data).IconImageSequence


def test_a_compressed_icon_is_decoded_since_it_was_in_another_syntax() -> None:
    dataset, data = with_icon(PLAIN)

    def decode(codestream: bytes, _: PixelDescription) -> DecodedFrame:
        return DecodedFrame(codestream[::-1], "MONOCHROME2")

    copy = read(encoded(data, dataset, RLELossless, decode))
    assert copy.IconImageSequence[0].PixelData == b"\1\2\3\4"
    assert not copy.IconImageSequence[0]["PixelData"].is_undefined_length


def test_fewer_frames_than_promised_are_an_error() -> None:
    dataset = make_dataset(NumberOfFrames=2)
    with pytest.raises(InvalidDataset, match="as many frames"):
        encoded(make_part10(dataset), dataset, RLELossless, count=3)


def test_frames_of_different_kinds_are_an_error() -> None:
    dataset = make_dataset()
    pixels = NativePixels(describe(dataset, ExplicitVRLittleEndian), 1, "RGB", 0)
    source = BytesSource(make_part10(dataset))
    instance = EncodedInstance(source, pixels, RLELossless, lambda *_: None, Limits())
    with pytest.raises(InvalidDataset, match="differ"):
        instance.frame(b"", "YBR_FULL")


def test_without_pixel_data_nothing_can_be_encoded() -> None:
    dataset = make_dataset()
    pixels = NativePixels(describe(dataset, ExplicitVRLittleEndian), 1, "MONOCHROME2", 0)
    source = BytesSource(make_part10(make_dataset(PixelData=None)))
    instance = EncodedInstance(source, pixels, RLELossless, lambda *_: None, Limits())
    with pytest.raises(InvalidDataset, match="no Pixel Data"):
        list(instance.header())


def test_an_unknown_source_is_refused() -> None:
    pixels = NativePixels(describe(make_dataset(), "1.2.3"), 1, "MONOCHROME2", 0)
    with pytest.raises(InvalidDataset, match="not known"):
        EncodedInstance(BytesSource(b""), pixels, RLELossless, lambda *_: None, Limits())
