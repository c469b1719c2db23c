"""Pictures held against those that pydicom makes, and DCMTK where it is installed."""

import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.dicom.pictures import FORMATS, Wanted
from app.dicom.rendering import render_frame
from app.dicom.transfer_syntaxes import find
from app.dicom.viewport import Viewport
from tests.pydicom_oracle import read
from tests.rendering_oracle import Sample, colours_of, grey_of, open_sample
from tests.samples import SAMPLES, sample_id

LIMIT = 2**30
CUT_SHORT = {"MR_truncated.dcm", "rtplan_truncated.dcm", "no_meta.dcm"}
NOT_DECODABLE = {"JPEG2000-embedded-sequence-delimiter.dcm"}
BEYOND_PYDICOM = {
    "JPEG-lossy.dcm",  # twelve bits: no decoder that pydicom may use
    "JPGExtended.dcm",
    "OT-PAL-8-face.dcm",  # names no Transfer Syntax
    "badVR.dcm",  # Number of Frames is no number
    "emri_small_jpeg_2k_lossless_too_short.dcm",  # its last delimiter is missing
}
SWAPPED_OTHERWISE = {
    "OBXXXX1A_expb.dcm",  # big endian: DCMTK does not swap the pairs of bytes
    "OBXXXX1A_expb_2frame.dcm",
    "rtdose_expb.dcm",  # big endian: DCMTK swaps halves of words of 32 bits
    "rtdose_expb_1frame.dcm",
}
PNG = Wanted("image/png")
NATIVE = "1.2.840.10008.1.2.1"


def _has_frames(path: Path) -> bool:
    return path.name not in CUT_SHORT and bool(open_sample(path.read_bytes()).frames)


IMAGES = [path for path in SAMPLES if _has_frames(path)]
JUDGED = [path for path in IMAGES if path.name not in BEYOND_PYDICOM | NOT_DECODABLE]


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
    if path.name in NOT_DECODABLE | SWAPPED_OTHERWISE:
        return False
    uid = open_sample(path.read_bytes()).scanned.transfer_syntax_uid
    syntax = find(uid)
    return syntax is not None and (not syntax.encapsulated or syntax.media_type == "image/jpeg")


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
    if subprocess.run(command, capture_output=True, check=False).returncode or not out.exists():
        pytest.skip("DCMTK does not take it")
    with Image.open(out) as image:
        theirs = np.asarray(image).astype(int)
    ours = png_of(sample, 1).astype(int)
    if ours.ndim == 2 and theirs.ndim == 3:
        ours = ours[..., None]
    off = 1 if theirs.ndim == 2 else 2  # DCMTK's colours are rounded twice
    assert np.abs(ours - theirs).max() <= off
