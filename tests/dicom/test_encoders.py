"""Frames encoded: every row of the table is exact, by our decoders and by others' (M-24)."""

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, SecondaryCaptureImageStorage

from app.dicom import encoders
from app.dicom.codecs import decode_frame
from app.dicom.codestreams import read_jpeg_2000_header, read_jpeg_header
from app.dicom.encoders import transcode_frame
from app.dicom.encodings import ROWS, can_encode, targets
from app.dicom.pixel_description import PixelDescription
from app.errors import InvalidDataset
from tests.factories import new_uid
from tests.pydicom_oracle import quiet

Array = NDArray[Any]
EXPLICIT, RLE, SYNTAX = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4."
COLOURS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")
LOSSLESS = [row.uid for row in ROWS if row.uid != f"{SYNTAX}50"]
DCMTK = {f"{SYNTAX}70": ["dcmdjpeg", "+cn"], f"{SYNTAX}80": ["dcmdjpls"]}
JUDGES = {
    RLE: ("pydicom", "pylibjpeg"),
    f"{SYNTAX}90": ("pylibjpeg", "gdcm"),
    f"{SYNTAX}201": ("pylibjpeg",),
    f"{SYNTAX}202": ("pylibjpeg",),
}


def describe(transfer_syntax_uid: str = EXPLICIT, **more: Any) -> PixelDescription:
    plain: dict[str, Any] = {
        "rows": 19,
        "columns": 23,
        "bits_allocated": 16,
        "bits_stored": 12,
        "photometric_interpretation": "MONOCHROME2",
        "transfer_syntax_uid": transfer_syntax_uid,
    }
    return PixelDescription(**(plain | more))


def noise(description: PixelDescription) -> Array:
    """Return an image that no codec can guess, of all values that Bits Stored allows."""
    size = (description.rows, description.columns)
    bits, samples = description.bits_stored, description.samples_per_pixel
    low = -(2 ** (bits - 1)) if description.pixel_representation else 0
    shape = size if samples == 1 else (*size, samples)
    kind = "i" if description.pixel_representation else "u"
    image = np.random.default_rng(bits).integers(low, low + 2**bits, shape)
    return image.astype(f"<{kind}{description.bits_allocated // 8}")


def every_kind(uid: str) -> list[PixelDescription]:
    """Return all descriptions that the table takes for a syntax."""
    kinds = itertools.product((8, 16, 32), (1, 2, 5, 8, 9, 10, 12, 15, 16, 20, 32), (0, 1), COLOURS)
    described = [
        describe(
            bits_allocated=allocated,
            bits_stored=stored,
            pixel_representation=sign,
            photometric_interpretation=colour,
            samples_per_pixel=3 if colour in {"RGB", "YBR_FULL"} else 1,
        )
        for allocated, stored, sign, colour in kinds
    ]
    return [description for description in described if can_encode(description, uid)]


