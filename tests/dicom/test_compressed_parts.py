"""What compressed frames say of themselves, held against the samples that they are of."""

from typing import Any

import pytest

from app.dicom.compressed_parts import (
    HEAD_BYTES,
    codestream_extent,
    describe_frame,
    described,
    is_image,
    syntax_named,
)
from app.dicom.transfer_syntaxes import find
from app.errors import InvalidDataset
from tests.pydicom_oracle import quiet, read
from tests.samples import SAMPLES

ARC = "1.2.840.10008.1.2.4."
LOSSLESS_IN_LOSSY = {"693_J2KI.dcm", "SC_rgb_gdcm_KY.dcm"}
"""Coded without loss and stored as what may have lost."""
COUNTED = ("00280002", "00280010", "00280011", "00280100")


@quiet
def frames_of_samples() -> list[Any]:
    """Return samples in compressed syntaxes whose frames are read here, with their first frames."""
    from pydicom.encaps import generate_frames  # noqa: PLC0415

    found = []
    for path in SAMPLES:
        dataset = read(path)
        syntax = find(str(dataset.file_meta.get("TransferSyntaxUID", "")))
        if syntax is None or not syntax.encapsulated or "PixelData" not in dataset:
            continue
        if syntax.media_type in {"image/dicom-rle", "application/octet-stream"}:
            continue
        frames = int(dataset.get("NumberOfFrames") or 1)
        frame = next(generate_frames(dataset.PixelData, number_of_frames=frames))
        found.append(pytest.param(dataset, syntax, frame[:HEAD_BYTES], id=path.name))
    return [one for one in found if one.id != "JPEG2000-embedded-sequence-delimiter.dcm"]


@pytest.mark.parametrize(("dataset", "syntax", "frame"), frames_of_samples())
def test_a_frame_says_what_the_sample_says(  # S-19
    request: pytest.FixtureRequest, dataset: Any, syntax: Any, frame: bytes
) -> None:
    named = syntax_named(syntax.media_type, None)
    told, attributes = describe_frame(syntax.media_type, named, frame)
    if request.node.callspec.id not in LOSSLESS_IN_LOSSY:
        assert told == syntax
    assert [attributes[tag]["Value"] for tag in COUNTED] == [
        [dataset.SamplesPerPixel], [dataset.Rows], [dataset.Columns], [dataset.BitsAllocated]
    ]  # fmt: skip
    assert describe_frame(syntax.media_type, syntax, frame) == (syntax, attributes)


def jpeg(start: int, components: int = 1, sampling: int = 0x11, *, before: bytes = b"") -> bytes:
    parts = b"".join(bytes((at + 1, sampling if not at else 0x11, 0)) for at in range(components))
    frame = bytes((0xFF, start, 0, 8 + 3 * components, 8, 0, 16, 0, 24, components)) + parts
    scan = bytes((0xFF, 0xDA, 0, 6 + 2 * components, components)) + bytes(2 * components)
    return b"\xff\xd8" + before + frame + scan + b"\2\0\0" + b"\xff\xd9"


@pytest.mark.parametrize(
    ("frame", "uid", "colour"),
    [
        (jpeg(0xC0), ARC + "50", "MONOCHROME2"),
        (jpeg(0xC0, 3), ARC + "50", "YBR_FULL"),
        (jpeg(0xC1, 3, 0x21), ARC + "51", "YBR_FULL_422"),
        (jpeg(0xC0, 3, before=b"\xff\xee\0\x0eAdobe" + bytes(7)), ARC + "50", "RGB"),
        (jpeg(0xC3, 3, before=b"\xff\xff\xfe\0\2"), ARC + "57", "RGB"),
    ],
)
def test_a_jpeg_is_of_the_process_that_it_begins_with(frame: bytes, uid: str, colour: str) -> None:
    syntax, attributes = describe_frame("image/jpeg", None, frame)
    assert (syntax.uid, attributes["00280004"]["Value"]) == (uid, [colour])


def jpeg_2000(coding: bytes) -> bytes:
    size = b"\xff\x51\0\x29" + bytes(2) + b"\0\0\0\x18\0\0\0\x10" + bytes(24) + b"\0\1\x0b\1\1"
    return b"\xff\x4f" + size + b"\xff\x64\0\2" + coding


