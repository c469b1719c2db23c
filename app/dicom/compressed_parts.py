"""Compressed frames as they come in parts of a request: their Transfer Syntax, and what they tell.

A part says what it is by its media type, and by a `transfer-syntax` parameter where that matters.
Without the parameter a media type has a default, but programs send what their encoder made of
`image/jpeg`: the code stream is asked first. Image Pixel attributes that the metadata lacks are
taken from it, too (PS3.18 §8.7.3, §10.5.2).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.dicom.codestreams import (
    START_OF_FRAME,
    Codestream,
    read_jpeg_2000_header,
    read_jpeg_header,
)
from app.dicom.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    OCTET_STREAM,
    TransferSyntax,
    default_of,
    find,
)
from app.errors import InvalidDataset

HEAD_BYTES = 2**20
"""As much of a frame as is read for its header; a colour profile may stand before it."""

_JPEG = "1.2.840.10008.1.2.4."
_UNSUPPORTED = 0xC122
_OTHER_NAMES = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls"}
_SAME_BYTES = frozenset({EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN})
_LOSSLESS, _JPEG_LS = 0xC3, 0xF7
_PROCESSES = {0xC0: "50", 0xC1: "51"}
_COUNTED = {"00280010": "Rows", "00280011": "Columns", "00280002": "Samples per Pixel"}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a code stream is: the Transfer Syntax that fits it, and the colours of three samples."""

    stream: Codestream
    transfer_syntax_uid: str
    colour: str


def syntax_named(media_type: str, transfer_syntax: str | None) -> TransferSyntax | None:
    """Return what the Content-Type of a part says; None if the media type leaves it open.

    Native pixels are named Explicit VR Little Endian, whichever little endian they came in.

    Raises:
        InvalidDataset: a Transfer Syntax that is unknown, of another media type or not taken.

    Source: PS3.18 §8.7.3.3
    """
    media_type = _OTHER_NAMES.get(media_type, media_type)
    if transfer_syntax is None:
        return None if media_type in _READERS else default_of(media_type)
    syntax = find(EXPLICIT_LITTLE_ENDIAN if transfer_syntax in _SAME_BYTES else transfer_syntax)
    if syntax is None or not (syntax.encapsulated or syntax.uid == EXPLICIT_LITTLE_ENDIAN):
        raise InvalidDataset("the Transfer Syntax of a part is not taken", _UNSUPPORTED)
    if media_type not in {OCTET_STREAM, syntax.media_type.lower()}:
        raise InvalidDataset("a part is of another media type than its Transfer Syntax")
    return syntax


def is_image(media_type: str) -> bool:
    """Say whether a media type is one of compressed frames or of video.

    Source: PS3.18 Tables 8.7.3-4, 8.7.3-5
    """
    media_type = _OTHER_NAMES.get(media_type, media_type)
    return media_type != OCTET_STREAM and default_of(media_type) is not None


def describe_frame(
    media_type: str, named: TransferSyntax | None, head: bytes
) -> tuple[TransferSyntax, Mapping[str, Any]]:
    """Return the Transfer Syntax of a frame and its Image Pixel attributes in DICOM JSON.

    `named` is what `syntax_named` returned, `head` the beginning of the frame. Of RLE, JPEG XL and
    video nothing is told but the syntax.

    Raises:
        InvalidDataset: the frame is not what it is said to be, or of no Transfer Syntax.

    Source: PS3.18 §10.5.2, PS3.3 §C.7.6.3
    """
    media_type = _OTHER_NAMES.get(media_type, media_type)
    reader = _READERS.get(media_type if named is None else named.media_type.lower())
    if reader is None:
        if named is None:
            raise InvalidDataset("the media type of a part is none of Pixel Data", _UNSUPPORTED)
        return named, {}
    kind = reader(head, media_type if named is None else named.media_type)
    syntax = named or find(kind.transfer_syntax_uid)
    if syntax is None:
        raise InvalidDataset("the compression of a frame has no Transfer Syntax", _UNSUPPORTED)
    return syntax, _attributes(kind)


