"""Deflated Data Sets, inflated within bounds (PS3.5 §A.5).

The rendition of a deflated object is its bytes before the Data Set as they are, followed by the
Data Set inflated. A small one is made in memory; a large one is inflated again as it is read, from
front to back, so that neither memory nor a file has to hold it.
"""

import zlib
from collections.abc import Iterator

from app.dicom.limits import Limits
from app.dicom.source import BytesSource, Source
from app.errors import InvalidDataset

DEFLATED = frozenset({
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205",
})  # fmt: skip
"""Transfer Syntaxes whose whole Data Set is deflated (the latter two: JPIP Referenced Deflate)."""

_BLOCK = 2**16
_CHUNK = 2**18
_FREE_GROWTH = 64 * 2**20
_KEPT = 2**20
_RESTARTS = 8


def inflate_dataset(source: Source, dataset_offset: int, limits: Limits) -> Iterator[bytes]:
    """Yield the inflated Data Set in chunks of up to 256 KiB.

    A raw deflate stream is what the standard asks for; one with a zlib header is understood too.
    Bytes after its end are padding.

    Raises:
        InvalidDataset: not a deflate stream, cut short, larger than the limit, or growing more
            than the limit's ratio (beyond the first 64 MiB).

    Source: PS3.5 §A.5
    """
    engine = zlib.decompressobj(_window_bits(source.read(dataset_offset, 2)))
    position, made = dataset_offset, 0
    while not engine.eof:
        block = engine.unconsumed_tail or source.read(position, _BLOCK)
        if not engine.unconsumed_tail:
            position += len(block)
        chunk = _inflate(engine, block)
        made += len(chunk)
        _check_growth(made, position - dataset_offset, limits)
        if chunk:
            yield chunk


def _window_bits(first: bytes) -> int:
    has_zlib_header = (
        len(first) == 2 and first[0] & 0x8F == 0x08 and (int.from_bytes(first, "big") % 31 == 0)
    )
    return zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS


def _inflate(engine: "zlib._Decompress", block: bytes) -> bytes:
    try:
        chunk = engine.decompress(block, _CHUNK)
    except zlib.error as error:
        raise InvalidDataset("the deflated Data Set cannot be inflated") from error
    if not block and not chunk and not engine.eof:
        raise InvalidDataset("the deflated Data Set is cut short", 0xC001)
    return chunk


def _check_growth(made: int, read: int, limits: Limits) -> None:
    if made > limits.inflated_bytes:
        raise InvalidDataset(
            f"the deflated Data Set is larger than {limits.inflated_bytes} bytes", 0xC002
        )
    if made > _FREE_GROWTH and made > read * limits.inflate_ratio:
        raise InvalidDataset(
            f"the deflated Data Set grows more than {limits.inflate_ratio} times", 0xC002
        )


def rendition(source: Source, dataset_offset: int, limits: Limits) -> Source:
    """Return the object with its Data Set inflated, as bytes to read from anywhere.

    Raises:
        InvalidDataset: as `inflate_dataset`.

    Source: PS3.5 §A.5
    """
    head = source.read(0, dataset_offset)
    kept: list[bytes] = [head]
    size = len(head)
    for chunk in inflate_dataset(source, dataset_offset, limits):
        size += len(chunk)
        if size <= limits.memory_part_bytes:
            kept.append(chunk)
    if size <= limits.memory_part_bytes:
        return BytesSource(b"".join(kept))
    return InflatingSource(source, dataset_offset, limits, size)


class InflatingSource:
    """A large rendition, read from front to back; steps back are dear, so they are counted.

    The last MiB stays at hand. Further back it begins again, at most 8 times.
    """

    __slots__ = (
        "_chunks", "_data", "_limits", "_offset", "_restarts", "_source", "_start", "size",
    )  # fmt: skip

    def __init__(self, source: Source, dataset_offset: int, limits: Limits, size: int) -> None:
        self._source = source
        self._offset = dataset_offset
        self._limits = limits
        self.size = size
        self._restarts = -1
        self._restart()

    def _restart(self) -> None:
        self._restarts += 1
        if self._restarts > _RESTARTS:
            raise InvalidDataset("the deflated Data Set has its elements out of order too often")
        self._data = self._source.read(0, self._offset)
        self._start = 0
        self._chunks = inflate_dataset(self._source, self._offset, self._limits)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer where the end is nearer.

        Raises:
            InvalidDataset: what lies far back was asked for too often.
        """
        if offset < self._start:
            self._restart()
        end = min(offset + length, self.size)
        while self._start + len(self._data) < end:
            drop = min(offset - self._start, len(self._data)) - _KEPT
            if drop > 0:
                self._data = self._data[drop:]
                self._start += drop
            self._data += next(self._chunks)
        return self._data[offset - self._start : end - self._start]
