"""An Instance without the identity of its patient, as a filter on the stream of its bytes.

How it works: the filter takes an Instance in explicit VR Little Endian as `Rewriter` writes it, all
Sequences of undefined length. It is fed pieces and gives pieces back, holding no more than a
header or a UID; so Pixel Data of any size goes through. Preamble and File Meta Information are
made anew; what happens to the rest, `confidentiality` says.

Of pixels only frames go through: those that were decoded or encoded here, and native ones, cut
where they end. Whatever else stands there is left out, for nobody knows what it says.

A Sequence that is to be a dummy keeps its items, in which all texts are dummies.

Replaced UIDs and Patient IDs are made from the old ones with a secret: the same ones become the
same again in every Instance, and nobody without the secret can try which one it was.
"""

from collections.abc import Mapping
from enum import Enum, auto
from struct import unpack_from

from app.dicom.confidentiality import Action, action_of, pseudonym, replace_uid
from app.dicom.document import Document
from app.dicom.file_meta import add_file_meta
from app.dicom.frames import FLOAT_BITS, FrameShape
from app.dicom.headers import (
    EXPLICIT_LITTLE,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Header,
    is_cut,
    read_header,
)
from app.dicom.rewrite import element, element_header
from app.dicom.walk import PIXEL_TAGS

MADE_HERE = -1
"""The length of frames that were decoded or encoded here: nothing is beside them."""
_META_END = 144
"""Where the value of the File Meta Information's group length ends."""
_PATIENT_ID = 0x00100020
_TEXT = b"ANONYMIZED"
_DUMMIES = {
    "AS": b"000Y",
    "DA": b"19000101",
    "DT": b"19000101000000",
    "TM": b"000000",
    "DS": b"0 ",
    "IS": b"0 ",
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), _TEXT),
}
"""Values of other VRs are of octets."""
_TEXTS = frozenset(_DUMMIES) - {"CS", "DS", "IS"}
_OCTETS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})


class _Open(Enum):
    """What becomes of what stands in a Sequence, or in the fragments of a value."""

    KEPT = auto()
    DUMMY = auto()
    LEFT_OUT = auto()


def native_lengths(document: Document) -> dict[int, int]:
    """Return how many bytes native frames have, by the tag of the pixels; 0 if nothing says it.

    Source: PS3.5 §8.1.1; PS3.3 §C.7.6.3
    """
    return {tag: _length(document, tag) for tag in PIXEL_TAGS if f"{tag:08X}" in document.members}


