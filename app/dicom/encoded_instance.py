"""An Instance in another, encapsulated Transfer Syntax: the Data Set around frames others encode.

The order of use, in which nothing but one frame is held: encode the first frame; make an
`EncodedInstance`; send `header()`, then `frame(…)` of every frame, the first one too, then
`trailer()`. Only what describes the encoding changes. Each frame is one fragment; the Basic Offset
Table stays empty, since no length is known ahead.
"""

from collections.abc import Iterator
from struct import pack

from app.dicom.decoded_instance import DecodeIcon, NativePixels, image_changes, native_icon
from app.dicom.file_meta import HEAD_BYTES, read_file_meta
from app.dicom.headers import ITEM, SEQUENCE_END, UNDEFINED
from app.dicom.limits import Limits
from app.dicom.recode import explicit_file_meta, gather
from app.dicom.rewrite import PIXEL_DATA, Rewriter, element_header
from app.dicom.source import Source
from app.dicom.transfer_syntaxes import find
from app.errors import InvalidDataset

_SEQUENCE_STOP = pack("<HHL", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF, 0)


def _item(length: int) -> bytes:
    return pack("<HHL", ITEM >> 16, ITEM & 0xFFFF, length)


class EncodedInstance:
    """The pieces of one Instance, to be taken in their order.

    `pixels` say how frames were and what Photometric Interpretation the encoded ones have.

    Raises:
        InvalidDataset: the Transfer Syntax of the source is unknown.

    Source: PS3.5 §8.2, Annex A.4; PS3.18 §8.7.3
    """

    def __init__(
        self,
        source: Source,
        pixels: NativePixels,
        transfer_syntax_uid: str,
        decode_icon: DecodeIcon,
        limits: Limits,
    ) -> None:
        syntax = find(pixels.description.transfer_syntax_uid)
        if syntax is None:
            raise InvalidDataset("the Transfer Syntax is not known")
        self._pixels = pixels
        self._uid = transfer_syntax_uid
        self._head = source.read(0, HEAD_BYTES)
        self._rewriter = Rewriter(
            source,
            read_file_meta(self._head).elements_offset,
            syntax,
            limits,
            changes=image_changes(pixels),
            icon_changes=lambda item: native_icon(source, item, syntax.uid, decode_icon, limits),
        )
        self._missing = pixels.number_of_frames

    def header(self) -> Iterator[bytes]:
        """Yield all before the frames, in pieces of up to 1 MiB.

        Raises:
            InvalidDataset: the Data Set cannot be understood, or has no Pixel Data.

        Source: PS3.10 §7, PS3.5 §7, §A.4
        """
        return gather(self._header())

    def _header(self) -> Iterator[bytes]:
        yield explicit_file_meta(self._head, self._uid)
        yield from self._rewriter.walk(stops_at_native=True)
        if not self._rewriter.at_pixels:
            raise InvalidDataset("there is no Pixel Data to encode")
        yield element_header(PIXEL_DATA, "OB", UNDEFINED) + _item(0)

    def frame(self, codestream: bytes, photometric_interpretation: str) -> bytes:
        """Return the item of the next frame.

        Raises:
            InvalidDataset: it is not like the first one.

        Source: PS3.5 §A.4
        """
        if photometric_interpretation != self._pixels.photometric_interpretation:
            raise InvalidDataset("the frames of an Instance differ in kind")
        self._missing -= 1
        codestream += bytes(len(codestream) % 2)
        return _item(len(codestream)) + codestream

    def trailer(self) -> Iterator[bytes]:
        """Yield what follows the frames, in pieces of up to 1 MiB.

        Raises:
            InvalidDataset: there were fewer or more frames than promised, or the Data Set cannot
                be understood.

        Source: PS3.5 §A.4, §7
        """
        if self._missing:
            raise InvalidDataset("Pixel Data has not as many frames as promised")
        yield from gather(self._trailer())

    def _trailer(self) -> Iterator[bytes]:
        yield _SEQUENCE_STOP
        yield from self._rewriter.walk_after_pixels()
