"""Digests of the blocks of a large object, by which a part of it is checked without the rest."""

import hashlib

BLOCK_BYTES = 2**20
LARGE_BYTES = 256 * 2**20
"""A larger object has digests of its blocks; another one is read as a whole before any part is."""
_DIGEST_BYTES = 32


class BlockDigests:
    """SHA-256 of each mebibyte of what comes. Its methods block; a thread calls them."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._digest = hashlib.sha256()
        self._left = BLOCK_BYTES

    def update(self, data: bytes) -> None:
        """Go on with the next bytes."""
        rest = memoryview(data)
        while rest:
            taken = rest[: self._left]
            self._digest.update(taken)
            self._left -= len(taken)
            rest = rest[len(taken) :]
            if not self._left:
                self._end()

    def _end(self) -> None:
        self._done.append(self._digest.digest())
        self._digest, self._left = hashlib.sha256(), BLOCK_BYTES

    def joined(self) -> bytes:
        """Return all digests, one after the other; no more bytes come."""
        if self._left < BLOCK_BYTES:
            self._end()
        return b"".join(self._done)


def blocks_of(offset: int, length: int) -> range:
    """Return the numbers of the blocks that have bytes of a range."""
    return range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))


def are_of(digests: bytes, size: int) -> bool:
    """Say whether there are as many digests as an object of that size has blocks."""
    return len(digests) == len(blocks_of(0, size)) * _DIGEST_BYTES


def fits(block: bytes, digests: bytes, number: int) -> bool:
    """Say whether a block is as it was."""
    digest = hashlib.sha256(block).digest()
    return digest == digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES]
