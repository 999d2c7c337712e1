"""The figure of how the bi-level attack arrived at its trigger."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from recondoor.report._load import Curve, Run, Trigger
from recondoor.report._style import (
    HEDGE,
    INK,
    SIGNED,
    WIDTH,
    Drawing,
    Missing,
    Window,
    flat,
    from_zero,
    limit,
    show,
)

_MEDIAN = 15
_OTHER_SEED: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.7, "zorder": 1.6}
_PARTS: tuple[tuple[str, str, str, Any], ...] = (
    ("direct_norm", "direct", INK, "-"),
    ("bilevel_norm", "bi-level", "#D55E00", (0, (3, 1.2))),
)


def trigger_evolution(run: Run) -> Drawing | Missing | None:
    """The learned trigger at several iterations, and what drove it."""
    name, heading = "trigger-evolution", "How the BLO trigger was learned"
    curves = {seed: c for (label, seed), c in sorted(run.attacks.items()) if label == "bilevel"}
    trigger = run.triggers.get("bilevel")
    steps = 0 if trigger is None else len(trigger.path)
    if not curves and not steps:
        if "bilevel" not in run.models and run.results is not None:
            return None
        return Missing(name, heading, "the bi-level attack has left no history yet")
    figure = Figure(figsize=(WIDTH, (1.2 if steps else 0.0) + (2.3 if curves else 0.05)))
    if trigger is not None and steps:
        _snapshots(figure, trigger.path, trigger.path_iteration, Window.around(trigger.mask))
    if curves:
        _drivers(figure, run, curves, trigger)
    parts = []
    if steps:
        parts.append(
            "Snapshots: the trigger inside its mask at several iterations k, on one colour scale."
        )
    if curves:
        parts.append(
            "Curves: the outer loss, on an axis that need not begin at 0; the trigger’s L2 or, "
            "where that stays at its budget, how far the trigger is from its start in units of its "
            "L2; and the norms of the two parts of the hypergradient on a logarithmic scale, the "
            "direct gradient and the bi-level part, which goes through the unrolled inner steps. "
            f"Thin lines are single iterations, thick ones running medians over {_MEDIAN}."
        )
    others = "; other seeds are thin grey lines." if len(curves) > 1 else "."
    caption = f"{' '.join(parts)} Seed {min(curves, default=run.seed)}{others}"
    alt = (
        "Snapshots of the learned trigger, and curves of outer loss, trigger norm and "
        "hypergradient norms over the iterations of the bi-level attack."
    )
    return Drawing(name, heading, figure, caption, alt)


def _snapshots(
    figure: Figure, path: NDArray[Any], iterations: NDArray[Any], window: Window | None
) -> None:
    """A row of at most seven evenly spaced snapshots, with one colour bar."""
    chosen = np.unique(np.linspace(0, len(path) - 1, min(7, len(path))).round().astype(int))
    patches = [flat(path[k]) for k in chosen]
    if window is not None:
        patches = [window.cut(patch) for patch in patches]
    scale, height, side = limit(np.stack(patches)), figure.get_figheight(), 0.79
    step = side + 0.09
    for i, (k, patch) in enumerate(zip(chosen, patches, strict=True)):
        place = (0.1 + i * step, height - 0.24 - side, side, side)
        axes = figure.add_axes(_inches(figure, place))
        drawn = show(axes, patch, cmap=SIGNED, vmin=-scale, vmax=scale)
        axes.set_title(f"k = {iterations[k]}", pad=3)
    bar_place = (0.1 + len(chosen) * step + 0.02, height - 0.24 - side, 0.1, side)
    bar = figure.colorbar(drawn, cax=figure.add_axes(_inches(figure, bar_place)))
    bar.set_ticks([-scale, 0, scale], labels=[f"−{scale:.2g}", "0", f"+{scale:.2g}"])
    bar.outline.set_linewidth(0.5)


def _inches(
    figure: Figure, place: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    width, height = figure.get_figwidth(), figure.get_figheight()
    return place[0] / width, place[1] / height, place[2] / width, place[3] / height


def _drivers(
    figure: Figure, run: Run, curves: Mapping[int, Curve], trigger: Trigger | None
) -> None:
    """Outer loss, the trigger's size or way, and hypergradient norms over the iterations."""
    first = min(curves)
    places = [(0.55 + i * 2.32, 0.4, 1.66, 1.55) for i in range(3)]
    loss, l2, norms = (figure.add_axes(_inches(figure, place)) for place in places)
    for seed, curve in sorted(curves.items(), reverse=True):
        main = seed == first
        _noisy(loss, curve, "outer_loss", main, "#0072B2")
        if "l2" in curve:
            look = {"color": INK, "linewidth": 1.8} if main else _OTHER_SEED
            l2.plot(curve["iteration"], curve["l2"], **look)
        for column, _, colour, dashes in _PARTS:
            _noisy(norms, curve, column, main, colour, dashes)
    for panel, words in ((loss, "Outer loss"), (l2, "Trigger L2"), (norms, "Hypergradient norm")):
        panel.set_title(words)
        panel.set_xlabel("iteration k", labelpad=2)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    if trigger is not None and len(trigger.path) > 1 and _kept_its_size(curves[first]):
        l2.clear()
        l2.set_title("Way from its start, / L2")
        l2.set_xlabel("iteration k", labelpad=2)
        l2.plot(trigger.path_iteration, _way(trigger.path), "o-", color=INK, markersize=3)
        from_zero(l2)
    else:
        _against_heuristic(l2, run)
    _decades(norms)


