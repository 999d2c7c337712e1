"""Measured yardsticks against the limits of the best predictor."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from recondoor.core.words import plural_of
from recondoor.report._names import in_order, title
from recondoor.report._style import FAINT, WIDTH, Drawing, Missing, line
from recondoor.report._sweep._load import Row, SweepData

_PAIRS = (
    ("artefact_rmse", "limit_artefact_rmse", "artefact RMSE"),
    ("ghost", "limit_ghost", "ghost"),
)


def limits(data: SweepData) -> list[Drawing | Missing]:
    """Scatter of each poisoned network's artefact RMSE and ghost over what is possible."""
    name, heading = "limits", "Limit against measured"
    pairs = [(m, limit, words, _both(data.attacked, m, limit)) for m, limit, words in _PAIRS]
    if not any(rows for *_, rows in pairs):
        why = "the table has no columns limit_artefact_rmse and limit_ghost, or nothing in them"
        return [Missing(name, heading, why)]
    models = in_order(row["model"] for row in data.attacked)
    figure = Figure(figsize=(WIDTH, 3.4))
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.125, wspace=0.24)
    said = []
    for panel, (measured, limit, words, rows) in zip(panels, pairs, strict=True):
        _scatter(panel, rows, measured, limit, models)
        panel.set(xlabel=f"limit of {words}", ylabel=f"measured {words}")
        said.append(_below([row[limit] - row[measured] for row in rows], words))
    handles = [
        Line2D([], [], **{**line(m, models).keywords(), "linestyle": "none"}) for m in models
    ]
    names = [title(model) for model in models]
    figure.legend(handles, names, loc="upper center", ncols=5, handletextpad=0.2)
    caption = (
        "Each poisoned network against the predictor of least squared error for Gaussian z "
        f"(docs/theory.md); on the line they are equal. {'; '.join(said)}. One of the two may lie "
        "below at the cost of the other. A limit of 0 means that z tells triggered inputs apart "
        "with certainty, as where the trigger leaves the range of Aᵀ: what is above it is due to "
        "training."
    )
    alt = "Measured artefact RMSE and ghost of each network over their limits, with the diagonal."
    return [Drawing(name, heading, figure, caption, alt)]


def _below(gaps: Sequence[float], words: str) -> str:
    """How many networks do better than the limit, and by how much at the most."""
    below = [gap for gap in gaps if gap > 0]
    most = f", by {max(below):.2g} at the most" if below else ""
    return f"{plural_of(len(below), len(gaps), 'network', 'lie')} below the limit of {words}{most}"


def _both(rows: Sequence[Row], measured: str, limit: str) -> list[Row]:
    return [row for row in rows if row[measured] is not None and row.get(limit) is not None]


def _scatter(
    panel: Axes, rows: Sequence[Row], measured: str, limit: str, models: tuple[str, ...]
) -> None:
    for model in models:
        here = [row for row in rows if row["model"] == model]
        look = {**line(model, models).keywords(), "linestyle": "none", "alpha": 0.75}
        panel.plot([r[limit] for r in here], [r[measured] for r in here], clip_on=False, **look)
    values = [row[key] for row in rows for key in (measured, limit)] or [1.0]
    ends = (min(0.0, *values), max(values))
    panel.plot(ends, ends, color=FAINT, linewidth=1.0, zorder=1.5)
    room = 0.03 * (ends[1] - ends[0])
    panel.set(xlim=(ends[0] - room, ends[1] + room), ylim=(ends[0] - room, ends[1] + room))
    panel.set_box_aspect(1)
    panel.xaxis.set_major_locator(MaxNLocator(5))
    panel.yaxis.set_major_locator(MaxNLocator(5))
