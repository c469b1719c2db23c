"""Nothing of the list is without a case."""

from tests.hostile import (
    test_bombs,
    test_clocks,
    test_cut,
    test_full,
    test_hierarchies,
    test_lies,
    test_queries,
    test_values,
)
from tests.hostile.names import Hostile

MODULES = (
    test_bombs,
    test_clocks,
    test_cut,
    test_full,
    test_hierarchies,
    test_lies,
    test_queries,
    test_values,
)


def test_everything_by_name_has_a_case() -> None:
    assert frozenset().union(*(module.COVERED for module in MODULES)) == set(Hostile)
