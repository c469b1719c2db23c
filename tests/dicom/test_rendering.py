"""Pictures held against those that pydicom makes, and DCMTK where it is installed."""

import shutil
import subprocess
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.dicom.appearance import Appearance, Modality
from app.dicom.lookup_tables import LookupTable
from app.dicom.overlays import Overlay
from app.dicom.pictures import FORMATS, Wanted
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.presentation import Presentation
from app.dicom.rendering import draw_frame, render_frame
from app.dicom.scan import scan
from app.dicom.scanned import ScannedInstance
from app.dicom.source import BytesSource
from app.dicom.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, find
from app.dicom.viewport import Region, Viewport
from app.dicom.voi import Window
from app.errors import InvalidDataset
from tests.pydicom_oracle import read
from tests.rendering_oracle import Sample, colours_of, grey_of, open_sample
from tests.samples import SAMPLES, UNREADABLE, sample_id

LIMIT = 2**30
NOT_DECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}
BEYOND_PYDICOM = {
    "JPEG-lossy.dcm",  # twelve bits: no decoder that pydicom may use
    "JPGExtended.dcm",
    "OT-PAL-8-face.dcm",  # names no Transfer Syntax
    "badVR.dcm",  # Number of Frames is no number
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # its last delimiter is missing
}
SWAPPED_OTHERWISE = {
    "rtdose_expb.dcm",  # big endian: DCMTK swaps halves of words of 32 bits
    "rtdose_expb_1frame.dcm",
}
PALETTE_SWAPPED = {"OBXXXX1A_expb.dcm", "OBXXXX1A_expb_2frame.dcm"}
"""Big endian: pydicom leaves the words of the palettes as they are, DCMTK turns them as we do."""
NOT_BY_DCMTK = {
    "SC_rgb_32bit.dcm",
    "SC_rgb_32bit_2frame.dcm",
    "SC_rgb_expb_32bit.dcm",
    "SC_rgb_expb_32bit_2frame.dcm",
    "eCT_Supplemental.dcm",
    "gdcm-US-ALOKA-16.dcm",
    "gdcm-US-ALOKA-16_big.dcm",
    "SC_rgb_jpeg.dcm",
}
"""Images that DCMTK refuses."""
PNG = Wanted("image/png")


@cache
def _scanned(path: Path) -> ScannedInstance:
    return scan(BytesSource(path.read_bytes()))


def _has_frames(path: Path) -> bool:
    return path.name not in UNREADABLE and _scanned(path).frames.count > 0


IMAGES = [path for path in SAMPLES if _has_frames(path)]
JUDGED = [
    path for path in IMAGES if path.name not in BEYOND_PYDICOM | NOT_DECODABLE | PALETTE_SWAPPED
]


def png_of(sample: Sample, number: int) -> NDArray[Any]:
    """Return the picture of a frame without its overlays."""
    appearance = replace(sample.appearance(number), overlays=())
    data = render_frame(sample.frames[number - 1], appearance, PNG, LIMIT)
    with Image.open(BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("path", JUDGED, ids=sample_id)
def test_every_shade_is_the_one_that_pydicom_shows(path: Path) -> None:  # R-13 R-23
    sample, dataset = open_sample(path.read_bytes()), read(path)
    for number in sorted({1, len(sample.frames)}):
        ours = png_of(sample, number)
        theirs = (grey_of if ours.ndim == 2 else colours_of)(dataset, number - 1)
        assert ours.shape == theirs.shape
        off = 1 if theirs.ndim == 2 else 2  # DCMTK's colours are rounded twice
        assert np.abs(ours - theirs).max() <= off


def test_most_samples_are_judged() -> None:
    assert len(IMAGES) > 130
    assert {path.name for path in IMAGES} >= BEYOND_PYDICOM | NOT_DECODABLE


@pytest.mark.parametrize("path", JUDGED[::9], ids=sample_id)
@pytest.mark.parametrize("media_type", FORMATS)
def test_every_kind_of_image_is_made_in_every_format(path: Path, media_type: str) -> None:
    sample = open_sample(path.read_bytes())
    wanted = Wanted(media_type, viewport=Viewport(50, 50))
    data = render_frame(sample.frames[0], sample.appearance(), wanted, LIMIT)
    with Image.open(BytesIO(data)) as image:
        assert Image.MIME[image.format or ""] == media_type
        assert max(image.size) == 50


def _dcmtk_takes(path: Path) -> bool:
    if path.name in NOT_DECODABLE | SWAPPED_OTHERWISE | NOT_BY_DCMTK:
        return False
    syntax = find(_scanned(path).transfer_syntax_uid)
    return syntax is not None and (not syntax.encapsulated or syntax.media_type == "image/jpeg")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="DCMTK is not installed")