def dataset_of(codestream: bytes, native: PixelDescription, uid: str, colour: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(uid)
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, new_uid()
    dataset.Rows, dataset.Columns = native.rows, native.columns
    dataset.SamplesPerPixel = native.samples_per_pixel
    dataset.BitsAllocated, dataset.BitsStored = native.bits_allocated, native.bits_stored
    dataset.HighBit = native.bits_stored - 1
    dataset.PixelRepresentation = native.pixel_representation
    dataset.PhotometricInterpretation = colour
    if native.samples_per_pixel > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def test_the_tables_know_the_same_syntaxes() -> None:
    assert set(encoders._ENCODERS) == {row.uid for row in ROWS}
    assert [syntax.uid for syntax in targets()] == [row.uid for row in ROWS]
    assert [syntax.uid for syntax in targets() if syntax.lossy] == [f"{SYNTAX}50"]
    assert all(syntax.encapsulated and syntax.decodable for syntax in targets())


def test_the_table_has_rows() -> None:
    assert {uid.rpartition(".")[2]: len(every_kind(uid)) for uid in LOSSLESS} == {
        "80": 77,
        "90": 91,
        "201": 91,
        "202": 91,
        "70": 77,
        "5": 168,
        "110": 39,
    }


@pytest.mark.parametrize("uid", LOSSLESS)
def test_every_row_is_exact(uid: str) -> None:  # M-24 W-19
    for native in every_kind(uid):
        image = noise(native)
        data, colour = transcode_frame(image.tobytes(), native, uid)
        encoded = replace(native, transfer_syntax_uid=uid, photometric_interpretation=colour)
        frame = decode_frame(data, encoded)
        assert frame.data == image.tobytes(), native
        assert frame.photometric_interpretation == native.photometric_interpretation


@pytest.mark.parametrize("uid", JUDGES)
def test_every_row_is_exact_for_pydicoms_decoders(uid: str) -> None:  # M-24 M-26
    for native, plugin in itertools.product(every_kind(uid), JUDGES[uid]):
        image = noise(native)
        dataset = dataset_of(*transcoded(image, native, uid))
        theirs = quiet(pixel_array)(dataset, raw=True, decoding_plugin=plugin)
        assert np.array_equal(theirs, image), (plugin, native)


def transcoded(
    image: Array, native: PixelDescription, uid: str
) -> tuple[bytes, PixelDescription, str, str]:
    data, colour = transcode_frame(image.tobytes(), native, uid)
    return data, native, uid, colour


@pytest.mark.parametrize("uid", DCMTK)
def test_every_row_is_exact_for_dcmtk(uid: str, tmp_path: Path) -> None:  # M-24 M-26
    if shutil.which(DCMTK[uid][0]) is None:
        pytest.skip("DCMTK is not installed")
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    for native in every_kind(uid):
        image = noise(native)
        dcmwrite(source, dataset_of(*transcoded(image, native, uid)), enforce_file_format=True)
        subprocess.run([*DCMTK[uid], source, target], check=True, capture_output=True)
        dataset = dcmread(target)
        assert dataset.BitsAllocated == native.bits_allocated
        theirs = np.frombuffer(dataset.PixelData[: image.nbytes], image.dtype)
        if native.samples_per_pixel == 3 and dataset.PlanarConfiguration:
            theirs = np.moveaxis(theirs.reshape(3, native.rows, native.columns), 0, -1)
        assert np.array_equal(theirs.reshape(image.shape), image), native


@pytest.mark.parametrize("uid", LOSSLESS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2), (257, 129)])
@pytest.mark.parametrize("colour", ["MONOCHROME2", "RGB"])
def test_any_size_is_exact(uid: str, size: tuple[int, int], colour: str) -> None:
    native = describe(
        rows=size[0],
        columns=size[1],
        samples_per_pixel=3 if colour == "RGB" else 1,
        photometric_interpretation=colour,
        bits_allocated=8,
        bits_stored=8,
    )
    image = noise(native)
    data, colour = transcode_frame(image.tobytes(), native, uid)
    encoded = replace(native, transfer_syntax_uid=uid, photometric_interpretation=colour)
    assert decode_frame(data, encoded).data == image.tobytes()


@pytest.mark.parametrize("uid", LOSSLESS)
def test_bits_beyond_bits_stored_stay(uid: str) -> None:
    """Old overlays are there. They are part of the cells, and so of what is exact."""
    for sign in (0, 1):
        native = describe(pixel_representation=sign)
        if not can_encode(native, uid):
            continue
        image = noise(replace(native, bits_stored=16))
        data, _ = transcode_frame(image.tobytes(), native, uid)
        frame = decode_frame(data, replace(native, transfer_syntax_uid=uid))
        assert frame.data == image.tobytes()


@pytest.mark.parametrize("uid", LOSSLESS[:-1])
def test_signs_that_were_not_extended_are(uid: str) -> None:
    """Some makers leave the bits above a negative sample zero; what it means is the same."""
    native = describe(pixel_representation=1)
    image = noise(native)
    cut = np.where(np.arange(image.shape[1]) % 2, image & 0xFFF, image)
    data, _ = transcode_frame(cut.tobytes(), native, uid)
    frame = decode_frame(data, replace(native, transfer_syntax_uid=uid))
    assert frame.data == image.tobytes()


