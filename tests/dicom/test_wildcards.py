"""Text against patterns."""

import re
from random import Random

import pytest

from app.dicom.wildcards import fits
from tests.cost import costs_at_most


@pytest.mark.parametrize("seed", range(5))
def test_patterns_mean_what_the_same_regular_expressions_mean(seed: int) -> None:
    random = Random(seed)
    for _ in range(3000):
        pattern = "".join(random.choices("ab.*?\n[", k=random.randint(0, 7)))
        text = "".join(random.choices("ab.\n[", k=random.randint(0, 9)))
        wild = {"*": ".*", "?": "."}
        expression = "".join(wild.get(sign) or re.escape(sign) for sign in pattern)
        expected = re.fullmatch(expression, text, re.DOTALL) is not None
        assert fits(pattern, text) is expected, (pattern, text)


def test_no_pattern_takes_long() -> None:  # Z-08
    with costs_at_most(1):
        assert not fits("*a" * 500 + "*b", "a" * 20_000)
        assert not fits("*?" * 500 + "b", "a" * 20_000)
