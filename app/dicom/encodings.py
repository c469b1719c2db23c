"""The table of what can be encoded: which frames a Transfer Syntax keeps to the last bit.

Rows are what the standard allows and the codecs here were measured to give back exactly, by our
decoders and by independent ones (tests/dicom/test_encoders.py). What is in no row is not encoded.
The encoders themselves are in `encoders`, for worker processes; this table needs none of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from app.dicom.pixel_description import PixelDescription
from app.dicom.transfer_syntaxes import RLE_LOSSLESS, TransferSyntax, find

_PREFIX = "1.2.840.10008.1.2.4."
JPEG_BASELINE = f"{_PREFIX}50"
JPEG_LOSSLESS = f"{_PREFIX}70"
JPEG_LS_LOSSLESS = f"{_PREFIX}80"
JPEG_2000_LOSSLESS = f"{_PREFIX}90"
HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL = f"{_PREFIX}201", f"{_PREFIX}202"
JPEG_XL_LOSSLESS = f"{_PREFIX}110"

VERSION = 1
"""Goes up when an encoder makes other bytes than before: what was kept of it is then made anew."""

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOURS = frozenset({"RGB", "YBR_FULL"})
_PALETTE = frozenset({"PALETTE COLOR"})
_DECODED_COLOURS = {"YBR_RCT": "RGB", "YBR_ICT": "RGB", "XYB": "RGB", "YBR_FULL_422": "YBR_FULL"}
"""What the Photometric Interpretation of a compressed frame becomes when it is decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """One row; `uid` is its key.

    Source: PS3.5 §8.2, Annexes A.4, G
    """

    uid: str
    bits_allocated: frozenset[int] = frozenset({8, 16})
    least_bits_stored: int = 1
    colours: frozenset[str] = _GREY | _PALETTE | _COLOURS
    signed: frozenset[str] = _GREY
    """Photometric Interpretations of which pixels may be signed, too."""


ROWS: tuple[Encoding, ...] = (
    Encoding(uid=JPEG_LS_LOSSLESS, least_bits_stored=2),
    Encoding(uid=JPEG_2000_LOSSLESS),
    Encoding(uid=HTJ2K_LOSSLESS),
    Encoding(uid=HTJ2K_LOSSLESS_RPCL),
    Encoding(uid=JPEG_LOSSLESS, least_bits_stored=2),
    Encoding(uid=RLE_LOSSLESS, bits_allocated=frozenset({8, 16, 32})),
    Encoding(uid=JPEG_XL_LOSSLESS, colours=_GREY | {"RGB"}, signed=frozenset()),
    Encoding(
        uid=JPEG_BASELINE,
        bits_allocated=frozenset({8}),
        least_bits_stored=8,
        colours=_GREY | _COLOURS,
        signed=frozenset(),
    ),
)
"""In the order in which they are chosen where a caller leaves the choice."""

_BY_UID = {row.uid: row for row in ROWS}


def targets() -> Iterator[TransferSyntax]:
    """Yield the Transfer Syntaxes that anything can be encoded in, the preferred first.

    Source: PS3.5 Annex A.4
    """
    for row in ROWS:
        syntax = find(row.uid)
        assert syntax is not None  # noqa: S101 - a test holds the tables together
        yield syntax


def can_encode(description: PixelDescription, transfer_syntax_uid: str) -> bool:
    """Say whether frames of this description can be encoded in a syntax, exactly unless lossy.

    The description may be that of compressed frames: they are decoded first.

    Source: PS3.5 §8.2; PS3.3 §C.7.6.3
    """
    row = _BY_UID.get(transfer_syntax_uid)
    source = find(description.transfer_syntax_uid)
    if row is None or source is None or not source.decodable:
        return False
    colour = description.photometric_interpretation
    if source.encapsulated:
        colour = _DECODED_COLOURS.get(colour, colour)
    samples = 3 if colour in _COLOURS else 1
    return (
        colour in row.colours
        and description.samples_per_pixel == samples
        and description.bits_allocated in row.bits_allocated
        and row.least_bits_stored <= description.bits_stored <= description.bits_allocated
        and (description.pixel_representation == 0 or colour in row.signed)
    )
