"""How stored values become shades of 8 bits: Modality LUT, VOI, presentation, in one table.

What has up to 16 bits is looked up by its cell, unused bits and all, in a table of all cells there
may be. Such a table is exact, and images of a Series share it, so the last ones are remembered.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.dicom.appearance import Appearance, Modality
from app.dicom.lookup_tables import LookupTable
from app.dicom.samples import Layout, Samples, stored_values
from app.dicom.viewport import Picture
from app.dicom.voi import Window, apply_window, spread

_BLOCK = 2**21
_SMALL_TABLE = 4096
_TABLES = 64
"""Tables that are remembered, of 64 kB at most."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """What maps values of the modality to 0 (black) up to 1: a table, a window, or a range."""

    modality: Modality
    inverted: bool
    table: LookupTable | None = None
    window: Window | None = None
    low: float = 0.0
    high: float = 0.0

    def shades(self, stored: Samples) -> Picture:
        """Return the shade of each stored value."""
        values = modality_values(stored, self.modality)
        if self.table is not None:
            bright = np.minimum(self.table.apply(values) / self.table.highest, 1)
        elif self.window is not None:
            bright = apply_window(values, self.window)
        else:
            bright = spread(values, self.low, self.high)
        bright = np.nan_to_num(bright)
        grey: NDArray[np.float64] = (1 - bright if self.inverted else bright) * 255
        return np.rint(grey).astype(np.uint8)


def grey_picture(
    cells: Samples, layout: Layout, appearance: Appearance, window: Window | None
) -> Picture:
    """Return the shades of cells of one sample a pixel; `window` goes before the Instance's own.

    Source: PS3.4 §N.2; PS3.3 §C.11
    """
    scale = _scale_of(cells, layout, appearance, window)
    if _is_looked_up(cells, layout):
        table = _table_of(scale, layout, signed=cells.dtype.kind == "i")
        return np.take(table, _numbers(cells))
    out = np.empty(cells.shape, np.uint8)
    for rows in _blocks(cells):
        out[rows] = scale.shades(_stored(cells[rows], layout))
    return out


def palette_picture(
    cells: Samples, layout: Layout, palette: tuple[LookupTable, LookupTable, LookupTable]
) -> Picture:
    """Return the colours of cells that are indices of a palette: (rows, columns, 3).

    Source: PS3.3 §C.7.6.3.1.5
    """
    out = np.empty((*cells.shape, 3), np.uint8)
    looked_up = _is_looked_up(cells, layout)
    for colour, entries in enumerate(palette):
        if looked_up:
            signed = cells.dtype.kind == "i"
            table = _of_every_cell(layout, _colours(entries), signed=signed)
            out[..., colour] = np.take(table, _numbers(cells))
            continue
        for rows in _blocks(cells):
            out[rows, :, colour] = _colours(entries)(_stored(cells[rows], layout))
    return out


def tinted_picture(grey: Picture, palette: tuple[LookupTable, LookupTable, LookupTable]) -> Picture:
    """Return shades in the colours of a palette, the whole of which they are spread over.

    Source: PS3.4 §N.2.1.3; PS3.3 §C.11.15
    """
    out = np.empty((*grey.shape, 3), np.uint8)
    for colour, table in enumerate(palette):
        last = len(table.entries) - 1
        entries = table.first + np.rint(np.arange(256) * (last / 255)).astype(np.int64)
        out[..., colour] = np.take(_colours(table)(entries), grey)
    return out


def _colours(table: LookupTable) -> Callable[[Samples], Picture]:
    def shades(stored: Samples) -> Picture:
        scaled: NDArray[np.float64] = np.rint(table.apply(stored) * (255 / table.highest))
        return np.clip(scaled, 0, 255).astype(np.uint8)

    return shades


def _is_looked_up(cells: Samples, layout: Layout) -> bool:
    entries = 1 << layout.stored
    return (
        cells.dtype.kind != "f"
        and cells.dtype.itemsize <= 2
        and (entries <= max(_SMALL_TABLE, cells.size))
    )


def _numbers(cells: Samples) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Return cells of up to 16 bits as numbers of entries."""
    return cells.view(np.uint8) if cells.dtype.itemsize == 1 else cells.view("<u2")


def _stored(cells: Samples, layout: Layout) -> Samples:
    return cells if cells.dtype.kind == "f" else stored_values(cells, layout)


def _blocks(cells: Samples) -> Iterator[slice]:
    """Yield runs of rows, to bound what is held as floating point or as indices."""
    step = max(_BLOCK // cells.shape[1], 1)
    for row in range(0, len(cells), step):
        yield slice(row, row + step)


def _table_of(scale: _Scale, layout: Layout, *, signed: bool) -> Picture:
    if scale.table is None and scale.modality.table is None:
        return _remembered_table(scale, layout, signed)
    return _of_every_cell(layout, scale.shades, signed=signed)


@lru_cache(_TABLES)
def _remembered_table(scale: _Scale, layout: Layout, signed: bool) -> Picture:
    return _of_every_cell(layout, scale.shades, signed=signed)


def _of_every_cell(
    layout: Layout, shades: Callable[[Samples], Picture], *, signed: bool
) -> Picture:
    """Return what each cell there may be stands for: a shade for each stored value, repeated."""
    kind = f"<{'i' if signed else 'u'}{layout.allocated // 8}"
    plain = Layout(layout.allocated, layout.stored, layout.stored - 1)
    every = np.arange(1 << layout.stored, dtype=f"<u{layout.allocated // 8}").view(kind)
    table = shades(stored_values(every, plain))
    below, above = layout.high_bit + 1 - layout.stored, layout.allocated - 1 - layout.high_bit
    return np.tile(np.repeat(table, 1 << below), 1 << above)


def _scale_of(
    cells: Samples, layout: Layout, appearance: Appearance, window: Window | None
) -> _Scale:
    table = None if window else appearance.voi_table
    window = window or (None if table else appearance.window)
    modality, inverted = appearance.modality, appearance.inverted
    if table is not None or window is not None:
        return _Scale(modality, inverted, table, window)
    if appearance.full_scale is not None:
        return _Scale(modality, inverted, high=appearance.full_scale)
    low, high = _extremes(_stored(cells, layout), appearance)
    return _Scale(modality, inverted, low=low, high=high)


def modality_values(stored: Samples, modality: Modality) -> NDArray[np.float64]:
    """Return stored values in the units of the modality.

    Source: PS3.3 §C.11.1
    """
    if modality.table is not None:
        return modality.table.apply(stored).astype(np.float64)
    with np.errstate(all="ignore"):
        values: NDArray[np.float64] = stored.astype(np.float64) * modality.slope
        values += modality.intercept
    return values


def _extremes(samples: Samples, appearance: Appearance) -> tuple[float, float]:
    """Return the least and the greatest value of a frame; padding and no numbers are left out."""
    shown: NDArray[Any] = samples.ravel()
    if appearance.floating:
        shown = shown[np.isfinite(shown)]
    if appearance.padding is not None:
        low, high = appearance.padding
        shown = shown[(shown < low) | (shown > high)]
    if not shown.size:
        return 0.0, 0.0
    ends = modality_values(np.array([shown.min(), shown.max()]), appearance.modality)
    return float(ends.min()), float(ends.max())
