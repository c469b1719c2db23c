"""What one pass over a Part 10 stream yields: the values that `scan`, `frames` and the index share.

All offsets are bytes from the start of the stored object; in a deflated one, from the start of
its inflated rendition (preamble and meta header as they are, the data set inflated).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

DERIVED_VERSION = 1
"""Version of everything derived from the bytes; a better scanner raises it and can replay."""

BULK_DATA_PLACEHOLDER = b'"BulkDataURI":"bulkdata/'
"""How a fragment names a bulk value: followed by its path, e.g. 7FE00010 or 54000100/1/54001010
(tag, then 1-based item number and tag), and a quote. On the way out the Instance's URL is put
before `bulkdata/`. The sequence cannot occur inside a JSON string, where quotes are escaped."""


class FrameKind(IntEnum):
    """How frames lie in the object (a column of the index: never renumber)."""

    NONE = 0
    """No frames."""
    STRIDE = 1
    """Native, each `length` bytes, one after the other from `offset`."""
    TABLE = 2
    """Encapsulated: `table` has 16 bytes a frame: offset (u64 LE) and length (u64 LE) of its bytes.
    The top bit of the length says that item headers lie in between (several fragments)."""
    BITS = 3
    """Native of one bit a pixel and frames off byte bounds; `length` is the frame's bits."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Where the frames of an Instance lie (PS3.5 §8, §A.4)."""

    kind: FrameKind = FrameKind.NONE
    count: int = 0
    offset: int = 0
    length: int = 0
    table: bytes | None = None


@dataclass(frozen=True, slots=True)
class BulkPlace:
    """Where a bulk value lies, in its stored encoding, and its VR.

    For encapsulated Pixel Data the place spans the items from the Basic Offset Table's header to
    the Sequence Delimitation Item, exclusive.
    """

    offset: int
    length: int
    vr: str


@dataclass(frozen=True, slots=True)
class ScannedInstance:
    """One Instance as the archive knows it after a single pass.

    `fragments` maps a top-level tag (0x00100010) to its DICOM JSON member, `"00100010":{…}` in
    UTF-8, in ascending order, without group 2 and group lengths (J-02, J-05, J-06). `bulk_values`
    maps the path in `BULK_DATA_PLACEHOLDER` to its place. `warnings` are plain words on what had
    to be recovered; they carry no values.
    """

    transfer_syntax_uid: str
    dataset_offset: int
    fragments: Mapping[int, bytes]
    bulk_values: Mapping[str, BulkPlace] = field(default_factory=dict)
    frames: Frames = field(default_factory=Frames)
    warnings: tuple[str, ...] = ()

    @property
    def metadata(self) -> bytes:
        """The whole Metadata as one JSON object."""
        return b"{" + b",".join(self.fragments.values()) + b"}"
