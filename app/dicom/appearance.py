"""What an Instance says about how one of its frames is displayed, gathered from its Data Set."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.dicom.document import Document
from app.dicom.lookup_tables import LookupTable, expand_segments, lookup_table
from app.dicom.overlays import Overlay, embedded_overlays, overlays_of
from app.dicom.pixel_description import PixelDescription
from app.dicom.presentation import Presentation
from app.dicom.voi import FUNCTIONS, Window
from app.errors import InvalidDataset

_SHARED, _PER_FRAME = "52009229", "52009230"
_FLOAT_TAGS = ("7FE00008", "7FE00009")
_COLOURS = ("1", "2", "3")
_LUT_DATA = re.compile(r"(?:^|/)(?:00283006|002812[02][123]|60[01][02468ACE]3000|00282000)$")
MOST_PIXELS = 2**27
"""Of a frame that is rendered."""
MOST_BULK_BYTES = 32 * 2**20
"""Bulk values that are read for one picture: tables, overlays, a colour profile."""


@dataclass(frozen=True, slots=True)
class Modality:
    """How stored values become values of the modality, such as Hounsfield Units."""

    slope: float = 1.0
    intercept: float = 0.0
    table: LookupTable | None = None

    @property
    def is_identity(self) -> bool:
        """Say whether nothing is changed."""
        return self.table is None and (self.slope, self.intercept) == (1.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """All that shapes the picture of one frame but what the request says."""

    pixels: PixelDescription
    high_bit: int
    floating: bool = False
    modality: Modality = Modality()
    window: Window | None = None
    voi_table: LookupTable | None = None
    inverted: bool = False
    padding: tuple[float, float] | None = None
    full_scale: float | None = None
    """The stored value that is white where no window is known, if that is defined."""
    palette: tuple[LookupTable, LookupTable, LookupTable] | None = None
    tint: tuple[LookupTable, LookupTable, LookupTable] | None = None
    """Colours in which a presentation state shows grey: those of black first, of white last."""
    overlays: tuple[Overlay, ...] = ()
    overlay_bits: tuple[int, ...] = ()
    """Bits of each cell that are graphics over it, in the retired way."""
    aspect: float = 1.0
    """Height of a pixel divided by its width."""
    icc_profile: bytes = b""
    presentation: Presentation | None = None
    """The geometry of a presentation state."""


def bulk_paths(paths: Sequence[str], frame_number: int) -> list[str]:
    """Return which bulk values the appearance of a frame may need.

    Source: PS3.3 §C.7.6.16
    """
    own = f"{_PER_FRAME}/{frame_number}/"
    return [
        path
        for path in paths
        if _LUT_DATA.search(path) and (not path.startswith(_PER_FRAME) or path.startswith(own))
    ]


def appearance_of(document: Document, transfer_syntax_uid: str, frame_number: int) -> Appearance:
    """Return how a frame (1-based) is displayed.

    Values in the functional groups of a multi-frame image go before those of the whole image.

    Raises:
        InvalidDataset: the Instance does not describe its pixels.

    Source: PS3.3 §C.7.6.3, §C.7.6.16, §C.11; PS3.4 §N.2
    """
    floating = any(tag in document.members for tag in _FLOAT_TAGS)
    pixels = _description(document, transfer_syntax_uid, floating=floating)
    signed = bool(pixels.pixel_representation)
    modality = _modality(document, frame_number, signed=signed)
    voi = _groups(document, frame_number, "00289132")
    high_bit = document.integer("00280102", pixels.bits_stored - 1)
    modality_is_signed = signed or modality.intercept < 0
    return Appearance(
        pixels=pixels,
        high_bit=high_bit,
        floating=floating,
        modality=modality,
        window=_first_window(voi),
        voi_table=voi_table_of(voi, signed=modality_is_signed),
        inverted=_is_inverted(document, pixels),
        padding=_padding(document),
        full_scale=_full_scale(document, pixels, modality, floating=floating),
        palette=_palette(document, signed=signed),
        overlays=overlays_of(document, frame_number),
        overlay_bits=embedded_overlays(document, pixels, high_bit, frame_number),
        aspect=_aspect(document, frame_number),
        icc_profile=_icc_profile(document),
    )


def check_size(appearance: Appearance, decoded_bytes: int) -> None:
    """Refuse what is too large to be rendered, before anything is read.

    Raises:
        InvalidDataset: the description is not that of a real frame, or one too large.

    Source: PS3.3 §C.7.6.3.1
    """
    pixels = appearance.pixels
    pixels.check(decoded_bytes)
    if pixels.rows * pixels.columns > MOST_PIXELS:
        raise InvalidDataset(f"a frame of more than {MOST_PIXELS} pixels is not rendered")


def _description(
    document: Document, transfer_syntax_uid: str, *, floating: bool
) -> PixelDescription:
    rows, columns = document.integer("00280010", 0), document.integer("00280011", 0)
    bits_allocated = document.integer("00280100", 0)
    if floating:
        bits_allocated = 32 if _FLOAT_TAGS[0] in document.members else 64
    if not (rows and columns and bits_allocated):
        raise InvalidDataset("the Instance does not describe its pixels")
    return PixelDescription(
        rows=rows,
        columns=columns,
        samples_per_pixel=document.integer("00280002", 1),
        bits_allocated=bits_allocated,
        bits_stored=bits_allocated if floating else document.integer("00280101", bits_allocated),
        pixel_representation=0 if floating else document.integer("00280103", 0),
        photometric_interpretation=document.text("00280004") or "MONOCHROME2",
        planar_configuration=document.integer("00280006", 0),
        transfer_syntax_uid=transfer_syntax_uid,
    )


def _groups(document: Document, frame_number: int, tag: str) -> list[Document]:
    """Return where a functional group may stand: the frame's, the shared one, the image itself."""
    frame = document.item(_PER_FRAME, frame_number).item(tag)
    return [frame, document.item(_SHARED).item(tag), document]


