"""No fault of the list is without a case."""

from tests.faults import test_buckets, test_deaths, test_errors, test_races
from tests.faults.names import Fault

NOT_YET = {Fault.STORE_DURING_SWEEP: "nothing sweeps yet"}
MODULES = (test_buckets, test_deaths, test_errors, test_races)


def test_every_fault_by_name_has_a_case() -> None:
    covered = frozenset().union(*(module.COVERED for module in MODULES))
    assert covered | NOT_YET.keys() == set(Fault)
    assert covered & NOT_YET.keys() == set()
