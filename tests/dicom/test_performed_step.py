"""What may be created and changed of a performed step (PS3.4 §F.7)."""

import pytest

from app.dicom.limits import Limits
from app.dicom.performed_step import change_step, create_step
from app.errors import Final, InvalidUID
from tests.procedure_steps import make_end, make_performed, make_reason

LIMITS = Limits()


def test_a_step_is_of_the_scheduled_steps_that_it_names() -> None:
    step = create_step(make_performed("1.2.3", "S7"), LIMITS)
    assert step.studies == ["1.2.3"]
    assert [(one.study_instance_uid, one.step_id) for one in step.scheduled] == [("1.2.3", "S7")]
    assert step.scheduled_status == "STARTED"
    said = make_performed("1.2.3")
    said["00400270"]["Value"][0]["0020000D"]["Value"] = ["1..2"]
    with pytest.raises(InvalidUID):
        create_step(said, LIMITS)


def test_a_sequence_that_a_change_names_takes_the_place_of_the_one_before() -> None:
    step = create_step(make_performed(), LIMITS)
    for _ in range(2):
        step = change_step(step.document, make_end("IN PROGRESS"), LIMITS)
    assert step.document.count('"0020000E"') == 1


def test_the_wrong_entry_of_the_worklist_is_to_be_done_yet() -> None:
    why = {"PerformedProcedureStepDiscontinuationReasonCodeSequence": [make_reason("110514")]}
    begun = create_step(make_performed(), LIMITS)
    wrong = change_step(begun.document, make_end("DISCONTINUED", **why), LIMITS)
    assert (wrong.status, wrong.scheduled_status) == ("DISCONTINUED", "SCHEDULED")
    done = change_step(begun.document, make_end("COMPLETED", **why), LIMITS)
    assert done.scheduled_status == "COMPLETED"
    with pytest.raises(Final, match="DISCONTINUED"):
        change_step(wrong.document, {}, LIMITS)


def test_equal_steps_have_equal_digests_in_whatever_order_they_are_said() -> None:
    said = make_performed("1.2.3")
    other = dict(reversed(list(said.items())))
    assert create_step(said, LIMITS).digest == create_step(other, LIMITS).digest
