"""Our own parsers, given bytes at random: a little in each run; `make fuzz` does it for hours."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

EXAMPLES = 60
SEEDED = [
    pytest.param(name, seed, id=f"{name}-{number}")
    for name in TARGETS
    for number, seed in enumerate(seeds(name))
]


@pytest.mark.parametrize(("name", "seed"), SEEDED)
def test_seeds_and_all_that_was_once_wrong_are_survived(name: str, seed: bytes) -> None:
    TARGETS[name](seed)


def mutated(name: str) -> st.SearchStrategy[bytes]:
    """Return seeds of a target in which a stretch is replaced, doubled or cut, some of two."""
    seed = st.sampled_from(seeds(name))
    cut = st.tuples(seed, st.integers(0, 400), st.integers(0, 24), st.binary(max_size=12))
    return st.one_of(
        st.binary(max_size=200),
        cut.map(lambda it: it[0][: it[1]] + it[3] + it[0][it[1] + it[2] :]),
        st.tuples(cut, seed).map(lambda it: it[0][0][: it[0][1]] + it[0][3] + it[1][it[0][2] :]),
    )


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_comes_is_answered_in_words(name: str) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(mutated(name))
    def survived(data: bytes) -> None:
        TARGETS[name](data)

    survived()
