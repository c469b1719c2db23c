"""What the Image Pixel module says of a frame, and what a decoder made of it."""

from dataclasses import dataclass

from app.errors import InvalidDataset

_BITS_ALLOCATED = frozenset({1, 8, 16, 32, 64})


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelDescription:
    """The Image Pixel module of an Instance as far as it shapes one frame.

    Source: PS3.3 §C.7.6.3
    """

    rows: int
    columns: int
    samples_per_pixel: int = 1
    bits_allocated: int
    bits_stored: int
    pixel_representation: int = 0
    photometric_interpretation: str
    planar_configuration: int = 0
    transfer_syntax_uid: str

    @property
    def bits(self) -> int:
        """How many bits one native frame has."""
        pixels = self.rows * self.columns
        return pixels * self.samples_per_pixel * self.bits_allocated

    @property
    def length(self) -> int:
        """Bytes of one decoded frame, a last byte filled up."""
        return (self.bits + 7) // 8

    def check(self, decoded_bytes: int) -> None:
        """Refuse what no real frame is, before anything is allocated.

        Raises:
            InvalidDataset: a value that the standard does not allow, or a frame of more than
                `decoded_bytes`.

        Source: PS3.3 §C.7.6.3.1, PS3.5 §8.1.1
        """
        if not (0 < self.rows <= 0xFFFF and 0 < self.columns <= 0xFFFF):
            raise InvalidDataset("Rows and Columns must be 1 to 65535")
        if self.samples_per_pixel not in {1, 3, 4}:
            raise InvalidDataset("Samples per Pixel must be 1, 3 or 4")
        if self.bits_allocated not in _BITS_ALLOCATED:
            raise InvalidDataset("Bits Allocated must be 1, 8, 16, 32 or 64")
        if not 0 < self.bits_stored <= self.bits_allocated:
            raise InvalidDataset("Bits Stored must be 1 up to Bits Allocated")
        if self.length > decoded_bytes:
            raise InvalidDataset(f"a decoded frame is over the limit of {decoded_bytes} bytes")


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One native frame, little endian, and what Photometric Interpretation it really has.

    `planar_configuration` is 0 (colour by pixel) unless a decoder could only give planes.
    """

    data: bytes
    photometric_interpretation: str
    planar_configuration: int = 0
