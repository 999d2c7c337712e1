"""Images until the backdoor is learnt, over one axis."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from recondoor.report._style import WIDTH, Drawing, Line
from recondoor.report._sweep._axes import Axis
from recondoor.report._sweep._lines import (
    along,
    at_most,
    figure_for,
    labels,
    legend,
    looks,
    names_of,
)
from recondoor.report._sweep._load import Row
from recondoor.report._sweep._series import Series, levels_of


def transitions(axis: Axis, every: Sequence[Series]) -> Drawing:
    shown, left_out = at_most(every)
    figure, top = figure_for(2.7, labels(shown))
    panel = figure.subplots()
    figure.subplots_adjust(left=0.1, right=0.985, top=top + 0.04, bottom=0.15)
    learnt = [
        row["transition_samples"] for one in shown for row in one.rows if row["transition_samples"]
    ]
    ceiling = 1.25 * max(learnt)
    step = min(0.055, 0.6 * WIDTH / len(axis.levels) / len(shown))
    for position, (one, look) in enumerate(zip(shown, looks(shown), strict=True)):
        # Side by side, as seeds of several methods often wait as long as each other.
        inches = step * (position - (len(shown) - 1) / 2)
        shift = ScaledTranslation(inches, 0, figure.dpi_scale_trans)
        _waits(panel, axis, one.rows, look, ceiling, panel.transData + shift)
    panel.set_yscale("log" if max(learnt) > 10 * min(learnt) else "linear")
    panel.set_ylim(0.85 * min(learnt) if panel.get_yscale() == "log" else 0, 1.08 * ceiling)
    panel.axhspan(ceiling / 1.09, 1.08 * ceiling, color="#EEEEEE", zorder=0.5, linewidth=0)
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panel.set_ylabel("training images seen")
    along(panel, axis, 0.05)
    legend(figure, looks(shown), labels(shown))
    caption = (
        "Training images until the artefact recovery on validation images passes the transition: "
        "a small marker for each seed, a dash and a line at the geometric means of levels that "
        "every seed learnt. Open markers in the grey band at the top: seeds that never learnt it."
        + left_out
    )
    title = f"Images until learnt over {axis.title}"
    alt = f"Training images until the transition over {axis.title}, {names_of(shown)}."
    return Drawing(f"learnt-over-{axis.slug}", title, figure, caption, alt)


def _waits(
    panel: Axes, axis: Axis, rows: Iterable[Row], look: Line, ceiling: float, place: Transform
) -> None:
    """Each seed, and the mean of those levels that no seed failed to learn."""
    means = {}
    for level, group in levels_of(axis, rows).items():
        waits = [row["transition_samples"] for row in group]
        known = [wait for wait in waits if wait]
        dots: Any = {
            "linestyle": "none",
            "marker": look.marker,
            "markeredgecolor": look.color,
            "transform": place,
        }
        panel.plot([level] * len(known), known, color=look.color, markersize=2.6, **dots)
        missed = len(waits) - len(known)
        panel.plot([level] * missed, [ceiling] * missed, color="white", clip_on=False, **dots)
        if not missed:
            means[level] = float(np.exp(np.mean(np.log(known))))
    look_of_mean: Any = {"color": look.color, "linestyle": look.dashes, "transform": place}
    panel.plot(list(means), list(means.values()), marker="_", markersize=9, **look_of_mean)
