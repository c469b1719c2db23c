"""What may be scheduled (PS3.4 Table K.6-1), and what is kept of it."""

from typing import Any

import pytest

from app.dicom.limits import Limits
from app.dicom.plain_dataset import LONGEST, read_plain_dataset
from app.dicom.scheduled_step import MOST_ITEMS, read_scheduled_steps
from app.errors import InvalidAttribute
from tests.factories import make_part10
from tests.procedure_steps import make_order, make_step

LIMITS = Limits()


def test_an_order_has_a_bound_of_steps() -> None:
    steps = [make_step(ScheduledProcedureStepID=f"S{number}") for number in range(MOST_ITEMS + 1)]
    assert len(read_scheduled_steps(make_order(*steps[1:]), LIMITS)) == MOST_ITEMS
    with pytest.raises(InvalidAttribute, match="Up to 100 steps"):
        read_scheduled_steps(make_order(*steps), LIMITS)


@pytest.mark.parametrize("start", [{"00400002": "31.1.2026"}, {"00400003": "noon"}])
def test_a_step_starts_at_a_moment(start: dict[str, str]) -> None:
    order: dict[str, Any] = make_order()
    for key, value in start.items():
        order["00400100"]["Value"][0][key]["Value"] = [value]
    with pytest.raises(InvalidAttribute):
        read_scheduled_steps(order, LIMITS)


def test_what_is_kept_is_short_and_has_no_bulk_data() -> None:
    with pytest.raises(InvalidAttribute, match=f"up to {LONGEST} bytes"):
        read_plain_dataset(bytes(LONGEST + 1), LIMITS)
    with pytest.raises(InvalidAttribute, match="Bulk Data"):
        read_plain_dataset(make_part10(), LIMITS)