def described(dataset: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Data Set with the attributes that it lacks.

    Raises:
        InvalidDataset: it gives other Rows, Columns or Samples per Pixel than the frames have.

    Source: PS3.18 §10.5.2
    """
    for key, name in _COUNTED.items():
        given, found = _value(dataset, key), _value(attributes, key)
        if None not in (given, found) and given != found:
            raise InvalidDataset(f"{name} of the metadata is not that of the frames ({found})")
    missing = {key: value for key, value in attributes.items() if _value(dataset, key) is None}
    return {**dataset, **missing}


def _value(dataset: Mapping[str, Any], key: str) -> Any:
    element = dataset.get(key)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _attributes(kind: _Kind) -> dict[str, Any]:
    stream = kind.stream
    allocated = next((bits for bits in (8, 16, 32) if stream.precision <= bits), 64)
    colour = "MONOCHROME2" if stream.samples == 1 else kind.colour
    planar = {"00280006": ("US", 0)} if stream.samples > 1 else {}
    values: dict[str, tuple[str, int | str]] = {
        "00280002": ("US", stream.samples),
        "00280004": ("CS", colour),
        **planar,
        "00280010": ("US", stream.rows),
        "00280011": ("US", stream.columns),
        "00280100": ("US", allocated),
        "00280101": ("US", stream.precision),
        "00280102": ("US", stream.precision - 1),
        "00280103": ("US", int(stream.signed)),
    }
    return {key: {"vr": vr, "Value": [value]} for key, (vr, value) in values.items()}


def _jpeg(head: bytes, _: str) -> _Kind:
    """Tell the process by the start of frame, a lossless one by its predictor, too.

    Source: ISO/IEC 10918-1 §B.2.2, §B.2.3
    """
    stream = read_jpeg_header(head)
    frame, selector = _jpeg_markers(head)
    process = head[frame + 1]
    if process == _LOSSLESS:
        return _Kind(stream, _JPEG + ("70" if selector == b"\1" else "57"), "RGB")
    # of 4:2:2 and the like the first component has more samples than the others
    subsampled = head[frame + 11 : frame + 12] != b"\x11"
    colour = stream.transform or "YBR"
    interpretation = "RGB" if colour == "RGB" else "YBR_FULL_422" if subsampled else "YBR_FULL"
    return _Kind(stream, _JPEG + _PROCESSES.get(process, ""), interpretation)


def _jpeg_ls(head: bytes, _: str) -> _Kind:
    """Tell lossless by the tolerance of the first scan.

    Source: ISO/IEC 14495-1 §C.2.3
    """
    stream = read_jpeg_header(head)
    frame, near = _jpeg_markers(head)
    if head[frame + 1] != _JPEG_LS:
        raise InvalidDataset("a frame is JPEG, but no JPEG-LS")
    return _Kind(stream, _JPEG + ("80" if near == b"\0" else "81"), "RGB")


def _jpeg_markers(head: bytes) -> tuple[int, bytes]:
    """Return where the start of frame is, and the parameter that a scan has after its components.

    It is the predictor of lossless JPEG, and of JPEG-LS how far a sample may be off.
    """
    frame, offset = 0, 2
    while offset + 4 <= len(head) and head[offset] == 0xFF and head[offset + 1] != 0xDA:
        marker = head[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        if marker in START_OF_FRAME:
            frame = offset
        offset += 2 + int.from_bytes(head[offset + 2 : offset + 4], "big")
    components = head[offset + 4] if offset + 4 < len(head) else 0
    parameter = offset + 5 + 2 * components
    return frame, head[parameter : parameter + 1]


_IRREVERSIBLE = {"image/jp2": "91", "image/jpx": "93", "image/jphc": "203"}
_REVERSIBLE = {"image/jp2": "90", "image/jpx": "92", "image/jphc": "201"}


def _jpeg_2000(head: bytes, media_type: str) -> _Kind:
    """Tell lossless by the wavelet, and the colours by the transformation of components.

    Source: ISO/IEC 15444-1 §A.6.1
    """
    stream = read_jpeg_2000_header(head)
    offset = head.find(b"\xff\x4f\xff\x51") + 2
    while head[offset : offset + 1] == b"\xff" and head[offset + 1 : offset + 2] != b"\x52":
        offset += 2 + max(int.from_bytes(head[offset + 2 : offset + 4], "big"), 2)
    style = head[offset + 4 : offset + 14]
    if len(style) < 10:
        raise InvalidDataset("a JPEG 2000 frame does not say how it is coded")
    reversible = style[9] == 1
    colour = "RGB" if not style[4] else "YBR_RCT" if reversible else "YBR_ICT"
    arcs = _REVERSIBLE if reversible else _IRREVERSIBLE
    return _Kind(stream, _JPEG + arcs[media_type], colour)


_READERS: dict[str, Callable[[bytes, str], _Kind]] = {
    "image/jpeg": _jpeg,
    "image/jls": _jpeg_ls,
    "image/jp2": _jpeg_2000,
    "image/jpx": _jpeg_2000,
    "image/jphc": _jpeg_2000,
}


def codestream_extent(head: bytes, length: int) -> tuple[int, int]:
    """Return offset and length of the code stream in a part: that in a JP2 file's box, else all.

    Source: ISO/IEC 15444-1 Annex I; PS3.5 §8.2.4
    """
    if not head.startswith(b"\0\0\0\x0cjP  "):
        return 0, length
    offset = 0
    while offset + 16 <= len(head):
        size = int.from_bytes(head[offset : offset + 4], "big")
        start = offset + 8
        if size == 1:
            size = int.from_bytes(head[offset + 8 : offset + 16], "big")
            start = offset + 16
        if head[offset + 4 : offset + 8] == b"jp2c":
            end = length if size == 0 else min(offset + size, length)
            return start, max(end - start, 0)
        offset += max(size, 8)
    return 0, length
