"""What a piece of work costs the processor, in a unit that is the same on every machine.

Tests that hold a cost are about work that grows without bound, not about fast machines: a shared
one is now and then several times slower, so a cost is told in times of a piece of work of a known
length that is done beside it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_ROUNDS = 200_000
_SECONDS = 0.018
"""What that many rounds take on the machine that the limits were written on."""

_MARGIN = 3
"""What is held is that a cost does not explode: a machine's caches are slow at other times, too."""


def _yardstick() -> float:
    """Return how many seconds of this machine are one second of that one, at least 1."""
    begun = time.process_time()
    number = 0
    for step in range(_ROUNDS):
        number = (number + step) & 0xFFFF
    return max(1.0, (time.process_time() - begun) / _SECONDS)


@contextmanager
def costs_at_most(seconds: float) -> Iterator[None]:
    """See that this process takes about as much time of the processor at most."""
    before, begun = _yardstick(), time.process_time()
    yield
    taken = time.process_time() - begun
    assert taken < _MARGIN * seconds * max(before, _yardstick())
