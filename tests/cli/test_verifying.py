"""What `fileroom verify` says at its end."""

import pytest

from app.archive.examine import State
from app.archive.verify import Verified
from app.cli.verifying import Told


@pytest.mark.parametrize("unnamed", [0, 2])
def test_it_says_how_many_objects_no_row_names_and_what_sweeps_them(
    capsys: pytest.CaptureFixture[str], unnamed: int
) -> None:
    told = Told()
    for state in (State.WHOLE, *[State.UNNAMED] * unnamed):
        told.add(Verified(state, "t/1/x"))
    assert told.conclude(None) == 0
    said = capsys.readouterr().out
    assert ("2 objects are named by no row: `fileroom sweep`" in said) is bool(unnamed)
