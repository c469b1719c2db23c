"""What one scan gathers as it goes, within its limits."""

from dataclasses import dataclass, field

from app.dicom.fragments import Encapsulated
from app.dicom.limits import Limits
from app.dicom.memo import Memo
from app.dicom.scanned import BulkPlace
from app.dicom.source import Window
from app.errors import InvalidDataset

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and plain Pixel Data: always Bulk Data."""
_MOST_REREAD = 16


@dataclass(slots=True)
class PixelValue:
    """The outermost Pixel Data: where it is, and its items if it is encapsulated."""

    tag: int
    vr: str
    offset: int
    length: int
    encapsulated: Encapsulated | None = None
    missing: int = 0
    """Bytes that were declared and are not there."""


@dataclass(slots=True)
class Walk:
    """The state of one scan beside its levels."""

    window: Window
    limits: Limits
    memo: Memo
    bulk_values: dict[str, BulkPlace] = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    pixels: PixelValue | None = None
    peculiar: int = 0
    """Grows with each warning and bulk value: what belongs to this Instance alone."""
    reread: int = 0
    runless: int = 0
    count: int = 0
    held: int = 0

    def warn(self, words: str) -> None:
        """Note what had to be recovered, once."""
        self.warnings[words] = None
        self.peculiar += 1

    def begin_again(self, size: int) -> None:
        """Note that so many bytes will be read once more.

        Raises:
            InvalidDataset: it was many times as much as there is, for levels within levels.
        """
        self.reread += size
        if self.reread > _MOST_REREAD * self.window.size:
            raise InvalidDataset("the elements are out of order at too many levels", 0xC002)

    def add(self, count: int, held: int) -> None:
        """Count elements and the bytes of their values.

        Raises:
            InvalidDataset: there are too many.
        """
        self.count += count
        self.held += held
        if self.count > self.limits.elements:
            raise InvalidDataset(f"more than {self.limits.elements} Data Elements", 0xC002)
        if self.held > self.limits.header_bytes:
            raise InvalidDataset(
                f"more than {self.limits.header_bytes} bytes beside Bulk Data", 0xC002
            )
