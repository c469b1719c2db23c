"""The three window functions, at the values that the standard names."""

import numpy as np
import pytest

from app.dicom.voi import Window, apply_window, spread


def bright(value: float, window: Window) -> float:
    return float(apply_window(np.array([value]), window)[0])


@pytest.mark.parametrize(
    ("center", "width", "value", "shown"),
    [
        (2048, 4096, 0, 0.0),
        (2048, 4096, 4095, 1.0),
        (2048, 1, 2047, 0.0),
        (2048, 1, 2048, 1.0),
        (0, 100, -50, 0.0),
        (0, 100, -0.5, 0.5),
        (0, 100, 49, 1.0),
        (0, 1, 0, 1.0),
        (0, 1, -1, 0.0),
    ],
)
def test_a_linear_window_is_as_in_the_standard(
    center: float, width: float, value: float, shown: float
) -> None:
    assert bright(value, Window(center, width)) == pytest.approx(shown, abs=1e-12)


@pytest.mark.parametrize(("value", "shown"), [(-51, 0), (-50, 0), (0, 0.5), (25, 0.75), (50, 1)])
def test_an_exact_window_is_not_shifted(value: float, shown: float) -> None:
    assert bright(value, Window(0, 100, "LINEAR_EXACT")) == shown


def test_a_sigmoid_has_no_ends() -> None:
    window = Window(0, 100, "SIGMOID")
    assert bright(0, window) == 0.5
    assert bright(-50, window) == pytest.approx(1 / (1 + np.e**2))
    assert bright(-1e9, window) == 0


@pytest.mark.parametrize(
    ("window", "valid"),
    [
        (Window(0, 1), True),
        (Window(0, 0.9), False),
        (Window(0, 0.1, "LINEAR_EXACT"), True),
        (Window(0, 0, "SIGMOID"), False),
    ],
)
def test_a_width_has_a_least_value(window: Window, valid: bool) -> None:
    assert window.is_valid is valid


def test_a_range_is_spread_from_black_to_white() -> None:
    values = np.array([0.0, 5.0, 10.0, 20.0])
    assert spread(values, 0, 10).tolist() == [0, 0.5, 1, 1]
    assert spread(values, 5, 5).tolist() == [0, 0, 1, 1]
