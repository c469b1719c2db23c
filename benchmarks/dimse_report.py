"""The page of what was measured by DIMSE: a column for each archive."""

from collections.abc import Mapping, Sequence

from benchmarks.measure import NOISY_CORES, Spread
from benchmarks.report import OURS, PEER
from benchmarks.tasks import Row, Sample

ON_POSTGRESQL = "Orthanc, PostgreSQL"
Figures = dict[str, dict[str, list[Sample]]]
"""Row name → archive → one sample for each repetition."""

ROWS = (
    Row("store-one", "C-STORE, one association", "inst/s", "instance", gate=0.7),
    Row("store-four", "C-STORE, four associations", "inst/s", "instance", gate=1.0),
    Row("find", "C-FIND of a study by Patient ID", "queries/s", "query"),
    Row("move", "C-MOVE of a series", "inst/s", "instance"),
)
_INTRODUCTION = """# The bridge, measured

Written by `python -m benchmarks.dimse`; do not edit. The archive with its bridge beside Orthanc
(with SQLite, and with a PostgreSQL like ours) and DCMTK's `dcmqrscp`, in alternating turns of one
run, by DCMTK's `storescu`, `findscu` and `movescu` with `TCP_NODELAY=1`, in a network namespace of
their own, on one machine.

* Instances are CT slices of 0.5 MB; {instances} in a turn. A figure is the median of {repetitions}
  repetitions, with the least and the greatest beside it.
* Ours and Orthanc answer when what they store is synced; `dcmqrscp` syncs nothing.
* What was stored is counted by a query afterwards, what was moved by the files that came.
* ≈ marks rows during which something else on the machine used more than {noisy} of a core.
* *Asked for*: how many times Orthanc's figure ours has to be; with PostgreSQL as much at least.
"""


def build_dimse_page(
    figures: Figures, instances: int, repetitions: int, machine: Mapping[str, str]
) -> str:
    """Return the whole page."""
    names = list(dict.fromkeys(name for measured in figures.values() for name in measured))
    head = ["what", "unit", *names, "asked for", "CPU ms per operation"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [_line(row, names, figures[row.name]) for row in ROWS if row.name in figures]
    said = [f"* {name}: {value}" for name, value in machine.items()]
    introduction = _INTRODUCTION.format(
        instances=instances, repetitions=repetitions, noisy=NOISY_CORES
    )
    return "\n".join([introduction, *lines, "\n## Measured on\n", *said]) + "\n"


def _line(row: Row, names: Sequence[str], measured: Mapping[str, Sequence[Sample]]) -> str:
    samples = [measured.get(name, ()) for name in names]
    noisy = any(
        one.usage is not None and one.usage.others > NOISY_CORES for of in samples for one in of
    )
    cells = [
        row.title + (" ≈" if noisy else ""),
        row.unit,
        *map(_spread, samples),
        judge(row, measured),
        " / ".join(map(_cost, samples)),
    ]
    return f"| {' | '.join(cells)} |"


def judge(row: Row, measured: Mapping[str, Sequence[Sample]]) -> str:
    """Return what was asked of a row and whether it holds, '' where nothing was."""
    if row.gate is None:
        return ""
    asked = ((PEER, row.gate, ""), (ON_POSTGRESQL, 1.0, " PostgreSQL"))
    ours, held = measured.get(OURS, ()), []
    for peer, gate, name in asked:
        if ours and measured.get(peer):
            holds = _median(ours) >= gate * _median(measured[peer])
            held.append(f"{gate:g} ×{name}: {'yes' if holds else '**no**'}")
    return ", ".join(held)


def _median(samples: Sequence[Sample]) -> float:
    return Spread.of([sample.value for sample in samples]).median


def _spread(samples: Sequence[Sample]) -> str:
    if not samples:
        return "–"
    spread = Spread.of([sample.value for sample in samples])
    return f"{spread.median:.0f} [{spread.low:.0f}–{spread.high:.0f}]"


def _cost(samples: Sequence[Sample]) -> str:
    used = [one.usage.processor * 1000 / one.operations for one in samples if one.usage]
    return f"{Spread.of(used).median:.1f}" if used else "–"
