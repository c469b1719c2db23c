"""One pass over the bytes of an Instance: its DICOM JSON, Bulk Data, frames (PS3.10 §7, PS3.5 §7).

`scan` is what ingest knows of DICOM. It reads preamble and File Meta Information (`file_meta`),
inflates what is deflated (`deflated`), walks over the elements (`elements`), each of which becomes
a member of the DICOM JSON object (`json_model`) or is remembered as one (`memo`), and finds the
frames (`frames`). The rules:

* Bytes are hostile. Nothing is allocated from a declared length, each danger has a limit, and the
  one exception that comes out is InvalidDataset.
* What pydicom recovers is recovered and noted in `warnings`. What is cut short is refused, since
  what is lost cannot be told: reason C001. Forgiven are a missing delimiter after a whole last
  item, bytes of padding after the last element, and Pixel Data that lacks no byte of a frame.
* Pixel bytes are not read: a scan takes the memory of the other values.
"""

from base64 import b64decode
from dataclasses import replace

import orjson

from app.dicom.charsets import DEFAULT
from app.dicom.deflated import DEFLATED, rendition
from app.dicom.elements import walk_level
from app.dicom.file_meta import HEAD_BYTES, FileMeta, read_file_meta
from app.dicom.fragments import walk_fragments
from app.dicom.frames import OffsetTable, encapsulated_frames, frame_shape, native_frames
from app.dicom.headers import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    as_implicit,
)
from app.dicom.json_model import ascending
from app.dicom.level import Level, table_for
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scanned import FrameKind, Frames, ScannedInstance
from app.dicom.source import Source, Window
from app.dicom.transfer_syntaxes import TransferSyntax, find
from app.dicom.walk import PixelValue, Walk
from app.errors import InvalidDataset

OVER_A_LIMIT = 0xC002


def scan(source: Source, limits: Limits | None = None, memo: Memo | None = None) -> ScannedInstance:
    """Return what the archive keeps of an Instance beside its bytes.

    `memo` is shared by the scans of a process: elements that were met before cost next to nothing.

    Raises:
        InvalidDataset: no DICOM (C000), cut short (C001) or over a limit (C002).

    Source: PS3.10 §7, PS3.5 §7, PS3.18 Annex F
    """
    limits, memo = limits or Limits(), memo or Memo()
    head = source.read(0, HEAD_BYTES)
    meta = read_file_meta(head)
    if meta.transfer_syntax_uid in DEFLATED:
        window = Window(rendition(source, meta.dataset_offset, limits))
    else:
        window = Window(source, head)
    walk, level = _walk(window, meta, limits, memo)
    frames = _frames(walk, level, find(meta.transfer_syntax_uid)) if walk.pixels else Frames()
    return ScannedInstance(
        transfer_syntax_uid=meta.transfer_syntax_uid,
        dataset_offset=meta.dataset_offset,
        fragments=ascending(level.members),
        bulk_values=walk.bulk_values,
        frames=frames,
        warnings=tuple(walk.warnings),
    )


def _walk(window: Window, meta: FileMeta, limits: Limits, memo: Memo) -> tuple[Walk, Level]:
    walk = Walk(window, limits, memo)
    encoding = _encoding(walk, meta)
    level = Level(encoding, DEFAULT, table_for(memo, encoding, DEFAULT))
    walk_level(walk, level, meta.elements_offset, window.size, window.size)
    return walk, level


def _encoding(walk: Walk, meta: FileMeta) -> Encoding:
    """Return how the Data Set is encoded: as its Transfer Syntax says, unless its start differs.

    A Transfer Syntax that nobody knows is explicit VR Little Endian (PS3.5 §A.4).
    """
    syntax = find(meta.transfer_syntax_uid)
    encoding = EXPLICIT_LITTLE
    if syntax is not None and (syntax.implicit or syntax.big_endian):
        encoding = IMPLICIT_LITTLE if syntax.implicit else EXPLICIT_BIG
    vr = walk.window.peek(meta.elements_offset, 6)[4:6]
    if len(vr) < 2 or encoding.implicit != (vr.isalpha() and vr.isupper()):
        return encoding
    walk.warn("the Data Set is not encoded as its Transfer Syntax says (implicit or explicit VR)")
    return EXPLICIT_LITTLE if encoding.implicit else as_implicit(encoding)


def _frames(walk: Walk, level: Level, syntax: TransferSyntax | None) -> Frames:
    pixels = walk.pixels
    assert pixels is not None  # noqa: S101
    described = frame_shape(level.members, pixels.tag)
    wanted = described.number_of_frames
    pixels = _items_of_defined_length(walk, level, pixels)
    if pixels.encapsulated is not None:
        one_stream = syntax is not None and syntax.video
        extended = OffsetTable(_binary(walk, level, 0x7FE00001), _binary(walk, level, 0x7FE00002))
        frames = encapsulated_frames(
            walk.window, pixels.encapsulated, wanted, extended, one_stream=one_stream
        )
        wanted = 1 if one_stream else wanted
    elif syntax is not None and syntax.encapsulated:
        walk.warn("Pixel Data is not encapsulated as its Transfer Syntax says")
        return Frames()
    else:
        frames = native_frames(described, pixels.offset, pixels.length)
    _judge(walk, pixels, frames, wanted)
    return frames


def _judge(walk: Walk, pixels: PixelValue, frames: Frames, wanted: int) -> None:
    if pixels.missing and (frames.kind == FrameKind.NONE or frames.count < wanted):
        raise InvalidDataset("the object ends within its Pixel Data", 0xC001)
    if frames.kind == FrameKind.NONE:
        walk.warn("the frames of Pixel Data cannot be told apart")
    elif frames.count < wanted:
        walk.warn("there are fewer frames than the Data Set declares")
    elif frames.count > wanted:
        walk.warn("there are more frames than the Data Set declares")


def _items_of_defined_length(walk: Walk, level: Level, pixels: PixelValue) -> PixelValue:
    """Return encapsulated Pixel Data as such although its length is defined, as some write it."""
    if pixels.encapsulated is not None or pixels.missing:
        return pixels
    if walk.window.read(pixels.offset, 4) != b"\xfe\xff\x00\xe0":
        return pixels
    end = pixels.offset + pixels.length
    try:
        value = walk_fragments(walk.window, pixels.offset, end, level.encoding, walk.limits)
    except InvalidDataset as error:
        if error.reason == OVER_A_LIMIT:
            raise
        return pixels
    return replace(pixels, encapsulated=value) if value.offsets else pixels


def _binary(walk: Walk, level: Level, tag: int) -> bytes:
    """Return a binary value of the outermost level, wherever it is kept; empty for none."""
    place = walk.bulk_values.get(f"{tag:08X}")
    if place is not None:
        return walk.window.read(place.offset, min(place.length, 8 * walk.limits.fragments))
    member = level.members.get(tag)
    if member is None:
        return b""
    (element,) = orjson.loads(b"{" + member + b"}").values()
    return b64decode(element.get("InlineBinary", ""))