def _modality(document: Document, frame_number: int, *, signed: bool) -> Modality:
    for place in _groups(document, frame_number, "00289145")[:-1]:
        found = modality_of(place, signed=signed)
        if not found.is_identity:
            return found
    return modality_of(document, signed=signed)


def modality_of(place: Document, *, signed: bool) -> Modality:
    """Return the transformation that a Data Set or functional group names; that of none is none.

    Source: PS3.3 §C.11.1
    """
    intercept, slope = place.number("00281052"), place.number("00281053")
    if slope or intercept is not None:
        return Modality(slope or 1.0, intercept or 0.0)
    table = lookup_table(place.item("00283000"), "00283002", "00283006", signed=signed)
    return Modality(table=table)


def _first_window(places: list[Document]) -> Window | None:
    for place in places:
        window = window_of(place)
        if window is not None:
            return window
    return None


def window_of(place: Document) -> Window | None:
    """Return the first window that a Data Set or item names, if the standard allows it.

    Source: PS3.3 §C.11.2.1.2
    """
    center, width = place.number("00281050"), place.number("00281051")
    if center is None or width is None:
        return None
    function = place.text("00281056").upper() or "LINEAR"
    window = Window(center, width, function if function in FUNCTIONS else "LINEAR")
    return window if window.is_valid else None


def voi_table_of(places: list[Document], *, signed: bool) -> LookupTable | None:
    """Return the first VOI LUT that one of several places has.

    Source: PS3.3 §C.11.2.1.1
    """
    tables = (
        lookup_table(place.item("00283010"), "00283002", "00283006", signed=signed)
        for place in places
    )
    return next((table for table in tables if table is not None), None)


def _is_inverted(document: Document, pixels: PixelDescription) -> bool:
    shape = document.text("20500020")
    return pixels.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"


def _padding(document: Document) -> tuple[float, float] | None:
    value = document.number("00280120")
    if value is None:
        return None
    limit = document.number("00280121")
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _full_scale(
    document: Document, pixels: PixelDescription, modality: Modality, *, floating: bool
) -> float | None:
    """Return what is white in images whose values are shades of grey by themselves."""
    if floating or pixels.pixel_representation or not modality.is_identity:
        return None
    fraction = document.number("0062000E")
    if fraction:
        return fraction
    if 0 < pixels.bits_stored <= 8 and document.text("00620001") != "LABELMAP":
        return float((1 << pixels.bits_stored) - 1)
    return None


def _palette(
    document: Document, *, signed: bool
) -> tuple[LookupTable, LookupTable, LookupTable] | None:
    if document.text("00280004") != "PALETTE COLOR":
        return None
    return palette_of(document, signed=signed)


def palette_of(document: Document, *, signed: bool) -> tuple[LookupTable, LookupTable, LookupTable]:
    """Return the tables of a palette, segmented ones expanded.

    Raises:
        InvalidDataset: one of the three is missing, or damaged.

    Source: PS3.3 §C.7.9
    """
    tables = [_colour_table(document, colour, signed=signed) for colour in _COLOURS]
    red, green, blue = tables
    if red is None or green is None or blue is None:
        raise InvalidDataset("the Instance has not all three tables of its palette")
    return red, green, blue


def _colour_table(document: Document, colour: str, *, signed: bool) -> LookupTable | None:
    descriptor = f"0028110{colour}"
    plain = lookup_table(document, descriptor, f"0028120{colour}", signed=signed)
    if plain is not None:
        return plain
    packed = lookup_table(document, descriptor, f"0028122{colour}", signed=signed)
    if packed is None:
        return None
    count = document.integer(descriptor, 0) & 0xFFFF or 0x10000
    entries = _expanded(document, f"0028122{colour}", packed.bits, count)
    return LookupTable(packed.first, packed.bits, entries)


def _expanded(document: Document, tag: str, bits: int, count: int) -> NDArray[np.uint16]:
    """Return the entries of segments, which are of octets where entries are, or of words."""
    octets = np.frombuffer(document.octets(tag), np.uint8)
    if bits == 8 and len(octets):
        with suppress(InvalidDataset):  # words after all, as some write it
            return expand_segments(octets.astype(np.uint16), count)
    return expand_segments(document.words(tag), count)


def _aspect(document: Document, frame_number: int) -> float:
    """Return the height of a pixel divided by its width.

    Spacing of pixels goes before their aspect ratio, which stands where there is no spacing.
    """
    places = _groups(document, frame_number, "00289110")
    wanted = [(place, "00280030") for place in places]
    wanted += [(document, "00181164"), (document, "00280034")]
    for place, tag in wanted:
        pair = place.numbers(tag)[:2]
        if len(pair) == 2 and min(pair) > 0 and 0.01 < pair[0] / pair[1] < 100:
            return pair[0] / pair[1]
    return 1.0


def frame_seconds(document: Document) -> float:
    """Return how long a frame of a multi-frame image is shown; a tenth where nothing says it.

    Source: PS3.3 §C.7.6.5, §C.7.6.5.1.1
    """
    milliseconds = document.number("00181063")
    if milliseconds and milliseconds > 0:
        return milliseconds / 1000
    for rate in (document.number("00082144"), document.number("00180040")):
        if rate and rate > 0:
            return 1 / rate
    return 0.1


def _icc_profile(document: Document) -> bytes:
    path = document.item("00480105")
    return document.octets("00282000") or path.octets("00282000")
