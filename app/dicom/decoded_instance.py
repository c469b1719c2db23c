"""A compressed Instance as an uncompressed one: the Data Set around frames that others decode.

The order of use, in which nothing but one frame is held: decode the first frame; make a
`DecodedInstance`; send `header()`, then `frame(…)` of every decoded frame, the first one too, then
`trailer()`. The codecs are in worker processes, so this module only asks for what they made.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from app.dicom.cursor import Cursor
from app.dicom.file_meta import HEAD_BYTES, read_file_meta
from app.dicom.fragments import walk_fragments
from app.dicom.headers import UNDEFINED
from app.dicom.limits import Limits
from app.dicom.open_dataset import OpenDataset, find_element, first_number, first_value
from app.dicom.pixel_description import DecodedFrame, PixelDescription
from app.dicom.recode import explicit_file_meta, gather
from app.dicom.rewrite import PIXEL_DATA, Rewriter, element, element_header
from app.dicom.source import Source
from app.dicom.transfer_syntaxes import find
from app.errors import InvalidDataset, TooLarge

PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002, 0x7FE00003)
_LONGEST = 0xFFFFFFFE

DecodeIcon = Callable[[bytes, PixelDescription], DecodedFrame | None]
"""Decodes a small frame within the Data Set; None if that fails: it is then kept as it is."""


@dataclass(frozen=True, slots=True)
class NativePixels:
    """What Pixel Data becomes: `number_of_frames` frames like the first one."""

    description: PixelDescription
    number_of_frames: int
    photometric_interpretation: str
    planar_configuration: int

    @property
    def length(self) -> int:
        """Bytes of the value, made even. Frames of one-bit pixels have no padding in between."""
        length = (self.description.bits * self.number_of_frames + 7) // 8
        return length + length % 2


class DecodedInstance:
    """The pieces of one Instance, to be taken in their order.

    Raises:
        InvalidDataset: the Transfer Syntax is not one of encapsulated Pixel Data.
        TooLarge: native Pixel Data would be over 4 GiB, which no element can hold.

    Source: PS3.5 §8.1, §8.2, Annex A.2, A.4; PS3.18 §8.7.3
    """

    def __init__(
        self, source: Source, pixels: NativePixels, decode_icon: DecodeIcon, limits: Limits
    ) -> None:
        syntax = find(pixels.description.transfer_syntax_uid)
        if syntax is None or not syntax.encapsulated:
            raise InvalidDataset("only encapsulated Pixel Data can be decoded")
        if pixels.length > _LONGEST:
            raise TooLarge("decoded Pixel Data is over 4 GiB; ask for it as it is stored")
        self._pixels = pixels
        self._head = source.read(0, HEAD_BYTES)
        self._rewriter = Rewriter(
            source,
            read_file_meta(self._head).elements_offset,
            syntax,
            limits,
            changes=image_changes(pixels),
            icon_changes=lambda item: native_icon(source, item, syntax.uid, decode_icon, limits),
        )
        self._bits = _Bits() if pixels.description.bits % 8 else None
        self._sent = 0

    def header(self) -> Iterator[bytes]:
        """Yield all before the frames, in pieces of up to 1 MiB.

        Raises:
            InvalidDataset: the Data Set cannot be understood, or has no encapsulated Pixel Data.

        Source: PS3.10 §7, PS3.5 §7
        """
        return gather(self._header())

    def _header(self) -> Iterator[bytes]:
        yield explicit_file_meta(self._head)
        yield from self._rewriter.walk()
        if not self._rewriter.at_pixels:
            raise InvalidDataset("there is no encapsulated Pixel Data to decode")
        bits = self._pixels.description.bits_allocated
        yield element_header(PIXEL_DATA, "OW" if bits > 8 else "OB", self._pixels.length)

    def frame(self, decoded: DecodedFrame) -> bytes:
        """Return the bytes of the next frame; of one-bit pixels, those that are complete.

        Raises:
            InvalidDataset: it is not like the first one.

        Source: PS3.5 §8.1.1
        """
        pixels = self._pixels
        kind = (decoded.photometric_interpretation, decoded.planar_configuration)
        if (
            kind != (pixels.photometric_interpretation, pixels.planar_configuration)
            or len(decoded.data) != pixels.description.length
        ):
            raise InvalidDataset("the frames of an Instance differ in kind")
        data = decoded.data
        if self._bits is not None:
            data = self._bits.add(data, pixels.description.bits)
        self._sent += len(data)
        return data

    def trailer(self) -> Iterator[bytes]:
        """Yield what follows the frames, in pieces of up to 1 MiB.

        Raises:
            InvalidDataset: there were fewer or more frames than promised, or the Data Set cannot
                be understood.

        Source: PS3.5 §8.1.1, §7
        """
        rest = self._bits.rest() if self._bits is not None else b""
        missing = self._pixels.length - self._sent - len(rest)
        if not 0 <= missing <= 1:
            raise InvalidDataset("Pixel Data has not as many frames as promised")
        yield from gather(self._trailer(rest + bytes(missing)))

    def _trailer(self, rest: bytes) -> Iterator[bytes]:
        yield rest
        yield from self._rewriter.walk_after_pixels()


def native_icon(
    source: Source,
    item: OpenDataset,
    transfer_syntax_uid: str,
    decode_icon: DecodeIcon,
    limits: Limits,
) -> Mapping[int, bytes]:
    """Return what makes an icon's encapsulated Pixel Data native; nothing if it is native.

    Raises:
        InvalidDataset: the icon is over the limit of `header_bytes`.

    Source: PS3.5 §A.4; PS3.3 §F.7
    """
    found = find_element(source, item, PIXEL_DATA)
    if found is None or found[1].length != UNDEFINED:
        return {}
    description = describe(source, item, transfer_syntax_uid)
    frame = decode_icon(_codestream(source, found[0], item, limits), description)
    if frame is None:
        return {}
    pixels = NativePixels(
        description, 1, frame.photometric_interpretation, frame.planar_configuration
    )
    vr = "OW" if description.bits_allocated > 8 else "OB"
    data = frame.data + bytes(len(frame.data) % 2)
    return image_changes(pixels) | {PIXEL_DATA: element(PIXEL_DATA, vr, data)}


def _codestream(source: Source, cursor: Cursor, item: OpenDataset, limits: Limits) -> bytes:
    value = walk_fragments(cursor.window, cursor.position, item.limit, item.encoding, limits)
    places = list(zip(value.offsets or (), value.lengths or (), strict=True))[1:]
    if sum(length for _, length in places) > limits.header_bytes:
        raise InvalidDataset("an icon is over the limit")
    return b"".join(source.read(offset, length) for offset, length in places)


def describe(source: Source, dataset: OpenDataset, transfer_syntax_uid: str) -> PixelDescription:
    """Read the Image Pixel module of an item; what is not there counts as 0, or as one sample.

    Source: PS3.3 §C.7.6.3
    """

    def number(tag: int, default: int = 0) -> int:
        found = first_number(source, dataset, tag)
        return default if found is None else found

    colour = first_value(source, dataset, PHOTOMETRIC_INTERPRETATION, 16) or b""
    return PixelDescription(
        rows=number(0x00280010),
        columns=number(0x00280011),
        samples_per_pixel=number(0x00280002, 1),
        bits_allocated=number(0x00280100),
        bits_stored=number(0x00280101),
        pixel_representation=number(0x00280103),
        photometric_interpretation=colour.decode("latin-1").strip("\0 "),
        planar_configuration=number(PLANAR_CONFIGURATION),
        transfer_syntax_uid=transfer_syntax_uid,
    )


def image_changes(pixels: NativePixels) -> dict[int, bytes]:
    """Return the elements that say how the pixels are now; tables of the old offsets go.

    Planar Configuration stands right behind Photometric Interpretation, for it may be missing.

    Source: PS3.3 §C.7.6.3.1.2, §C.7.6.3.1.3
    """
    colour = pixels.photometric_interpretation.encode("latin-1")
    colour += b" " * (len(colour) % 2)
    changes = dict.fromkeys((*_OFFSET_TABLES, PLANAR_CONFIGURATION), b"")
    changes[PHOTOMETRIC_INTERPRETATION] = element(PHOTOMETRIC_INTERPRETATION, "CS", colour)
    if pixels.description.samples_per_pixel > 1:
        planar = pixels.planar_configuration.to_bytes(2, "little")
        changes[PHOTOMETRIC_INTERPRETATION] += element(PLANAR_CONFIGURATION, "US", planar)
    return changes


class _Bits:
    """Joins frames of one-bit pixels that do not end at a byte."""

    def __init__(self) -> None:
        self._waiting = np.empty(0, np.uint8)

    def add(self, frame: bytes, bits: int) -> bytes:
        pixels = np.unpackbits(np.frombuffer(frame, np.uint8), count=bits, bitorder="little")
        pixels = np.concatenate((self._waiting, pixels))
        whole = len(pixels) - len(pixels) % 8
        self._waiting = pixels[whole:]
        return np.packbits(pixels[:whole], bitorder="little").tobytes()

    def rest(self) -> bytes:
        return np.packbits(self._waiting, bitorder="little").tobytes()
