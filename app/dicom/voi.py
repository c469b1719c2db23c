"""Values of interest: the window functions that map Modality LUT output to what is displayed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, slots=True)
class Window:
    """Center and width in the units of the values, and one of `FUNCTIONS`."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def is_valid(self) -> bool:
        """Say whether the standard allows the width.

        Source: PS3.3 §C.11.2.1.2.1, §C.11.2.1.3
        """
        least = 1 if self.function == "LINEAR" else 0
        return self.width >= least and self.width > 0


def apply_window(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Return how bright each value is displayed, 0 (black) to 1; `window` has to be valid.

    Source: PS3.3 §C.11.2.1.2, §C.11.2.1.3
    """
    if window.function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp of much is infinite, and its share of one is none
            return np.asarray(1 / (1 + np.exp(-4 * (values - window.center) / window.width)))
    if window.function == "LINEAR_EXACT":
        return np.clip((values - window.center) / window.width + 0.5, 0, 1)
    if window.width == 1:
        return (values > window.center - 0.5).astype(np.float64)
    return np.clip((values - (window.center - 0.5)) / (window.width - 1) + 0.5, 0, 1)


def spread(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return how bright each value is if `low` is black and `high` is white.

    Source: PS3.3 §C.11.2.1.2.1 (what is done where no window is defined is left to us)
    """
    if high <= low:
        return (values > low).astype(np.float64)
    return np.clip((values - low) / (high - low), 0, 1)
