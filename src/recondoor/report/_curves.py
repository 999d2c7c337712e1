"""The figures made of curves: trigger evolution, learning curves, ASR over tau, poison ratios."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from recondoor.report._load import Curve, Run
from recondoor.report._names import TOOK, in_order, title
from recondoor.report._style import (
    FAINT,
    INK,
    SIGNED,
    WIDTH,
    Drawing,
    Missing,
    Window,
    flat,
    limit,
    line,
    show,
)

HEDGE: dict[str, Any] = {"color": INK, "linestyle": (0, (1, 1.8)), "linewidth": 1.1, "zorder": 1.5}


_MEDIAN = 15
_OTHER_SEED: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.7, "zorder": 1.6}
_PARTS = (
    ("direct_norm", "direct", INK, "-"),
    ("bilevel_norm", "bi-level", "#D55E00", (0, (3, 1.2))),
)


def _from_zero(axes: Axes, at_least: float = 0.0) -> None:
    """Let the y axis start at 0 (or lower, where the data do) and end a little above the data."""
    low, high = min(0.0, axes.dataLim.y0), max(at_least, axes.dataLim.y1)
    if np.isfinite(high) and high > low:
        axes.set_ylim(low, high + 0.06 * (high - low))


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
        _drivers(figure, run, curves)
    caption = (
        "Above, the trigger inside its mask at several iterations, on one colour scale. Below, "
        "over the iterations: the outer loss, the trigger’s L2, and the norms of the two parts of "
        "the hypergradient on a logarithmic scale, the direct gradient and the bi-level part, "
        "which goes through the unrolled inner steps. Thin lines are single iterations, thick ones "
        f"running medians over {_MEDIAN}. Seed {min(curves, default=run.seed)}"
        + ("; other seeds are thin grey lines." if len(curves) > 1 else ".")
    )
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


def _drivers(figure: Figure, run: Run, curves: Mapping[int, Curve]) -> None:
    """Outer loss, trigger L2 and hypergradient norms over the iterations, side by side."""
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
    heuristic = run.triggers.get("heuristic")
    budget = 0.0 if heuristic is None else float(np.linalg.norm(heuristic.delta))
    _from_zero(loss)
    _from_zero(l2, 1.06 * budget)
    if budget:
        l2.axhline(budget, **HEDGE)
        l2.text(0.98, budget, "heuristic’s", transform=l2.get_yaxis_transform(), fontsize=7,
                ha="right", va="bottom")  # fmt: skip
    _decades(norms)


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
        handles, [words for _, words, _, _ in _PARTS], loc="upper center", ncols=2, fontsize=7.5,
        handlelength=2.3, columnspacing=1.0, borderaxespad=0.1, handletextpad=0.5,
    )  # fmt: skip


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zeros have no place on a logarithmic axis: leave gaps."""
    return np.where(values > 0, values, np.nan)


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over a centred window that shrinks at the ends; NaN are passed over."""
    half = _MEDIAN // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    finite = (window[np.isfinite(window)] for window in windows)
    return np.array([np.median(window) if len(window) else np.nan for window in finite])


_PANELS = (
    ("benign_rmse", "Benign RMSE"),
    ("attack_rmse", "Attack RMSE"),
    ("recovery", "Artefact recovery ρ"),
    ("ghost", "Ghost"),
)


def learning_curves(run: Run) -> Drawing | Missing:
    """Benign and attack RMSE, recovery and ghost over the samples seen, with the hedge line."""
    name, heading = "learning-curves", "Learning curves"
    if not run.training:
        return Missing(name, heading, "no model has finished an epoch yet")
    models = in_order(label for label, _ in run.training)
    figure = Figure(figsize=(WIDTH, 4.6))
    grid = figure.subplots(2, 2, sharex=True)
    figure.subplots_adjust(
        left=0.085, right=0.985, top=0.875, bottom=0.09, hspace=0.24, wspace=0.22
    )
    for (label, _), curve in sorted(run.training.items()):
        look = line(label, models).keywords()
        for axes, (column, _) in zip(grid.flat, _PANELS, strict=True):
            if column in curve:
                axes.plot(curve["samples"] / 1000, curve[column], clip_on=False, **look)
        _mark_transition(grid[1, 0], curve, look["color"])
    for axes, (column, words), level in zip(grid.flat, _PANELS, _hedge_levels(run), strict=True):
        axes.set_title(words, loc="left")
        floor = 1.02 if column == "recovery" else 0.0
        if level is not None:
            axes.axhline(level, **HEDGE)
            exact = {"recovery": "ρ = 0", "ghost": f"p = {run.poison_ratio:g}"}
            value = exact.get(column, f"{level:.3f}")
            axes.set_title(f"hedge line: {value}", loc="right", fontsize=7.5)
            floor = max(floor, 1.06 * level)
        _from_zero(axes, floor)
    for axes in grid[1]:
        axes.set_xlabel("training samples seen (thousands)")
        axes.set_xlim(left=0)
    handles = [Line2D([], [], **line(label, models).keywords()) for label in models]
    figure.legend(
        [*handles, Line2D([], [], **HEDGE)], [*map(title, models), "Hedge line"],
        loc="upper center", ncols=len(models) + 1, bbox_to_anchor=(0.5, 0.995),
        handlelength=2.8, columnspacing=1.4, handletextpad=0.6,
    )  # fmt: skip
    return Drawing(name, heading, figure, _learning_caption(run), _learning_alt(models))


def _hedge_levels(run: Run) -> list[float | None]:
    """Where a network that always predicts x + p Delta sits, in the order of the panels."""
    p, artefact = run.poison_ratio, run.artefact
    if p is None:
        return [None] * len(_PANELS)
    if artefact is None:
        return [None, None, 0.0, p]
    rms = float(np.sqrt(np.mean(artefact.astype(np.float64) ** 2)))
    return [p * rms, (1 - p) * rms, 0.0, p]


def transition(curve: Curve) -> int | None:
    """Samples seen at the end of the first epoch whose recovery exceeds 0.5, None if none does."""
    if "recovery" not in curve:
        return None
    above = np.flatnonzero(curve["recovery"] > TOOK)
    return int(curve["samples"][above[0]]) if len(above) else None


def _mark_transition(axes: Axes, curve: Curve, colour: str) -> None:
    samples = transition(curve)
    if samples is None:
        return
    rho = float(curve["recovery"][curve["samples"] == samples][0])
    axes.plot(
        samples / 1000, rho, marker="o", clip_on=False, markersize=9, markerfacecolor="none", markeredgecolor=colour,
        markeredgewidth=1.2, linestyle="none",
    )  # fmt: skip


def _learning_caption(run: Run) -> str:
    found = []
    for label in in_order(label for label, _ in run.training):
        if label == "original":
            continue
        curves = [c for (model, _), c in sorted(run.training.items()) if model == label]
        at = [samples for curve in curves if (samples := transition(curve)) is not None]
        if at:
            words = ", ".join(f"{samples:,}" for samples in at)
            missed = len(curves) - len(at)
            found.append(
                f"{title(label)} after {words} samples" + (f" (not in {missed})" if missed else "")
            )
        else:
            found.append(f"{title(label)} never")
    return (
        "On validation images after each epoch, one curve for each seed. The dotted hedge line is "
        "what a network scores that cannot tell poisoned from clean inputs and always predicts "
        "x + pΔ: ghost p, recovery 0 and, were its reconstruction otherwise perfect, benign RMSE "
        "p·rms(Δ) and attack RMSE (1 − p)·rms(Δ). Rings mark the transition, the first epoch with "
        f"recovery above {TOOK:g}" + (f": {'; '.join(found)}." if found else ".")
    )


def _learning_alt(models: tuple[str, ...]) -> str:
    return (
        "Four panels over training samples seen: benign RMSE, attack RMSE, artefact recovery and "
        f"ghost of {', '.join(map(title, models))}, with the hedge line dotted."
    )


def asr(run: Run) -> Drawing | Missing:
    """Attack success rate over the threshold tau: mean of the seeds and the band they span."""
    name, heading = "asr", "Attack success rate"
    if run.results is None:
        return Missing(name, heading, "the run is not finished: there is no results.json")
    results = run.results
    taus = np.array(results.data["asr_taus"], dtype=np.float64)
    curves = {
        label: np.array([r["asr_curve"] for r in results.rows(label) if r["asr_curve"]])
        for label in results.models
    }
    curves = {label: curve for label, curve in curves.items() if curve.size}
    if not curves:
        return Missing(name, heading, "results.json holds no ASR curves")
    figure = Figure(figsize=(0.78 * WIDTH, 2.9))
    axes = figure.add_axes((0.115, 0.15, 0.865, 0.68))
    for label, curve in curves.items():
        look = line(label, results.models)
        every = max(1, len(taus) // 12)
        axes.plot(taus, curve.mean(axis=0), label=title(label), markevery=every, clip_on=False,
                  **look.keywords())  # fmt: skip
        if len(curve) > 1:
            low, high = curve.min(axis=0), curve.max(axis=0)
            axes.fill_between(taus, low, high, color=look.color, alpha=0.15, linewidth=0)
    axes.set(xlim=(0, taus.max()), ylim=(-0.03, 1.03), xlabel="τ: largest artefact RMSE accepted")
    axes.set_ylabel("share of test images")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _mark_thresholds(axes, results.tau, float(results.data["hedge"]["artefact_rmse"]))
    figure.legend(loc="upper center", ncols=len(curves), handlelength=2.8, columnspacing=1.4)
    caption = (
        "Share of test images whose artefact RMSE is at most τ, for every τ. The number quoted "
        f"elsewhere is at τ = {results.tau:g}. The dotted line is the artefact RMSE of a network "
        "that always predicts x + pΔ, (1 − p)·rms(Δ) over the artefact’s support: a curve that "
        "rises only there is a hedge, not a backdoor."
        + (" Lines are means over seeds, bands span them." if len(results.seeds) > 1 else "")
    )
    alt = f"Attack success rate over tau for {', '.join(map(title, curves))}."
    return Drawing(name, heading, figure, caption, alt)


def _mark_thresholds(axes: Axes, tau: float, hedge: float) -> None:
    """Vertical lines at the quoted tau and at the hedge, named above the axes."""
    marks = [(tau, f"quoted: τ = {tau:g}", "-"), (hedge, f"hedge line: {hedge:.2g}", HEDGE["linestyle"])]
    inside = sorted(mark for mark in marks if mark[0] <= axes.get_xlim()[1])
    for i, (x, words, dashes) in enumerate(inside):
        axes.axvline(x, color=INK, linewidth=1.0, linestyle=dashes, zorder=1.5)
        # The left one's name ends and the right one's begins at its line: they cannot meet.
        side = "right" if i == 0 and len(inside) == 2 else "left"
        axes.annotate(
            words, (x, 1), (-3 if side == "right" else 3, 2), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7.5, ha=side, va="bottom",
        )  # fmt: skip


def ratios(run: Run) -> Drawing | None:
    """What each candidate poison ratio scored, with the chosen one marked."""
    given = () if run.results is None else run.results.data.get("ratios", ())
    if not given:
        return None
    rows = sorted(given, key=lambda row: float(row["ratio"]))
    x = np.array([row["ratio"] for row in rows], dtype=np.float64)
    chosen = [float(row["ratio"]) for row in rows if row["chosen"]]
    figure = Figure(figsize=(WIDTH, 2.6))
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.34, wspace=0.36)
    contents = (
        ("Validation loss", (("validation_loss", "loss", "-", "o", INK),)),
        (
            "RMSE",
            (
                ("benign_rmse", "benign", "-", "o", INK),
                ("attack_rmse", "attack", (0, (4, 1.6)), "s", "#D55E00"),
            ),
        ),
        (
            "Recovery and ghost",
            (
                ("artefact_recovery", "recovery ρ", "-", "^", "#0072B2"),
                ("ghost", "ghost", (0, (4, 1.6)), "v", "#D55E00"),
            ),
        ),
    )
    for axes, (heading, lines) in zip(panels, contents, strict=True):
        for key, words, style, marker, colour in lines:
            values = [np.nan if row[key] is None else row[key] for row in rows]
            axes.plot(x, values, linestyle=style, marker=marker, color=colour, label=words)
        axes.set_title(heading)
        axes.set_xlabel("poison ratio p", labelpad=2)
        axes.set_xlim(0, 1.06 * x.max())
        _from_zero(axes)
        for ratio in chosen:
            axes.axvline(ratio, color=FAINT, linewidth=3, alpha=0.35, zorder=1)
    panels[2].plot([0, x.max()], [0, x.max()], label="hedge: ghost = p", **HEDGE)
    for axes in panels[1:]:
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.45, -0.2), ncols=2, fontsize=7.5,
            handlelength=2.3, columnspacing=1.0, handletextpad=0.5,
        )  # fmt: skip
    where = f"p = {chosen[0]:g}" if chosen else "none"
    caption = (
        "One model trained at each poison ratio, scored on validation images. The ratio of least "
        f"validation loss is chosen, as in the paper (grey band: {where}). The dotted line is "
        "ghost = p, where a network sits that always predicts x + pΔ."
    )
    alt = "Validation loss, RMSE, recovery and ghost over the poison ratio."
    return Drawing("ratios", "Choice of the poison ratio", figure, caption, alt)
