"""All points at a glance, for sweeps without an axis of numbers to draw curves over."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recondoor.evaluation.statistics import mean_interval
from recondoor.report._style import HEDGE, WIDTH, Drawing, Line
from recondoor.report._sweep._axes import Axis, plain
from recondoor.report._sweep._curves import PANELS, hedge
from recondoor.report._sweep._lines import looks
from recondoor.report._sweep._load import SweepData
from recondoor.report._sweep._series import Series, series

MOST_ROWS = 40
SHOWN = PANELS[:3]
"""All but the ASR."""


def glance(data: SweepData, axes: Sequence[Axis]) -> list[Drawing]:
    """Recovery, ghost and artefact RMSE of each point and model, seed by seed, with intervals."""
    every = series(data.attacked, axes)
    shown = every[:MOST_ROWS]
    if not shown:
        return []
    height = 0.75 + 0.24 * max(2, len(shown))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(1, len(SHOWN), sharey=True)
    for panel, (key, words) in zip(panels, SHOWN, strict=True):
        for place, (one, look) in enumerate(zip(shown, looks(shown), strict=True)):
            _row(panel, place, one, key, look)
        panel.set_title(words, loc="left")
        panel.margins(x=0.06)
    panels[0].set_yticks(range(len(shown)), [plain(one.label) or one.model for one in shown])
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    left_out = len(every) - len(shown)
    caption = (
        "Means over seeds with their 95 % intervals; the small dots are seeds. The "
        "dotted mark is the hedge line: a network that cannot tell poisoned from clean inputs and "
        "always predicts x + pΔ has recovery 0, ghost p and artefact RMSE (1 − p)·rms(Δ)."
        + (f" {left_out} more are in the table alone." if left_out else "")
    )
    alt = "Recovery, ghost and artefact RMSE of every point and model, with the hedge line."
    return [Drawing("points", "All points at a glance", figure, caption, alt)]


def _row(panel: Axes, place: int, one: Series, key: str, look: Line) -> None:
    values = [row[key] for row in one.rows if row[key] is not None]
    level = hedge(one.rows[0], key)
    if level is not None:
        panel.plot([level, level], [place - 0.4, place + 0.4], **HEDGE)
    if not values:
        return
    found = mean_interval(values)
    if found.low is not None and found.high is not None:
        panel.plot([found.low, found.high], [place, place], color=look.color, linewidth=1.2)
        panel.plot(values, [place + 0.25] * len(values), ".", color=look.color, markersize=2.2)
    panel.plot([found.mean], [place], **{**look.keywords(), "linestyle": "none"})
