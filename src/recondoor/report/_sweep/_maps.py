"""Heat maps over pairs of numeric axes."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from numpy.typing import NDArray

from recondoor.report._style import SIGNED, WIDTH, Drawing, Missing
from recondoor.report._sweep._axes import Axis, plain
from recondoor.report._sweep._heat import Cell, Floats, Grid, cells, draw
from recondoor.report._sweep._load import Row, SweepData
from recondoor.report._sweep._series import Series, series

MOST_PANELS = 4
Shown = tuple[Series, Grid]


def maps(data: SweepData, axes: Sequence[Axis]) -> list[Drawing | Missing]:
    """Mean recovery, share of successes and images until learnt over pairs of numeric axes."""
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
        if not every:
            why = "no method has enough points on a grid of two by two or more"
            found.append(Missing(_slug(down, across), f"Map over {_pair(down, across)}", why))
            continue
        shown = every[:MOST_PANELS]
        caption = _caption(shown, len(every) - len(shown), down, across)
        found.append(_recovery(data, shown, down, across, caption))
        if any(row.get("transition_samples") for one, _ in shown for row in one.rows):
            found.append(_waits(shown, down, across, caption))
    return found


def _pair(down: Axis, across: Axis) -> str:
    return f"{across.title} and {down.title}"


def _slug(down: Axis, across: Axis) -> str:
    return f"{across.slug}-{down.slug}"


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


def _recovery(
    data: SweepData, shown: Sequence[Shown], down: Axis, across: Axis, caption: str
) -> Drawing:
    share = "Share of successes" if data.judged else f"Learnt, with ASR ≥ {data.rule.asr:g}"
    verdict = data.success if data.judged else data.strong
    figure, panels = _panels(shown, 2)
    for line, (one, grid) in zip(panels, shown, strict=True):
        for panel, words, cell in (
            (line[0], "Mean recovery", _mean(lambda row: row["artefact_recovery"])),
            (line[1], share, _mean(verdict)),
        ):
            mesh = draw(panel, cells(one.rows, grid, down, across, cell), grid, (0, 1))
            _name(panel, words, one, down, across)
    _bar(figure, mesh, panels)
    if not data.judged:
        caption += (
            " Successes need an original model of the same seed and data, which this sweep does "
            "not have for all, so that the ASR alone is counted."
        )
    title = f"Map over {_pair(down, across)}"
    alt = f"Heat maps of mean recovery and {share.lower()} over {_pair(down, across)}."
    return Drawing(f"map-{_slug(down, across)}", title, figure, caption, alt)


def _mean(measure: Callable[[Row], float | bool | None]) -> Cell:
    def cell(rows: Sequence[Row]) -> float | None:
        values = [float(value) for row in rows if (value := measure(row)) is not None]
        return float(np.mean(values)) if values else None

    return cell


def _waits(shown: Sequence[Shown], down: Axis, across: Axis, caption: str) -> Drawing:
    every = [(one, grid, cells(one.rows, grid, down, across, _wait)) for one, grid in shown]
    ends = tuple(f(f(v[np.isfinite(v)]) for *_, v in every) for f in (min, max))
    figure, panels = _panels(shown, 1)
    for panel, (one, grid, values) in zip(panels[:, 0], every, strict=True):
        late = cells(one.rows, grid, down, across, _late)

        def form(row: int, column: int, values: Floats = values, late: Floats = late) -> str:
            return f"{'≥ ' if late[row, column] else ''}{values[row, column] / 1000:.1f}"

        mesh = draw(panel, values, grid, ends, f"{SIGNED}_r", form)
        _name(panel, "Thousand images until learnt", one, down, across)
    bar = _bar(figure, mesh, panels)
    bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}")
    caption = (
        "Geometric means over seeds of the training images until the transition; ≥: with a seed "
        f"that never learnt it and counts as all images that it saw. {caption}"
    )
    title = f"Images until learnt over {_pair(down, across)}"
    alt = f"Heat map of the images until the transition over {_pair(down, across)}."
    return Drawing(f"learnt-map-{_slug(down, across)}", title, figure, caption, alt)


def _wait(rows: Sequence[Row]) -> float | None:
    waits = [row.get("transition_samples") or row.get("samples") or np.nan for row in rows]
    mean = float(np.exp(np.mean(np.log(waits))))
    return mean if np.isfinite(mean) else None


def _late(rows: Sequence[Row]) -> float:
    return float(any(not row.get("transition_samples") for row in rows))


def _panels(shown: Sequence[Shown], columns: int) -> tuple[Figure, NDArray[Any]]:
    """A figure with a line of panels for each series, as high as its cells need."""
    heights = [0.95 + 0.27 * max(4, len(grid[0])) for _, grid in shown]
    width = WIDTH if columns > 1 else 0.62 * WIDTH
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    panels = figure.subplots(len(shown), columns, squeeze=False, height_ratios=heights)
    return figure, panels


def _bar(figure: Figure, mesh: QuadMesh, panels: NDArray[Any]) -> Colorbar:
    """The scale of all panels, a tenth of an inch wide."""
    bar = figure.colorbar(mesh, ax=panels, pad=0.015, aspect=10 * figure.get_figheight())
    bar.outline.set_visible(False)
    return bar


def _name(panel: Axes, words: str, one: Series, down: Axis, across: Axis) -> None:
    """Title and axes of a panel; rows of a place run downwards, all else upwards."""
    panel.set_title(f"{words}: {plain(one.label)}" if one.label else words, loc="left")
    panel.set(xlabel=across.title, ylabel=down.title)
    if down.key.endswith(" row"):
        panel.invert_yaxis()


def _caption(shown: Sequence[Shown], more: int, down: Axis, across: Axis) -> str:
    parts = ["Means over seeds; white cells hold no point."]
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
