"""Look-up tables: of the modality, of values of interest, of palettes; segmented ones expanded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.dicom.document import Document
from app.errors import InvalidDataset

MOST_ENTRIES = 0x10000
Values = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class LookupTable:
    """`entries`, of `bits` each; `first` is the value that the first entry stands for."""

    first: int
    bits: int
    entries: NDArray[np.uint16]

    @property
    def highest(self) -> int:
        """The value that stands for all of a range: white, or a full colour."""
        return (1 << self.bits) - 1

    def apply(self, values: Values) -> NDArray[np.uint16]:
        """Return the entry of each value; beyond its ends the table goes on as it ends.

        Source: PS3.3 §C.11.1.1, §C.7.6.3.1.5
        """
        last = self.first + len(self.entries) - 1
        wide = values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
        places = np.nan_to_num(np.clip(wide, self.first, last) - self.first)
        return self.entries[np.rint(places).astype(np.intp)]


def lookup_table(
    document: Document, descriptor_tag: str, data_tag: str, *, signed: bool
) -> LookupTable | None:
    """Return the table of a descriptor and its data; None where one of them is missing.

    `signed` says that pixels are: then the first value is, whatever the descriptor's VR.
    Entries of 8 bits may stand two in a word. Fewer entries than described are all there are.

    Source: PS3.3 §C.11.1.1, §C.11.2.1.1, §C.7.6.3.1.5
    """
    descriptor = document.numbers(descriptor_tag)
    if len(descriptor) < 3:
        return None
    count = int(descriptor[0]) & 0xFFFF or MOST_ENTRIES
    entries = _entries(document, data_tag, count)
    if not len(entries):
        return None
    bits = int(descriptor[2])
    bits = bits if 8 <= bits <= 16 else 16
    return LookupTable(_first(descriptor[1], signed=signed), bits, entries)


def _first(value: float, *, signed: bool) -> int:
    first = int(value) & 0xFFFF
    return first - 0x10000 if signed and first >= 0x8000 else first


def _entries(document: Document, tag: str, count: int) -> NDArray[np.uint16]:
    octets = document.octets(tag)
    if count <= len(octets) <= count + 1 and count > 1:  # two entries in a word
        return np.frombuffer(octets, np.uint8, count).astype(np.uint16)
    return document.words(tag)[:count]


def expand_segments(words: NDArray[np.uint16], count: int) -> NDArray[np.uint16]:
    """Return the `count` entries of segmented table data.

    Raises:
        InvalidDataset: a segment is none of the three kinds.

    Source: PS3.3 §C.7.9.2
    """
    out: list[int] = []
    _expand(words, 0, len(words), out, count)
    return np.array(out[:count], np.uint16)


def _expand(words: NDArray[np.uint16], at: int, segments: int, out: list[int], count: int) -> None:
    """Expand up to `segments` segments from a place; each makes an entry at least."""
    outermost = segments == len(words)
    while at + 2 < len(words) and segments > 0 and len(out) < count:
        kind, length = int(words[at]), int(words[at + 1])
        at += 2
        segments -= 1
        if kind == 0 and length:
            out.extend(words[at : at + length].tolist())
            at += length
        elif kind == 1 and length and out:
            line = np.linspace(out[-1], int(words[at]), length + 1)[1:]
            out.extend(np.rint(line).astype(int).tolist())
            at += 1
        elif kind == 2 and outermost and at + 1 < len(words):
            target = int(words[at]) | int(words[at + 1]) << 16
            _expand(words, target, length, out, count)
            at += 2
        else:
            raise InvalidDataset("a segment of a palette is none that the standard knows")
