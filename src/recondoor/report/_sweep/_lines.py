"""What figures over an axis share: which lines there are, how they look, the axis itself."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from recondoor.report._style import HEDGE, SIGNED, WIDTH, Line, line, lines
from recondoor.report._sweep._axes import Axis, plain, text
from recondoor.report._sweep._load import SweepData
from recondoor.report._sweep._series import Series, levels_of, series

MOST_LINES = 10
MOST_COLUMNS = 4
LETTERS_IN_A_LINE = 112
HEDGE_LINE = "Hedge line"
_MARKERS = "osD^vPX"
_NUMBER = re.compile(r"[^,]* = [\d.e+-]+")


def over(data: SweepData, axes: Sequence[Axis], axis: Axis) -> list[Series]:
    """Series of poisoned networks with two levels of `axis` at least."""
    others = [other for other in axes if other is not axis]
    rows = {
        id(row)
        for one in series(data.attacked, others)
        if len(levels_of(axis, one.rows)) > 1
        for row in one.rows
    }
    return series((row for row in data.attacked if id(row) in rows), others)


def looks(every: Sequence[Series]) -> list[Line]:
    """How each series is drawn: by its model, by model and level, or each in its own way.

    Where several models have the same levels, or one model has levels that are numbers, dashes and
    markers tell the models apart and shades the levels.
    """
    models = tuple(dict.fromkeys(one.model for one in every))
    levels = list(dict.fromkeys(one.levels for one in every))
    if len(models) == len(every):
        return [line(model, models) for model in models]
    if len(models) > 1:
        return [replace(line(one.model, models), color=_shade(levels, one)) for one in every]
    if len(every) > 2 and all(_NUMBER.fullmatch(one.label) for one in every):
        return [
            Line(_shade(levels, one), "-", _MARKERS[position % len(_MARKERS)])
            for position, one in enumerate(every)
        ]
    return lines(len(every))


def _shade(levels: Sequence[object], one: Series) -> str:
    share = levels.index(one.levels) / max(1, len(levels) - 1)
    return to_hex(colormaps[SIGNED](0.05 + 0.83 * share))


def at_most(every: Sequence[Series]) -> tuple[list[Series], str]:
    """Every model, at as many levels of the other axes as are readable; what to say of others."""
    if len(every) <= MOST_LINES:
        return list(every), ""
    levels = list(dict.fromkeys(one.levels for one in every))
    room = max(1, MOST_LINES // len({one.model for one in every}))
    at = np.linspace(0, len(levels) - 1, min(room, len(levels))).round().astype(int)
    chosen = {levels[i] for i in at}
    shown = [one for one in every if one.levels in chosen]
    left_out = len(every) - len(shown)
    said = f" {left_out} of {len(every)} lines are left out; the table has all numbers."
    return shown, said if left_out else ""


def names_of(shown: Sequence[Series]) -> str:
    return "one line for each of " + "; ".join(one.label for one in shown)


def along(panel: Axes, axis: Axis, room: float = 0.035) -> None:
    """The x axis: scale, levels as ticks as far as they fit, name; `room`: share at each end."""
    if axis.scale == "symlog":
        smallest = min(level for level in axis.levels if level > 0)
        panel.set_xscale("symlog", linthresh=smallest, linscale=0.5)
    else:
        panel.set_xscale(axis.scale)
    places = panel.transData.transform([(level, 0) for level in axis.levels])[:, 0]
    least = 0.085 * (places.max() - places.min())
    ticks: list[int] = []
    for position, place in enumerate(places):
        if not ticks or place - places[ticks[-1]] >= least:
            ticks.append(position)
    panel.xaxis.set_major_locator(FixedLocator([axis.levels[i] for i in ticks]))
    panel.set_xticklabels([text(axis.levels[i]) for i in ticks])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_minor_formatter(NullFormatter())
    margin = room * (places.max() - places.min())
    ends = [(places.min() - margin, 0), (places.max() + margin, 0)]
    panel.set_xlim(*panel.transData.inverted().transform(ends)[:, 0])
    panel.set_xlabel(axis.title + (" (log)" if axis.scale != "linear" else ""))


def labels(shown: Sequence[Series]) -> list[str]:
    """Names for a legend."""
    return [plain(one.label) or "all" for one in shown]


def _columns(names: Sequence[str]) -> int:
    """Columns of a legend, as many as fit side by side; it is filled column by column."""
    for number in range(MOST_COLUMNS, 1, -1):
        parts = np.array_split([len(name) for name in names], number)
        widths = [int(part.max()) + 9 for part in parts if len(part)]
        if sum(widths) <= LETTERS_IN_A_LINE:
            return number
    return 1


def figure_for(height: float, names: Sequence[str]) -> tuple[Figure, float]:
    """A figure with room for a legend of these names, and where its panels may begin."""
    legend = 0.15 * math.ceil(len(names) / _columns(names)) + 0.05
    height += legend
    return Figure(figsize=(WIDTH, height)), 1 - (legend + 0.3) / height


def legend(figure: Figure, look: Sequence[Line], names: Sequence[str]) -> None:
    """Name the lines above the panels; a name without a line is the hedge line's."""
    handles = [Line2D([], [], **each.keywords()) for each in look]
    if len(names) > len(handles):
        handles.append(Line2D([], [], **HEDGE))
    figure.legend(
        handles,
        names,
        loc="upper center",
        ncols=_columns(names),
        bbox_to_anchor=(0.5, 0.999),
        handlelength=2.6,
        columnspacing=1.2,
        handletextpad=0.6,
        fontsize=7.5,
        labelspacing=0.3,
    )