def test_jpeg_xl_of_bytes_refuses_bits_beyond() -> None:
    native = describe(bits_stored=8)
    image = noise(replace(native, bits_stored=16))
    with pytest.raises(InvalidDataset, match="more than Bits Stored"):
        transcode_frame(image.tobytes(), native, f"{SYNTAX}110")


@pytest.mark.parametrize("uid", LOSSLESS)
def test_colours_by_plane_come_out_by_pixel(uid: str) -> None:  # M-26
    native = describe(
        samples_per_pixel=3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        bits_stored=8,
        planar_configuration=1,
    )
    image = noise(native)
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
    data, _ = transcode_frame(planes.tobytes(), native, uid)
    frame = decode_frame(data, replace(native, transfer_syntax_uid=uid))
    assert (frame.data, frame.planar_configuration) == (image.tobytes(), 0)


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(LOSSLESS, 2)))
def test_from_one_lossless_syntax_to_another(source: str, target: str) -> None:
    native = describe()
    image = noise(native)
    first, _ = transcode_frame(image.tobytes(), native, source)
    second, _ = transcode_frame(first, replace(native, transfer_syntax_uid=source), target)
    frame = decode_frame(second, replace(native, transfer_syntax_uid=target))
    assert frame.data == image.tobytes()


@pytest.mark.parametrize(
    ("more", "uids"),
    [
        ({"bits_allocated": 1, "bits_stored": 1}, ()),
        ({"bits_allocated": 32, "bits_stored": 32}, (RLE,)),
        ({"bits_allocated": 64, "bits_stored": 64}, ()),
        ({"bits_stored": 17}, ()),
        ({"samples_per_pixel": 4, "photometric_interpretation": "CMYK"}, ()),
        ({"samples_per_pixel": 3}, ()),
        ({"photometric_interpretation": "RGB"}, ()),
        ({"samples_per_pixel": 3, "photometric_interpretation": "YBR_FULL_422"}, ()),
        ({"pixel_representation": 1}, LOSSLESS[:-1]),  # JPEG XL has no sign
        ({"pixel_representation": 1, "photometric_interpretation": "PALETTE COLOR"}, ()),
        ({"transfer_syntax_uid": f"{SYNTAX}100"}, ()),  # a video
        ({"transfer_syntax_uid": "1.2.3"}, ()),
        ({}, LOSSLESS),  # of 12 bits, so without baseline JPEG
        ({"bits_allocated": 8, "bits_stored": 8}, [*LOSSLESS, f"{SYNTAX}50"]),
    ],
)
def test_what_is_encoded(more: dict[str, Any], uids: tuple[str, ...]) -> None:
    description = describe(**more)
    assert [row.uid for row in ROWS if can_encode(description, row.uid)] == list(uids)
    assert not can_encode(description, f"{SYNTAX}81")


@pytest.mark.parametrize("colour", ["YBR_RCT", "YBR_ICT", "YBR_FULL_422"])
def test_compressed_colours_count_as_what_they_decode_to(colour: str) -> None:
    described = describe(
        f"{SYNTAX}90",
        samples_per_pixel=3,
        photometric_interpretation=colour,
        bits_allocated=8,
        bits_stored=8,
    )
    assert can_encode(described, f"{SYNTAX}80")


def test_what_is_not_in_the_table_is_refused() -> None:
    native = describe(bits_allocated=32, bits_stored=32)
    with pytest.raises(InvalidDataset, match="cannot be encoded in"):
        transcode_frame(bytes(native.length), native, f"{SYNTAX}90")


def test_a_frame_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="length"):
        transcode_frame(b"12", describe(), f"{SYNTAX}90")


@pytest.mark.parametrize(
    "more", [{"rows": 65535, "columns": 65535}, {"samples_per_pixel": 60000}, {"rows": 0}]
)
def test_a_description_of_no_real_frame_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidDataset):
        transcode_frame(b"", describe(**more), f"{SYNTAX}80")


