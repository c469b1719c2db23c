"""Look-up tables: their first value, entries in bytes or words, and segments."""

from typing import Any

import numpy as np
import pytest

from app.dicom.document import Document
from app.dicom.lookup_tables import LookupTable, expand_segments, lookup_table
from app.errors import InvalidDataset

DESCRIPTOR, DATA = "00283002", "00283006"


def table(
    descriptor: list[int], data: bytes | list[int], *, signed: bool = False
) -> LookupTable | None:
    members: dict[str, Any] = {DESCRIPTOR: {"vr": "US", "Value": descriptor}}
    if isinstance(data, bytes):
        return lookup_table(
            Document(members | {DATA: {"vr": "OW"}}, {DATA: data}),
            DESCRIPTOR,
            DATA,
            signed=signed,
        )
    members[DATA] = {"vr": "US", "Value": data}
    return lookup_table(Document(members), DESCRIPTOR, DATA, signed=signed)


def test_values_beyond_the_ends_get_the_entries_at_the_ends() -> None:
    found = table([3, 10, 12], [100, 200, 4095])
    assert found is not None
    assert found.highest == 4095
    values = np.array([-5, 10, 11, 11.6, 12, 99])
    assert found.apply(values).tolist() == [100, 100, 200, 4095, 4095, 4095]


@pytest.mark.parametrize(
    ("descriptor", "signed", "first"),
    [([2, 65534, 8], True, -2), ([2, -2, 8], True, -2), ([2, 65534, 8], False, 65534)],
)
def test_the_first_value_is_signed_like_the_pixels(
    descriptor: list[int], signed: bool, first: int
) -> None:
    found = table(descriptor, [1, 2], signed=signed)
    assert found is not None
    assert found.first == first


def test_entries_of_eight_bits_may_stand_two_in_a_word() -> None:
    packed = table([3, 0, 8], b"\1\2\3\0")
    words = table([3, 0, 8], b"\1\0\2\0\3\0")
    assert packed is not None
    assert words is not None
    assert packed.entries.tolist() == words.entries.tolist() == [1, 2, 3]


def test_a_count_of_zero_means_all_that_there_may_be() -> None:
    found = table([0, 0, 99], b"\1\0" * 0x10000)
    assert found is not None
    assert (len(found.entries), found.bits) == (0x10000, 16)


def test_half_a_table_is_none() -> None:
    assert table([], [1, 2]) is None
    assert table([2, 0, 8], []) is None


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        ([0, 3, 5, 6, 7], [5, 6, 7]),
        ([0, 1, 0, 1, 4, 8], [0, 2, 4, 6, 8]),
        ([0, 2, 1, 2, 1, 2, 6, 2, 2, 0, 0], [1, 2, 4, 6, 1, 2, 4, 6]),
        ([0, 9, 1, 2], [1, 2]),
        ([], []),
    ],
)
def test_segments_are_expanded(words: list[int], entries: list[int]) -> None:
    assert expand_segments(np.array(words, np.uint16), 100).tolist() == entries
    assert expand_segments(np.array(words, np.uint16), 2).tolist() == entries[:2]


@pytest.mark.parametrize(
    "words",
    [
        [1, 4, 8],  # a line from nowhere
        [0, 0, 1],  # of nothing
        [7, 1, 1],
        [0, 1, 1, 2, 1, 0],  # cut short
        [0, 1, 1, 2, 9, 3, 0],  # into itself
    ],
)
def test_a_segment_that_is_none_is_refused(words: list[int]) -> None:
    with pytest.raises(InvalidDataset):
        expand_segments(np.array(words, np.uint16), 100)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i8", "f4"])
def test_a_table_may_be_longer_than_the_values_are_wide(dtype: str) -> None:
    found = LookupTable(-1000, 16, np.arange(5000, dtype=np.uint16))
    assert found.apply(np.array([0, 100], dtype)).tolist() == [1000, 1100]


def test_what_is_no_number_has_the_first_entry() -> None:
    found = LookupTable(0, 16, np.array([7, 8], np.uint16))
    assert found.apply(np.array([np.nan, np.inf, -np.inf])).tolist() == [7, 8, 7]