def _length(document: Document, tag: int) -> int:
    shape = FrameShape(
        rows=document.integer("00280010", 0),
        columns=document.integer("00280011", 0),
        samples_per_pixel=document.integer("00280002", 1),
        bits_allocated=FLOAT_BITS.get(tag) or document.integer("00280100", 0),
        photometric_interpretation=document.text("00280004"),
    )
    bits = shape.frame_bits * max(document.integer("00280008", 1), 1)
    return max((bits + 7) // 8, 0)


def _marks() -> dict[int, bytes]:
    """Return the elements that say what was done, by the tag that they begin with."""
    code = b"".join(
        (
            element(0x00080100, "SH", b"113100"),
            element(0x00080102, "SH", b"DCM "),
            element(0x00080104, "LO", b"Basic Application Confidentiality Profile "),
        )
    )
    item = b"\xfe\xff\x00\xe0" + len(code).to_bytes(4, "little") + code
    method = b"PS3.15 Basic Application Confidentiality Profile"
    return {
        0x00120062: element(0x00120062, "CS", b"YES "),
        0x00120063: element(0x00120063, "LO", method),
        0x00120064: element(0x00120064, "SQ", item),
        0x00280303: element(0x00280303, "CS", b"REMOVED "),
    }


class Redactor:
    """One Instance that is de-identified while it streams by: `feed` all of it, then `finish`.

    `uids` are its SOP Class and SOP Instance UID, as they are stored. `pixels` has the bytes of all
    frames, or `MADE_HERE`, by the tag of pixels; those of other tags are left out.

    Source: PS3.15 §E.1.1, §E.2; PS3.3 §C.12.1.1.7 (what is said of it)
    """

    def __init__(
        self,
        uids: tuple[str, str],
        transfer_syntax_uid: str,
        secret: bytes,
        pixels: Mapping[int, int],
    ) -> None:
        self._secret = secret
        self._pixels = pixels
        self._ready = add_file_meta(uids[0], replace_uid(uids[1], secret), transfer_syntax_uid)
        self._marks = _marks()
        self._marked = frozenset(self._marks)
        self._open: list[_Open] = []
        self._waiting = b""
        self._run = 0
        self._run_is_kept = False
        self._tail: tuple[bytes, int] | None = None
        self._at_start = True

    def feed(self, data: bytes) -> bytes:
        """Take the next piece of the Instance, and return what is known of the result.

        Source: PS3.15 §E.1.1
        """
        data = self._waiting + data if self._waiting else data
        made, position = [], 0
        while position < len(data):
            size, written = self._step(data, position)
            if not size:
                break
            made.append(written)
            position += size
        self._waiting = data[position:]
        return b"".join(made)

    def finish(self) -> bytes:
        """Return what is left: what says how it was done, if nothing came after it.

        Source: PS3.3 §C.12.1.1.7
        """
        return self._marks_before(UNDEFINED)

    def _step(self, data: bytes, position: int) -> tuple[int, bytes]:
        """Take the next thing, and return its size and what is written for it.

        A size of 0 means that some of it has not come yet.
        """
        if self._at_start:
            return self._start(data)
        return self._value(data, position) if self._run else self._header(data, position)

    def _start(self, data: bytes) -> tuple[int, bytes]:
        """Put the File Meta Information that was made in the place of that which comes."""
        if len(data) < _META_END:
            return 0, b""
        end = _META_END + int(unpack_from("<L", data, _META_END - 4)[0])
        if len(data) < end:
            return 0, b""
        self._at_start = False
        return end, self._ready

    def _value(self, data: bytes, position: int) -> tuple[int, bytes]:
        size = min(self._run, len(data) - position)
        kept = data[position : position + size] if self._run_is_kept else b""
        self._run -= size
        if not self._run and self._tail is not None:
            padding, self._run = self._tail
            self._run_is_kept, self._tail = False, None
            kept += padding
        return size, kept

    def _header(self, data: bytes, position: int) -> tuple[int, bytes]:
        head = data[position : position + 12]
        if len(head) < 8:
            return 0, b""
        group, number, length = unpack_from("<HHL", head)
        tag = group << 16 | number
        if tag in {ITEM, ITEM_END, SEQUENCE_END}:
            return 8, self._delimiter(tag, length, head[:8])
        if is_cut(head, EXPLICIT_LITTLE):
            return 0, b""
        return self._element(read_header(head, EXPLICIT_LITTLE), data, position)

    def _delimiter(self, tag: int, length: int, head: bytes) -> bytes:
        kept = self._open[-1] is not _Open.LEFT_OUT
        if tag == SEQUENCE_END:
            self._open.pop()
        elif tag == ITEM and length != UNDEFINED:
            self._run, self._run_is_kept = length, kept
        return head if kept else b""

    def _element(self, header: Header, data: bytes, position: int) -> tuple[int, bytes]:
        tag, vr, length, size = header
        vr = vr or "UN"
        end = position + size
        action = self._action(tag, vr)
        if tag in PIXEL_TAGS and action is not Action.REMOVE:
            return size, self._begin_pixels(header, data[position:end])
        if action is Action.KEEP or (length == 0 and action is not Action.REMOVE):
            return size, self._begin(tag, length, data[position:end], _Open.KEPT)
        if action is Action.DUMMY and vr == "SQ":
            return size, self._begin(tag, length, data[position:end], _Open.DUMMY)
        if action is Action.UID or (action is Action.DUMMY and tag == _PATIENT_ID):
            whole = end + length
            if len(data) < whole:
                return 0, b""
            value = self._replaced(tag, data[end:whole])
            return size + length, self._marks_before(tag) + element(tag, vr, value)
        self._begin(tag, length, b"", _Open.LEFT_OUT)
        if action is Action.REMOVE:
            return size, b""
        value = _dummy(vr) if action is Action.DUMMY else b""
        return size, self._marks_before(tag) + element(tag, vr, value)

    def _begin(self, tag: int, length: int, head: bytes, state: _Open) -> bytes:
        """Go on with the value of an element: its bytes, or the items in it."""
        if length == UNDEFINED:
            if state is _Open.KEPT and _Open.DUMMY in self._open:
                state = _Open.DUMMY
            self._open.append(state)
        else:
            self._run, self._run_is_kept = length, state is not _Open.LEFT_OUT
        return self._marks_before(tag) + head if head else b""

    def _begin_pixels(self, header: Header, head: bytes) -> bytes:
        """Go on with pixels that are frames and nothing else, or are cut to be."""
        tag, vr, length, _ = header
        frames = self._pixels[tag]
        if frames == MADE_HERE or (length <= frames and length != UNDEFINED):
            return self._begin(tag, length, head, _Open.KEPT)
        if length == UNDEFINED or not frames:
            return self._begin(tag, length, b"", _Open.LEFT_OUT)
        padding = bytes(frames % 2)
        self._run, self._run_is_kept = frames, True
        self._tail = padding, length - frames
        marks = self._marks_before(tag)
        return marks + element_header(tag, vr or "OW", frames + len(padding))

    def _action(self, tag: int, vr: str) -> Action:
        state = self._open[-1] if self._open else _Open.KEPT
        if state is _Open.LEFT_OUT or tag in self._marked:
            return Action.REMOVE
        if tag in PIXEL_TAGS:
            return Action.KEEP if tag in self._pixels and not self._open else Action.REMOVE
        action = action_of(tag, vr)
        if state is _Open.DUMMY and action is Action.KEEP:
            if vr in _TEXTS:
                return Action.DUMMY
            return Action.REMOVE if vr in _OCTETS else action
        return action

    def _replaced(self, tag: int, value: bytes) -> bytes:
        if tag == _PATIENT_ID:
            return pseudonym(value.strip(b"\0 "), self._secret)
        uids = value.decode("latin-1").split("\\")
        replaced = "\\".join(replace_uid(uid.strip("\0 "), self._secret) for uid in uids).encode()
        return replaced + bytes(len(replaced) % 2)

    def _marks_before(self, tag: int) -> bytes:
        """Return the elements that say what was done and have their place before a tag."""
        if self._open or not self._marks:
            return b""
        places = [place for place in self._marks if place < tag]
        return b"".join(self._marks.pop(place) for place in places)


def _dummy(vr: str) -> bytes:
    return _DUMMIES.get(vr, bytes(2))
