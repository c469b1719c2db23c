"""One Instance of 8 GB, made while it is sent: 8,192 frames in baseline JPEG of 1 MiB each.

Each frame is a picture that a decoder takes, made different from all others by a comment in it, and
filled up to its length by further comments. So every place and length is known beforehand.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import JPEGBaseline8Bit

from benchmarks.data import identify, make_uid

FRAME = 2**20
FRAMES = 8192
SIDE = 1024
_PICTURES = 4
_STAMP = b"\xff\xfe\x00\x0a%08d"
"""A comment segment with the frame's number."""
_LONGEST = 2 + 0xFFFF
_ITEM = b"\xfe\xff\x00\xe0"
_END = b"\xfe\xff\xdd\xe0" + bytes(4)
_OFFSETS, _LENGTHS = b"\xe0\x7f\x01\x00OV\0\0", b"\xe0\x7f\x02\x00OV\0\0"
_PIXELS = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class LargeInstance:
    """What is sent, and what each frame of it is."""

    study: str
    series: str
    uid: str
    head: bytes
    """All up to the first frame's item."""
    count: int

    @property
    def path(self) -> str:
        """Where DICOMweb has it, below the root."""
        return f"/studies/{self.study}/series/{self.series}/instances/{self.uid}"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.head) + self.count * (8 + FRAME) + len(_END)

    def frame(self, number: int) -> tuple[bytes, memoryview]:
        """Return a frame in two pieces; `number` counts from 1."""
        return b"\xff\xd8" + _STAMP % number, _pictures()[number % _PICTURES]

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Yield the file's bytes in order."""
        yield self.head
        item = _ITEM + struct.pack("<I", FRAME)
        for number in range(1, self.count + 1):
            start, rest = self.frame(number)
            yield item + start
            yield rest
        yield _END


def make_large(run: int, count: int, *, table: bool) -> LargeInstance:
    """Return an Instance with an Extended Offset Table, or without any table."""
    dataset = Dataset()
    identify(dataset)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        make_uid(level, run) for level in (1, 2, 3)
    )
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
    dataset.Modality, dataset.ConversionType = "XC", "DV"
    dataset.PatientName, dataset.StudyDate = "Benchmark^Large", "20251103"
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.NumberOfFrames, dataset.FrameTime = count, "40"
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation, dataset.LossyImageCompression = 0, "01"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    head = file.getvalue() + (_write_table(count) if table else b"") + _PIXELS + _ITEM + bytes(4)
    return LargeInstance(
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        head,
        count,
    )


def _write_table(count: int) -> bytes:
    offsets = np.arange(count, dtype="<u8") * (8 + FRAME)
    lengths = np.full(count, FRAME, "<u8")
    size = struct.pack("<I", 8 * count)
    return _OFFSETS + size + offsets.tobytes() + _LENGTHS + size + lengths.tobytes()


@lru_cache
def _pictures() -> tuple[memoryview, ...]:
    """Return what follows the stamp in each of a few frames."""
    return tuple(memoryview(_fill(_draw(number))) for number in range(_PICTURES))


def _draw(number: int) -> bytes:
    """Return a baseline JPEG of a little less than a frame's length: noise does not compress."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    disc = 180.0 * (x**2 + y**2 < 0.3 + 0.1 * number) + 30
    noisy = disc[..., None] + random.normal(0, 20, (SIDE, SIDE, 3))
    samples = noisy.clip(0, 255).astype(np.uint8)
    for quality in range(98, 30, -2):
        stream = bytes(imagecodecs.jpeg8_encode(samples, level=quality, subsampling="422"))
        if len(stream) < FRAME - 64:
            return stream
    raise AssertionError("no quality makes it small enough")


def _fill(stream: bytes) -> bytes:
    """Return a JPEG without its first marker, after comments that make a frame's length of it."""
    left = FRAME - len(stream) - len(_STAMP % 0)
    filling = []
    while left:
        taken = min(left, _LONGEST)
        taken -= 4 if 0 < left - taken < 4 else 0  # the least that a comment takes
        filling.append(b"\xff\xfe" + struct.pack(">H", taken - 2) + bytes(taken - 4))
        left -= taken
    return b"".join([*filling, stream[2:]])
