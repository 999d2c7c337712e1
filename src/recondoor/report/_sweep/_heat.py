"""One heat map: a panel of equal cells with their values."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from recondoor.report._style import SIGNED
from recondoor.report._sweep._axes import Axis, text
from recondoor.report._sweep._load import Row

MOST_NUMBERS = 60
Floats = NDArray[np.float64]
# Levels of the axis downwards and of that across.
Grid = tuple[tuple[Any, ...], tuple[Any, ...]]
Cell = Callable[[Sequence[Row]], float | None]


def cells(rows: Sequence[Row], grid: Grid, down: Axis, across: Axis, value: Cell) -> Floats:
    """`value` of the rows in each cell (rows, columns), NaN where there are none or it is None."""
    found: dict[tuple[Any, Any], list[Row]] = {}
    for row in rows:
        found.setdefault((down.read(row), across.read(row)), []).append(row)
    values = [[value(found[y, x]) if (y, x) in found else None for x in grid[1]] for y in grid[0]]
    return np.array(values, dtype=np.float64)


def draw(
    panel: Axes,
    values: Floats,
    grid: Grid,
    ends: tuple[float, float],
    colours: str = SIGNED,
    form: Callable[[int, int], str] | None = None,
) -> QuadMesh:
    """Draw `values` (rows, columns) on a scale with these ends; `form` writes a cell's number."""
    look: Any = {"cmap": colours, "edgecolors": "white", "linewidth": 0.6}
    norm = Normalize(*ends)
    mesh = panel.pcolormesh(np.ma.masked_invalid(values), norm=norm, **look)
    panel.set_xticks(np.arange(len(grid[1])) + 0.5, [text(level) for level in grid[1]])
    panel.set_yticks(np.arange(len(grid[0])) + 0.5, [text(level) for level in grid[0]])
    panel.grid(visible=False)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    if values.size > MOST_NUMBERS:
        return mesh
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            words = f"{value:.2f}" if form is None else form(row, column)
            ink = readable_on(mesh.cmap(norm(value)))
            at = (column + 0.5, row + 0.5)
            panel.text(*at, words, ha="center", va="center", fontsize=6.5, color=ink)
    return mesh


def readable_on(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with an sRGB colour in [0, 1] (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black"
