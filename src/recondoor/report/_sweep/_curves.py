"""Yardsticks over one axis, a line for each method and level of the other axes."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from recondoor.evaluation.statistics import mean_interval
from recondoor.report._style import HEDGE, Drawing, Line, Missing
from recondoor.report._sweep._axes import Axis
from recondoor.report._sweep._learnt import transitions
from recondoor.report._sweep._lines import (
    HEDGE_LINE,
    along,
    at_most,
    figure_for,
    labels,
    legend,
    looks,
    names_of,
    over,
)
from recondoor.report._sweep._load import Row, SweepData, artefact_rms
from recondoor.report._sweep._series import Series, levels_of

MOST_HEDGES = 6
PANELS = (
    ("artefact_recovery", "Artefact recovery ρ"),
    ("ghost", "Ghost"),
    ("artefact_rmse", "Artefact RMSE"),
    ("asr", "ASR"),
)


def curves(data: SweepData, axes: Sequence[Axis]) -> list[Drawing | Missing]:
    """For each numeric axis, yardsticks and images until the transition over its levels.

    Rows and columns of a place have their map instead.
    """
    found: list[Drawing | Missing] = []
    for axis in (axis for axis in axes if axis.numeric and " " not in axis.key):
        every = over(data, axes, axis)
        if not every:
            why = "no method has two of its levels with all other settings the same"
            found.append(Missing(f"over-{axis.slug}", f"Yardsticks over {axis.title}", why))
            continue
        found.append(_yardsticks(data, axis, every))
        if any(row.get("transition_samples") is not None for one in every for row in one.rows):
            found.append(transitions(axis, every))
    return found


def _yardsticks(data: SweepData, axis: Axis, every: Sequence[Series]) -> Drawing:
    shown, left_out = at_most(every)
    figure, top = figure_for(5.0, [*labels(shown), HEDGE_LINE])
    grid = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(left=0.075, right=0.985, top=top, bottom=0.095, hspace=0.22, wspace=0.2)
    for one, look in zip(shown, looks(shown), strict=True):
        for panel, (key, _) in zip(grid.flat, PANELS, strict=True):
            _line(panel, axis, one.rows, key, look)
    for panel, (key, words) in zip(grid.flat, PANELS, strict=True):
        _hedge(panel, axis, key, [row for one in shown for row in one.rows])
        panel.set_title(data.measured.asr if key == "asr" else words, loc="left")
        _span(panel, key)
    for panel in grid[1]:
        along(panel, axis)
    legend(figure, looks(shown), [*labels(shown), HEDGE_LINE])
    title = f"Yardsticks over {axis.title}"
    caption = (
        "Means over seeds, with their 95 % intervals as bands. The dotted hedge line is "
        "the network that cannot tell poisoned from clean inputs and always predicts x + pΔ: "
        f"recovery 0, ghost p, artefact RMSE (1 − p)·rms(Δ).{left_out}"
    )
    alt = f"Recovery, ghost, artefact RMSE and ASR over {axis.title}, {names_of(shown)}."
    return Drawing(f"over-{axis.slug}", title, figure, caption, alt)


def _line(panel: Axes, axis: Axis, rows: Iterable[Row], key: str, look: Line) -> None:
    estimates = {
        level: mean_interval(values)
        for level, group in levels_of(axis, rows).items()
        if (values := [row[key] for row in group if row[key] is not None])
    }
    x = list(estimates)
    panel.plot(x, [e.mean for e in estimates.values()], clip_on=False, **look.keywords())
    low = [e.mean if e.low is None else e.low for e in estimates.values()]
    high = [e.mean if e.high is None else e.high for e in estimates.values()]
    panel.fill_between(x, low, high, color=look.color, alpha=0.13, linewidth=0)


def _hedge(panel: Axes, axis: Axis, key: str, rows: Iterable[Row]) -> None:
    """Where a network sits that always predicts x + p Delta; nothing where too much varies."""
    if key == "asr":
        return
    found = {
        (axis.read(row), level)
        for row in rows
        if axis.read(row) is not None and (level := hedge(row, key)) is not None
    }
    flat = {level for _, level in found}
    if len(flat) > 1 and len({x for x, _ in found}) == len(found):
        panel.plot(*zip(*sorted(found), strict=True), **HEDGE)
        return
    for level in flat if len(flat) <= MOST_HEDGES else ():
        panel.axhline(level, **HEDGE)


def hedge(row: Row, key: str) -> float | None:
    """A yardstick of the hedge line under a row's settings, None where they do not say."""
    p = row.get("poison.ratio")
    if key == "artefact_recovery":
        return 0.0
    if key == "ghost" or p is None:
        return p
    rms = artefact_rms(row)
    return None if rms is None else (1 - p) * rms


def _span(panel: Axes, key: str) -> None:
    """From 0 (or lower, where the data are) to 1, or to a little above the data."""
    low, high = panel.dataLim.y0, panel.dataLim.y1
    top = 1.0 if key in ("asr", "artefact_recovery") else 0.0
    low, high = min(0.0, low), max(top, high)
    panel.set_ylim(low - 0.04 * (high - low), high + 0.05 * (high - low))