def _kept_its_size(curve: Curve) -> bool:
    """Whether the trigger's L2 says nothing, as it stays at its budget."""
    return "l2" in curve and float(np.ptp(curve["l2"])) < 0.1 * float(np.max(curve["l2"]))


def _way(path: NDArray[Any]) -> NDArray[np.float64]:
    """How far each snapshot (k, C, H, W) is from the first, relative to its own L2."""
    flat_path = path.reshape(len(path), -1).astype(np.float64)
    away = np.linalg.norm(flat_path - flat_path[0], axis=1)
    return np.asarray(away / np.maximum(np.linalg.norm(flat_path, axis=1), 1e-30))


def _against_heuristic(panel: Axes, run: Run) -> None:
    """Draw the heuristic trigger's L2 as a line, and let the axis begin at 0."""
    heuristic = run.triggers.get("heuristic")
    budget = 0.0 if heuristic is None else float(np.linalg.norm(heuristic.delta))
    from_zero(panel, 1.06 * budget)
    if budget:
        panel.axhline(budget, **HEDGE)
        place: dict[str, Any] = {
            "transform": panel.get_yaxis_transform(),
            "ha": "right",
            "va": "bottom",
        }
        panel.text(0.98, budget, "heuristic’s", fontsize=7, **place)


def _noisy(
    axes: Axes, curve: Curve, column: str, main: bool, colour: str, dashes: Any = "-"
) -> None:
    """A curve with its running median; for other seeds than the main one a thin grey line."""
    if column not in curve:
        return
    values = _positive(curve[column]) if column.endswith("norm") else curve[column]
    if not main:
        axes.plot(curve["iteration"], _running_median(values), **_OTHER_SEED)
        return
    axes.plot(curve["iteration"], values, color=colour, linewidth=0.5, alpha=0.55)
    median = _running_median(values)
    axes.plot(curve["iteration"], median, color=colour, linestyle=dashes, linewidth=1.8)


def _decades(axes: Axes) -> None:
    """A logarithmic y axis with room for the legend above the curves."""
    low, high = axes.dataLim.minposy, axes.dataLim.y1
    if np.isfinite(low) and 0 < low <= high:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5 * (high / low) ** 0.2)
    handles = [Line2D([], [], color=c, linestyle=d, linewidth=1.8) for _, _, c, d in _PARTS]
    axes.legend(
        handles,
        [words for _, words, _, _ in _PARTS],
        loc="upper center",
        ncols=2,
        fontsize=7.5,
        handlelength=2.3,
        columnspacing=1.0,
        borderaxespad=0.1,
        handletextpad=0.5,
    )


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zeros have no place on a logarithmic axis: leave gaps."""
    return np.where(values > 0, values, np.nan)


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over a centred window that shrinks at the ends; NaN are passed over."""
    half = _MEDIAN // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    finite = (window[np.isfinite(window)] for window in windows)
    return np.array([np.median(window) if len(window) else np.nan for window in finite])
