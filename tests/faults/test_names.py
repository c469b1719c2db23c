"""No fault of the list is without a case."""

from tests.faults import test_buckets, test_deaths, test_errors, test_races
from tests.faults.names import Fault

MODULES = (test_buckets, test_deaths, test_errors, test_races)


def test_every_fault_by_name_has_a_case() -> None:
    assert frozenset().union(*(module.COVERED for module in MODULES)) == set(Fault)
