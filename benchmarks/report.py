"""The table: what was measured, beside what, on what, and how to read it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.ceiling import Ceiling
from benchmarks.measure import NOISY_CORES, Spread
from benchmarks.tasks import Row, Sample

Samples = dict[str, dict[str, list[Sample]]]
"""Row name → server name → one sample for each repetition."""

OURS, PEER = "Fileroom", "Orthanc"


@dataclass(slots=True)
class Results:
    """A run: its figures and what they were measured with."""

    date: str
    machine: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]
    ceilings: Sequence[Ceiling]
    settings: Mapping[str, object]
    repetitions: int
    sections: dict[str, list[Row]] = field(default_factory=dict)
    samples: Samples = field(default_factory=dict)

    def add(self, server: str, samples: Mapping[str, Sample]) -> None:
        """Add what one repetition on one server gave."""
        for name, sample in samples.items():
            self.samples.setdefault(name, {}).setdefault(server, []).append(sample)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False))


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(samples: Sequence[Sample]) -> str:
    if not samples:
        return "–"
    spread = Spread.of([sample.value for sample in samples])
    return f"{_number(spread.median)} [{_number(spread.low)}–{_number(spread.high)}]"


def ratios(row: Row, ours: Sequence[Sample], peer: Sequence[Sample]) -> Spread | None:
    """Return how many times better ours is: of the medians, and of each pair of turns.

    None where there is nothing to compare: no turn, or one in which either did nothing at all.
    """
    pairs = list(zip(ours, peer, strict=False))
    if not pairs or not all(a.value and b.value for a, b in pairs):
        return None

    def ratio(a: float, b: float) -> float:
        return b / a if row.fewer_is_better else a / b

    each = [ratio(a.value, b.value) for a, b in pairs]
    medians = (Spread.of([s.value for s in samples]).median for samples in (ours, peer))
    return Spread(ratio(*medians), min(each), max(each))


def _cost(samples: Sequence[Sample]) -> str:
    used = [s.usage.processor * 1000 / s.operations for s in samples if s.usage]
    return _number(Spread.of(used).median) if used else ""


def _peak(samples: Sequence[Sample]) -> str:
    peaks = [s.usage.peak / 1e6 for s in samples if s.usage]
    return f"{max(peaks):.0f}" if peaks else ""


def _is_noisy(samples: Sequence[Sample]) -> bool:
    return any(s.usage is not None and s.usage.others > NOISY_CORES for s in samples)


def judge(row: Row, ours: Sequence[Sample], peer: Sequence[Sample]) -> str:
    """Return what was asked of a row and whether it holds; nothing where nothing was asked."""
    if row.limit is not None and ours:
        median = Spread.of([sample.value for sample in ours]).median
        return f"under {row.limit:g} {row.unit}: {'yes' if median < row.limit else '**no**'}"
    found = ratios(row, ours, peer)
    if row.gate is None or found is None:
        return ""
    return f"{row.gate:g} ×: {'yes' if found.median >= row.gate else '**no**'}"


def _line(row: Row, measured: Mapping[str, Sequence[Sample]]) -> str:
    ours, peer = measured.get(OURS, ()), measured.get(PEER, ())
    found = ratios(row, ours, peer)
    ratio = "–"
    if found:
        ratio = f"**{_number(found.median)}** [{_number(found.low)}–{_number(found.high)}]"
    noise = " ≈" if _is_noisy([*ours, *peer]) else ""
    cells = [
        row.title + noise,
        row.unit,
        _spread(ours),
        _spread(peer),
        ratio,
        judge(row, ours, peer),
        f"{_cost(ours)} / {_cost(peer)}".strip(" /"),
        f"{_peak(ours)} / {_peak(peer)}".strip(" /"),
    ]
    return "| " + " | ".join(cells) + " |"


def build_table(rows: Sequence[Row], samples: Samples) -> str:
    """Return the rows that were measured as a Markdown table."""
    head = [
        f"| what | unit | {OURS} | {PEER} | times better | asked for | CPU ms | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines = [_line(row, samples[row.name]) for row in rows if row.name in samples]
    return "\n".join([*head, *lines])


_INTRODUCTION = """# Benchmarks

Written by `make bench`; do not edit. {ours} beside {peer}, in alternating turns of one run, in a
network namespace of their own, with the load client on the same machine: the figures are for
comparison, not for planning capacity. The DIMSE bridge is measured by `python -m benchmarks.dimse`,
which writes `docs/dimse-speed.md`.

* A figure is the median of {repetitions} repetitions, with the least and the greatest beside it.
  *Times better* is the ratio of the medians, and the range of the ratios of each pair of turns.
* *CPU ms* is processor time per operation (request, or stored instance) of all processes of each
  server, PostgreSQL with ours; *peak MB* is the largest proportional set size seen meanwhile,
  first ours, then the peer's. 1 MB is 10⁶ bytes.
* ≈ marks rows during which something else on the machine used more than {noisy} of a core.
* Before a turn both servers are idle: the peer works on in the background after a store.
* Answers are compared before they are timed: frames and whole series byte for byte with what was
  stored, queries with what they must find, metadata by its instances.
* Both sync to disk. {ours} answers a store when file, directory and index row are synced, the peer
  as it does with `SyncStorageArea`.
* *With a second copy*: {ours} also waits for an object in a second directory. The log is sealed,
  objects are scrubbed and thumbnails made meanwhile, as they are by default. The peer has no
  copies, and is as in all other rows.
* Every repetition stores instances that neither server has seen: new UIDs, times and positions.
"""


def build_page(results: Results) -> str:
    """Return the whole page."""
    parts = [
        _INTRODUCTION.format(
            ours=OURS, peer=PEER, repetitions=results.repetitions, noisy=NOISY_CORES
        )
    ]
    for title, rows in results.sections.items():
        if any(row.name in results.samples for row in rows):
            parts.append(f"## {title}\n\n{build_table(rows, results.samples)}\n")
    parts.append(_describe(results))
    return "\n".join(parts)


def _describe(results: Results) -> str:
    lines = [f"## Measured on\n\n{results.date}\n"]
    lines += [f"* {name}: {value}" for name, value in results.machine.items()]
    for server, versions in results.versions.items():
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines.append(f"* {server}: {told}")
    lines.append(
        f"* {PEER}'s settings: `{json.dumps(results.settings)}`; the rest as its packages have it"
    )
    if results.ceilings:
        told = ", ".join(
            f"{'512 KB' if c.path == '/frame' else 'empty'} answer, {c.clients} clients: "
            f"{c.rate:,.0f}/s"
            for c in results.ceilings
        )
        lines.append(f"* The client alone, against a server that only answers: {told}")
    return "\n".join(lines) + "\n"
