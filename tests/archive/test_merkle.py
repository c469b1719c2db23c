"""Merkle trees against RFC 6962 §2.1, whose recursive definitions stand here word for word."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.archive.merkle import EMPTY, Tree


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def tree_hash(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0])
    k = split(len(leaves))
    return sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:]))


def audit_path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*audit_path(m, leaves[:k]), tree_hash(leaves[k:])]
    return [*audit_path(m - k, leaves[k:]), tree_hash(leaves[:k])]


def root_from(leaf: bytes, m: int, size: int, path: list[bytes]) -> bytes:
    """Return the root that a path leads to; the last hash of the path is the one at the top."""
    if size == 1:
        assert path == []
        return sha256(b"\x00" + leaf)
    k = split(size)
    if m < k:
        return sha256(b"\x01" + root_from(leaf, m, k, path[:-1]) + path[-1])
    return sha256(b"\x01" + path[-1] + root_from(leaf, m - k, size - k, path[:-1]))


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=130), st.data())
def test_roots_and_paths_of_trees_of_any_size_are_those_of_the_standard(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    tree = Tree(leaves)
    assert tree.root == tree_hash(leaves)
    assert tree.path(index) == audit_path(index, leaves)
    assert root_from(leaves[index], index, len(leaves), tree.path(index)) == tree.root


def documented() -> Callable[..., bool]:
    """Return the verifier that stands in the documents."""
    page = (Path(__file__).parents[2] / "docs/receipts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {"sha256": sha256}
    exec(code, names)  # noqa: S102 - our own page
    verifier: Callable[..., bool] = names["leads_to"]
    return verifier


@given(st.lists(st.binary(max_size=6), min_size=1, max_size=70), st.data())
def test_the_verifier_in_the_documents_verifies(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    tree, leads_to = Tree(leaves), documented()
    assert leads_to(tree.root, leaves[index], index, len(leaves), tree.path(index))
    assert not leads_to(tree.root, leaves[index] + b"x", index, len(leaves), tree.path(index))
    assert not leads_to(tree.root, leaves[index], index, 2 * len(leaves), tree.path(index))


@given(st.lists(st.binary(max_size=6), min_size=2, max_size=40, unique=True), st.data())
def test_a_path_proves_its_own_leaf_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    one, other = data.draw(
        st.lists(st.integers(0, len(leaves) - 1), min_size=2, max_size=2, unique=True)
    )
    path = Tree(leaves).path(one)
    assert root_from(leaves[other], one, len(leaves), path) != Tree(leaves).root


def test_a_tree_of_nothing_has_the_hash_of_nothing() -> None:
    assert Tree([]).root == EMPTY == tree_hash([])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9])
def test_any_change_of_any_leaf_changes_the_root(size: int) -> None:
    leaves = [bytes([number]) for number in range(size)]
    roots = {Tree(leaves).root, Tree(leaves[:-1]).root, Tree([*leaves, b"more"]).root}
    roots |= {Tree([*leaves[:at], b"other", *leaves[at + 1 :]]).root for at in range(len(leaves))}
    assert len(roots) == size + 3