@pytest.mark.parametrize("path", [path for path in IMAGES if _dcmtk_takes(path)], ids=sample_id)
def test_every_shade_is_the_one_that_dcmtk_shows(path: Path, tmp_path: Path) -> None:
    sample = open_sample(path.read_bytes())
    appearance = sample.appearance()
    out = tmp_path / "out.png"
    options = (
        ["+Wl", "1"] if appearance.voi_table else ["+Wi", "1"] if appearance.window else ["+Wm"]
    )
    command = ["dcmj2pnm", "-q", "-O", "-a", "+on", *options, str(path), str(out)]
    subprocess.run(command, capture_output=True, check=True)
    with Image.open(out) as image:
        theirs = np.asarray(image).astype(int)
    ours = png_of(sample, 1).astype(int)
    if ours.ndim == 2 and theirs.ndim == 3:
        ours = ours[..., None]
    off = 1 if theirs.ndim == 2 else 2  # DCMTK's colours are rounded twice
    assert np.abs(ours - theirs).max() <= off


def describe(samples: NDArray[Any], **more: Any) -> tuple[DecodedFrame, Appearance]:
    """Return native samples as a frame, and a plain appearance of it."""
    bits = samples.dtype.itemsize * 8
    pixels = PixelDescription(
        rows=samples.shape[0],
        columns=samples.shape[1],
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=int(samples.dtype.kind == "i"),
        photometric_interpretation="MONOCHROME2",
        transfer_syntax_uid=EXPLICIT_LITTLE_ENDIAN,
    )
    frame = DecodedFrame(samples.tobytes(), "MONOCHROME2")
    return frame, Appearance(pixels=pixels, high_bit=bits - 1, **more)


@pytest.mark.parametrize("dtype", ["<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"])
@pytest.mark.parametrize("side", [16, 300])
def test_a_ramp_goes_from_black_to_white(dtype: str, side: int) -> None:
    info = np.iinfo(dtype)
    ramp = np.linspace(int(info.min) // 2, int(info.max) // 2, side * side).astype(dtype)
    frame, appearance = describe(ramp.reshape(side, side))
    shown = draw_frame(frame, appearance, None)
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown.ravel().astype(int)) >= 0).all()
    inverted = draw_frame(frame, replace(appearance, inverted=True), None)
    assert np.abs(inverted.astype(int) + shown - 255).max() <= 1


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floats_are_shown_and_what_is_no_number_is_black(dtype: str) -> None:
    values = np.array([[np.nan, 0.25], [np.inf, 0.75]], dtype)
    frame, appearance = describe(values, floating=True)
    assert draw_frame(frame, appearance, None).tolist() == [[0, 0], [255, 255]]
    window = Window(0.5, 1, "LINEAR_EXACT")
    assert draw_frame(frame, appearance, window).tolist() == [[0, 64], [255, 191]]


def test_padding_does_not_stretch_the_range() -> None:
    frame, appearance = describe(np.array([[-2000, 0, 50, 100]], "<i2"), padding=(-2000, -2000))
    assert draw_frame(frame, appearance, None).tolist() == [[0, 0, 128, 255]]
    frame, appearance = describe(np.full((1, 2), 7, "<i2"), padding=(7, 7))
    assert draw_frame(frame, appearance, None).tolist() == [[255, 255]]


