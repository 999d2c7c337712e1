"""Heat maps over pairs of numeric axes."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recondoor.report._style import SIGNED, WIDTH, Drawing, Missing
from recondoor.report._sweep._axes import Axis, Series, series, text
from recondoor.report._sweep._load import Row, SweepData

MOST_PANELS = 4
MOST_NUMBERS = 60
Floats = NDArray[np.float64]
Measure = Callable[[Row], float | bool | None]


def maps(data: SweepData, axes: Sequence[Axis]) -> list[Drawing | Missing]:
    """Mean recovery and share of successes over each pair of numeric axes."""
    found: list[Drawing | Missing] = []
    for a, b in combinations([axis for axis in axes if axis.numeric], 2):
        # Places are drawn as they lie in the image: rows downwards.
        down, across = (a, b) if a.key.endswith(" row") else (b, a)
        others = [axis for axis in axes if axis not in (a, b)]
        every = [
            (one, grid)
            for one in series(data.attacked, others)
            if (grid := _grid(one, down, across)) is not None
        ]
        if every:
            found.append(_drawing(data, every, down, across))
        else:
            why = "no method has enough points on a grid of two by two or more"
            title = f"Map over {across.title} and {down.title}"
            found.append(Missing(f"map-{across.slug}-{down.slug}", title, why))
    return found


Grid = tuple[tuple[Any, ...], tuple[Any, ...]]


def _grid(one: Series, down: Axis, across: Axis) -> Grid | None:
    """Levels of both axes whose rows and columns are at least half full; None below two by two."""
    cells = {(down.read(row), across.read(row)) for row in one.rows}
    cells = {cell for cell in cells if None not in cell}
    while True:
        rows, columns = ({cell[i] for cell in cells} for i in (0, 1))
        if len(rows) < 2 or len(columns) < 2:
            return None
        sparse = {
            cell
            for cell in cells
            if 2 * sum(other[0] == cell[0] for other in cells) < len(columns)
            or 2 * sum(other[1] == cell[1] for other in cells) < len(rows)
        }
        if not sparse:
            return tuple(sorted(rows)), tuple(sorted(columns))
        cells -= sparse


def means(rows: Sequence[Row], grid: Grid, down: Axis, across: Axis, measure: Measure) -> Floats:
    """Mean of `measure` in each cell (rows, columns), NaN where there is none."""
    values: dict[tuple[Any, Any], list[float]] = {}
    for row in rows:
        value = measure(row)
        if value is not None:
            values.setdefault((down.read(row), across.read(row)), []).append(float(value))
    return np.array(
        [[np.mean(values.get((y, x), [np.nan])) for x in grid[1]] for y in grid[0]],
        dtype=np.float64,
    )


def _drawing(
    data: SweepData, every: Sequence[tuple[Series, Grid]], down: Axis, across: Axis
) -> Drawing:
    shown = every[:MOST_PANELS]
    share = "Share of successes" if data.judged else f"Share with ASR ≥ {data.rule.asr:g}"
    measures: tuple[tuple[str, Measure], ...] = (
        ("Mean recovery", lambda row: row["artefact_recovery"]),
        (share, data.success if data.judged else data.strong),
    )
    heights = [0.95 + 0.27 * max(4, len(grid[0])) for _, grid in shown]
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    panels = figure.subplots(len(shown), 2, squeeze=False, height_ratios=heights)
    for line, (one, grid) in zip(panels, shown, strict=True):
        for panel, (words, measure) in zip(line, measures, strict=True):
            _panel(panel, means(one.rows, grid, down, across, measure), grid)
            name = one.label if len(every) > 1 else ""
            panel.set_title(f"{words}: {name}" if name else words, loc="left")
            panel.set(xlabel=across.title, ylabel=down.title)
            if not down.key.endswith(" row"):
                panel.invert_yaxis()
    bar = figure.colorbar(panels[0, 0].collections[0], ax=panels, pad=0.015, aspect=30)
    bar.outline.set_visible(False)
    title = f"Map over {across.title} and {down.title}"
    return Drawing(
        f"map-{across.slug}-{down.slug}",
        title,
        figure,
        _caption(data, shown, len(every) - len(shown), down, across),
        f"Heat maps of mean recovery and {share.lower()} over {across.title} and {down.title}.",
    )


def _caption(
    data: SweepData, shown: Sequence[tuple[Series, Grid]], more: int, down: Axis, across: Axis
) -> str:
    parts = ["Means over seeds; white cells hold no point."]
    if not data.judged:
        parts.append(
            "Successes need an original model of the same seed and data, which this sweep does not "
            "have for all, so that the ASR alone is counted."
        )
    outside = any(
        down.read(row) not in grid[0] or across.read(row) not in grid[1]
        for one, grid in shown
        for row in one.rows
    )
    if outside:
        parts.append("Rows and columns that are less than half full are left out.")
    if more:
        parts.append(f"{more} more maps are left out; the table has all numbers.")
    return " ".join(parts)


def _panel(panel: Axes, values: Floats, grid: Grid) -> None:
    look: Any = {"vmin": 0, "vmax": 1, "cmap": SIGNED, "edgecolors": "white", "linewidth": 0.6}
    mesh = panel.pcolormesh(np.ma.masked_invalid(values), **look)
    panel.set_xticks(np.arange(len(grid[1])) + 0.5, [text(level) for level in grid[1]])
    panel.set_yticks(np.arange(len(grid[0])) + 0.5, [text(level) for level in grid[0]])
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    if values.size > MOST_NUMBERS:
        return
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = readable_on(mesh.cmap(Normalize(0, 1)(value)))
            at = (column + 0.5, row + 0.5)
            panel.text(*at, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=ink)


def readable_on(colour: Sequence[float]) -> str:
    """Black or white, whichever contrasts more with an sRGB colour in [0, 1] (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "black"