def test_an_encoder_that_fails_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("inner words")

    monkeypatch.setattr(imagecodecs, "jpegls_encode", fail)
    native = describe()
    with pytest.raises(InvalidDataset, match="cannot be encoded") as raised:
        transcode_frame(noise(native).tobytes(), native, f"{SYNTAX}80")
    assert "inner" not in str(raised.value)


def test_rgb_in_jpeg_2000_says_which_transform_it_has() -> None:  # M-26
    native = describe(
        samples_per_pixel=3, photometric_interpretation="RGB", bits_allocated=8, bits_stored=8
    )
    for arc in ("90", "201", "202"):
        data, colour = transcode_frame(noise(native).tobytes(), native, SYNTAX + arc)
        coding = data.index(b"\xff\x52")
        assert (data[coding + 8], colour) == (1, "YBR_RCT")
        plain = replace(native, photometric_interpretation="YBR_FULL")
        data, colour = transcode_frame(noise(native).tobytes(), plain, SYNTAX + arc)
        assert (data[data.index(b"\xff\x52") + 8], colour) == (0, "YBR_FULL")


@pytest.mark.parametrize("size", [70, 5000])
def test_rpcl_has_its_options(size: int) -> None:
    """Progression by resolution, lengths of tile-parts, a smallest image of 64 or less."""
    native = describe(rows=2, columns=size, bits_allocated=8, bits_stored=8)
    data, _ = transcode_frame(noise(native).tobytes(), native, f"{SYNTAX}202")
    coding = data.index(b"\xff\x52")
    assert data[coding + 5] == 2  # RPCL
    assert size >> data[coding + 9] <= 64
    assert b"\xff\x55" in data[: data.index(b"\xff\x93")]  # TLM


def test_signs_are_where_the_syntax_has_them() -> None:
    native = describe(pixel_representation=1)
    data, _ = transcode_frame(noise(native).tobytes(), native, f"{SYNTAX}90")
    header = read_jpeg_2000_header(data)
    assert (header.precision, header.signed) == (12, True)
    data, _ = transcode_frame(noise(native).tobytes(), native, f"{SYNTAX}70")
    assert read_jpeg_header(data).precision == 16  # two's complement of the whole cell


def test_rle_rows_are_packed_one_by_one() -> None:
    """A run does not go on in the next row (PS3.5 §G.3.1); segments are of even length."""
    native = describe(rows=2, columns=5, bits_allocated=8, bits_stored=8)
    data, _ = transcode_frame(bytes(10), native, RLE)
    assert data[64:] == b"\xfc\0\xfc\0"
    assert data[:12] == b"\1\0\0\0\x40\0\0\0\0\0\0\0"


@pytest.mark.parametrize("colour", ["RGB", "YBR_FULL", "MONOCHROME1"])
def test_baseline_jpeg_is_near_enough_and_says_what_it_is(colour: str) -> None:  # M-25 M-26
    native = describe(
        rows=64,
        columns=64,
        samples_per_pixel=1 if colour == "MONOCHROME1" else 3,
        photometric_interpretation=colour,
        bits_allocated=8,
        bits_stored=8,
    )
    image = np.full(noise(native).shape, 0, np.uint8)
    image[...] = (200, 30, 40)[: native.samples_per_pixel] if image.ndim == 3 else 77
    data, produced = transcode_frame(image.tobytes(), native, f"{SYNTAX}50")
    assert produced == (colour if image.ndim == 2 else "YBR_FULL_422")
    encoded = replace(
        native, transfer_syntax_uid=f"{SYNTAX}50", photometric_interpretation=produced
    )
    frame = decode_frame(data, encoded)
    theirs = np.frombuffer(frame.data, np.uint8).reshape(image.shape).astype(int)
    expected = (82, 104, 212) if colour == "RGB" else image
    assert np.abs(theirs - expected).max() <= 2