@pytest.mark.parametrize(
    ("media_type", "wavelet", "uid"),
    [
        ("image/jp2", 1, "90"),
        ("image/jp2", 0, "91"),
        ("image/jpx", 1, "92"),
        ("image/jpx", 0, "93"),
        ("image/jphc", 1, "201"),
        ("image/jphc", 0, "203"),
    ],
)
def test_a_wavelet_tells_what_was_lost(media_type: str, wavelet: int, uid: str) -> None:
    frame = jpeg_2000(b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0" + bytes((wavelet,)))
    syntax, attributes = describe_frame(media_type, None, frame)
    assert syntax.uid == ARC + uid
    assert attributes["00280101"]["Value"] == [12]
    assert attributes["00280100"]["Value"] == [16]


@pytest.mark.parametrize(
    ("media_type", "frame"),
    [
        ("image/jpeg", b"PNG"),
        ("image/jpeg", jpeg(0xC2)),  # progressive: no Transfer Syntax that is not retired
        ("image/jls", jpeg(0xC0)[:12]),
        ("image/jp2", jpeg_2000(b"")),
        ("application/pdf", b"%PDF"),
    ],
)
def test_what_is_no_such_frame_is_refused(media_type: str, frame: bytes) -> None:
    with pytest.raises(InvalidDataset):
        describe_frame(media_type, syntax_named(media_type, None), frame)


@pytest.mark.parametrize(
    ("media_type", "parameter", "uid"),
    [
        ("application/octet-stream", None, "1.2.840.10008.1.2.1"),
        ("application/octet-stream", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"),
        ("application/octet-stream", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.5"),
        ("image/x-dicom-rle", None, "1.2.840.10008.1.2.5"),
        ("image/x-jls", ARC + "81", ARC + "81"),
        ("video/mp4", None, ARC + "102"),
        ("video/h265", ARC + "107", ARC + "107"),
        ("image/jpeg", None, None),
        ("application/pdf", None, None),
    ],
)
def test_a_content_type_names_a_syntax(
    media_type: str, parameter: str | None, uid: str | None
) -> None:
    named = syntax_named(media_type, parameter)
    assert (None if named is None else named.uid) == uid


@pytest.mark.parametrize(
    ("media_type", "parameter"),
    [
        ("application/octet-stream", "1.2.840.10008.1.2.2"),
        ("application/octet-stream", "1.2.840.10008.1.2.1.99"),
        ("application/octet-stream", ARC + "94"),
        ("application/octet-stream", "1.2.3"),
        ("image/jpeg", ARC + "90"),
    ],
)
def test_a_syntax_that_is_not_taken_is_refused(media_type: str, parameter: str) -> None:
    with pytest.raises(InvalidDataset):
        syntax_named(media_type, parameter)


def test_rle_and_video_tell_nothing_but_their_syntax() -> None:
    rle = syntax_named("image/dicom-rle", None)
    assert rle is not None
    assert describe_frame("image/dicom-rle", rle, b"x") == (rle, {})
    assert is_image("image/dicom-rle")
    assert not is_image("application/octet-stream")
    assert not is_image("text/plain")


def test_metadata_is_only_added_to() -> None:
    rows = {"00280010": {"vr": "US", "Value": [16]}}
    assert described({}, rows) == rows
    assert described({"00280010": {"vr": "US"}}, rows) == rows
    assert described({"00280010": 5}, rows) == rows
    with pytest.raises(InvalidDataset, match="Rows"):
        described({"00280010": {"vr": "US", "Value": [17]}}, rows)


SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"


@pytest.mark.parametrize(
    ("boxes", "extent"),
    [
        (b"\0\0\0\x10jp2c12345678after...", (20, 8)),
        (b"\0\0\0\0jp2c12345678", (20, 8)),
        (b"\0\0\0\x01jp2c\0\0\0\0\0\0\0\x1812345678", (28, 8)),
        (b"\0\0\0\x09abcd1\0\0\0\x10jp2c12345678", (29, 8)),
        (b"\0\0\0\0abcd", (0, 20)),
        (b"\0\0\0\2abcd\0\0\0\x10jp2c12345678", (28, 8)),
    ],
)
def test_the_codestream_of_a_jp2_file_is_in_its_box(boxes: bytes, extent: tuple[int, int]) -> None:
    data = SIGNATURE + boxes
    assert codestream_extent(data, len(data)) == extent
    assert codestream_extent(b"other", 5) == (0, 5)
