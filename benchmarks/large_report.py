"""The page of the large Instance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was asked, how many bytes it moved (0 where that says nothing), and when."""

    name: str
    size: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.name}: {self.figure}"

    @property
    def figure(self) -> str:
        """Seconds, and MB/s where bytes were moved."""
        took = f"{self.seconds:,.2f} s" if self.seconds < 10 else f"{self.seconds:,.0f} s"
        return f"{took} ({self.size / self.seconds / 1e6:,.0f} MB/s)" if self.size else took


@dataclass(frozen=True, slots=True)
class Measured:
    """One Instance on one server."""

    kind: str
    steps: Sequence[Step]
    peak: int
    """The most bytes that were counted for the group, files' pages included."""
    held: int
    """The most bytes that could not have been taken back."""
    killed: int


_INTRODUCTION = """# One Instance of {size:.1f} GB

Written by `make bench-large` (root, cgroups of version 1, 20 GB of disk); do not edit.

{frames:,} frames of {side}² pixels in baseline JPEG, 1 MiB each and no two alike, made while they
are sent. All processes of the archive, its PostgreSQL and `fileroom import` among them, are in one
group that the kernel limits to {limit:,} MB, without swap; the client, which asks and compares, is
not. Each frame, and the SHA-256 of the whole, is compared with what was sent.
"""


def build_large_page(
    measured: Sequence[Measured],
    size: tuple[int, int, int],
    date: str,
    machine: Mapping[str, str],
) -> str:
    """Return the page. `size`: the limit in bytes, the number of frames, their side in pixels."""
    limit, frames, side = size
    opening = _INTRODUCTION.format(
        size=frames * 2**20 / 1e9, frames=frames, side=side, limit=limit // 2**20
    )
    rows = [
        ["what", *(one.kind for one in measured)],
        ["---"] * (len(measured) + 1),
        *(
            [steps[0].name, *(step.figure for step in steps)]
            for steps in zip(*(one.steps for one in measured), strict=True)
        ),
        ["most memory held", *(f"{one.held / 2**20:,.0f} MB" for one in measured)],
        ["with files' pages", *(f"{one.peak / 2**20:,.0f} MB" for one in measured)],
        ["killed for want of memory", *(str(one.killed) for one in measured)],
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    where = "\n".join(f"* {name}: {value}" for name, value in machine.items())
    return f"{opening}\n{table}\n\n## Measured on\n\n{date}\n\n{where}\n"