@pytest.mark.parametrize("dtype", ["<u1", "<i1", "<u2", "<i2", "<u4", "<i4"])
def test_a_palette_is_the_same_for_cells_of_every_kind(dtype: str) -> None:
    tables = [
        LookupTable(-1, 16, np.array(shades, np.uint16))
        for shades in ([0, 257, 65535], [65535, 514, 0], [0, 0, 0])
    ]
    samples = np.array([[0, 1, 2]], dtype)
    frame, appearance = describe(samples, palette=tuple(tables))
    expected = [[[1, 2, 0], [255, 0, 0], [255, 0, 0]]]
    assert draw_frame(frame, appearance, None).tolist() == expected


def test_grey_is_shown_in_the_colours_of_a_state() -> None:
    tint = tuple(
        LookupTable(0, 8, np.array(entries, np.uint16))
        for entries in ([0, 100, 200], [200, 100, 0], [7])
    )
    frame, appearance = describe(np.array([[0, 128, 255]], "<u1"), full_scale=255.0, tint=tint)
    shown = draw_frame(frame, appearance, None)
    assert shown.tolist() == [[[0, 200, 7], [100, 100, 7], [200, 0, 7]]]


def test_tables_of_modality_and_voi_follow_each_other() -> None:
    modality = Modality(table=LookupTable(0, 16, np.array([10, 20, 30], np.uint16)))
    voi = LookupTable(10, 8, np.array([0, *[100] * 19, 300], np.uint16))
    frame, appearance = describe(np.array([[0, 1, 2]], "<u2"), modality=modality, voi_table=voi)
    assert draw_frame(frame, appearance, None).tolist() == [[0, 100, 255]]
    assert draw_frame(frame, appearance, Window(20, 2, "LINEAR_EXACT")).tolist() == [[0, 128, 255]]


def test_overlays_are_white_lines() -> None:
    overlay = Overlay(0, 0, 1, 3, b"\x05")
    frame, appearance = describe(np.array([[10, 20, 30]], "<u1"), full_scale=255.0)
    shown = draw_frame(frame, replace(appearance, overlays=(overlay,)), None)
    assert shown.tolist() == [[255, 20, 255]]


@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
def test_overlays_in_unused_bits_are_white(dtype: str) -> None:
    cells = np.array([[10, 20, 30 | 0x8000, 40 | 0x1000]], "<u2").view(dtype)
    frame, appearance = describe(cells, full_scale=255.0, overlay_bits=(15, 12))
    pixels = replace(appearance.pixels, bits_stored=12)
    appearance = replace(appearance, pixels=pixels, high_bit=11)
    assert draw_frame(frame, appearance, None).tolist() == [[10, 20, 255, 255]]


def test_a_viewport_is_cut_and_scaled() -> None:  # R-08 R-09
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    frame, appearance = describe(ramp, full_scale=255.0, aspect=2.0)
    wanted = Wanted("image/png", viewport=Viewport(4, 8, Region(0, 0, -4, 4)))
    with Image.open(BytesIO(render_frame(frame.data, appearance, wanted, LIMIT))) as image:
        assert image.size == (4, 8)
        assert np.asarray(image)[0].tolist() == ramp[0, 3::-1].tolist()


def test_what_is_too_large_or_too_short_is_refused() -> None:
    frame, appearance = describe(np.zeros((8, 8), "<u2"))
    with pytest.raises(InvalidDataset):
        render_frame(frame.data, appearance, PNG, 100)
    with pytest.raises(InvalidDataset):
        render_frame(frame.data[:-1], appearance, PNG, LIMIT)


def test_a_presentation_and_annotations_are_drawn() -> None:  # R-14 R-16
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    presentation = Presentation(area=(0, 0, 8, 4), flipped=True)
    frame, appearance = describe(ramp, full_scale=255.0, presentation=presentation)
    with Image.open(BytesIO(render_frame(frame.data, appearance, PNG, LIMIT))) as image:
        assert np.asarray(image).tolist() == ramp[:4, ::-1].tolist()
    written = replace(PNG, annotation=(("I",), ()), viewport=Viewport(64, 64))
    with Image.open(BytesIO(render_frame(frame.data, appearance, written, LIMIT))) as image:
        assert image.size == (64, 32)
        assert np.asarray(image).max() == 255
