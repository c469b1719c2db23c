"""Merkle trees as certificate logs have them (RFC 6962 §2.1): one hash stands for many lines.

A leaf is hashed behind the byte 0, a node behind the byte 1, so that neither passes for the other.
A tree is made level by level: neighbours are joined, and one without a neighbour goes up as it is.
"""

import hashlib
from collections.abc import Iterable

EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(line: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + line).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The tree over some leaves, in their order."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        level = [leaf_hash(line) for line in lines]
        self.levels = [level]
        while len(level) > 1:
            joined = [_node_hash(*level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
            level = [*joined, level[-1]] if len(level) % 2 else joined
            self.levels.append(level)

    @property
    def root(self) -> bytes:
        """The hash that stands for all leaves."""
        return self.levels[-1][0] if self.levels[-1] else EMPTY

    def path(self, index: int) -> list[bytes]:
        """Return what proves a leaf, by its number from 0: the hashes beside its way up."""
        path = []
        for level in self.levels[:-1]:
            beside = index ^ 1
            if beside < len(level):
                path.append(level[beside])
            index //= 2
        return path
