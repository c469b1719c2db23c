"""Packing Metadata: what goes in comes out, and the Instances of a Series cost little."""

import os

import pytest

from app.index.packing import (
    DICTIONARY_BYTES,
    make_dictionary,
    metadata_packer,
    metadata_unpacker,
    unpack_metadata,
)


@pytest.mark.parametrize(
    "first",
    [b"{}", b"{1234}", b"{123456}", b"{" + os.urandom(5000) + b"}", b"x" * (DICTIONARY_BYTES * 3)],
)
@pytest.mark.parametrize("metadata", [b"{}", b"{" + bytes(range(256)) * 40 + b"}"])
def test_metadata_comes_back_as_it_was(first: bytes, metadata: bytes) -> None:
    dictionary = make_dictionary(first)
    for document in (first, metadata):
        packed = metadata_packer(dictionary)(document)
        assert metadata_unpacker(dictionary)(packed) == document
        assert unpack_metadata(dictionary, packed) == document


def test_what_the_first_instance_holds_costs_the_others_nothing() -> None:
    shared = os.urandom(8000)
    dictionary = make_dictionary(b"{" + shared + b"1}")
    assert len(metadata_packer(dictionary)(b"{" + shared + b"2}")) < 60
