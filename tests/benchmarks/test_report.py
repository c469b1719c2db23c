"""The table says what was measured, and does not flatter."""

import pytest

from benchmarks.measure import Usage
from benchmarks.report import build_table, judge, ratios
from benchmarks.tasks import Row, Sample

RATE = Row("frames-8", "frames", "req/s", gate=4)
TIME = Row("qido-name", "list", "ms", gate=20)
MEMORY = Row("memory-rest", "memory", "MB", limit=300)


def samples(*values: float, others: float = 0) -> list[Sample]:
    return [Sample(value, 10, Usage(1, 0.5, 50_000_000, others)) for value in values]


@pytest.mark.parametrize(
    ("row", "ours", "peer", "median", "low", "high"),
    [
        (RATE, (400, 500, 450), (100, 100, 90), 4.5, 4, 5),
        (TIME, (1, 2, 4), (40, 40, 40), 20, 10, 40),
    ],
)
def test_a_ratio_above_one_means_better(
    row: Row,
    ours: tuple[float, ...],
    peer: tuple[float, ...],
    median: float,
    low: float,
    high: float,
) -> None:
    found = ratios(row, samples(*ours), samples(*peer))
    assert found
    assert (found.median, found.low, found.high) == (median, low, high)


@pytest.mark.parametrize(
    ("row", "ours", "peer", "verdict"),
    [
        (RATE, (400,), (100,), "4 ×: yes"),
        (RATE, (399,), (100,), "4 ×: **no**"),
        (MEMORY, (299,), (), "under 300 MB: yes"),
        (MEMORY, (301,), (), "under 300 MB: **no**"),
        (RATE, (400,), (), ""),
    ],
)
def test_what_was_asked_for_is_judged(
    row: Row, ours: tuple[float, ...], peer: tuple[float, ...], verdict: str
) -> None:
    assert judge(row, samples(*ours), samples(*peer)) == verdict


def test_a_disturbed_row_is_marked() -> None:
    table = build_table([RATE], {"frames-8": {"Fileroom": samples(400, others=0.3)}})
    assert "frames ≈" in table
    assert "50.0" in table


@pytest.mark.parametrize(("ours", "peer"), [((5, 6), (0, 7)), ((0,), (5,)), ((), (5,))])
def test_where_one_did_nothing_there_is_no_ratio(
    ours: tuple[float, ...], peer: tuple[float, ...]
) -> None:
    assert ratios(RATE, samples(*ours), samples(*peer)) is None
    assert judge(RATE, samples(*ours), samples(*peer)) == ""
