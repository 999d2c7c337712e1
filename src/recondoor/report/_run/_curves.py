"""The figures made of curves: learning curves, ASR over tau, choice of the poison ratio."""

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from recondoor.evaluation.statistics import SuccessRule
from recondoor.evaluation.yardsticks import of
from recondoor.report._load import Curve, Run
from recondoor.report._names import in_order, title
from recondoor.report._style import (
    FAINT,
    HEDGE,
    INK,
    WIDTH,
    Drawing,
    Missing,
    from_zero,
    line,
)

LEGEND_COLUMNS, LONG = 5, 20
"""Columns of a legend, and letters of a name from which there is room for three alone."""
# Columns of the history, and the yardsticks that they are.
_PANELS = (
    ("benign_rmse", of("benign_rmse").name),
    ("attack_rmse", of("attack_rmse").name),
    ("recovery", of("artefact_recovery").name),
    ("ghost", of("ghost").name),
)


def learning_curves(run: Run) -> Drawing | Missing:
    """Benign and attack RMSE, recovery and ghost over the samples seen, with the hedge line."""
    name, heading = "learning-curves", "Learning curves"
    if not run.training:
        return Missing(name, heading, "no model has finished an epoch yet")
    models = in_order(label for label, _ in run.training)
    figure = Figure(figsize=(WIDTH, 4.6))
    grid = figure.subplots(2, 2, sharex=True)
    top = 0.92 - 0.045 * math.ceil((len(models) + 1) / _columns(models, LEGEND_COLUMNS))
    figure.subplots_adjust(left=0.085, right=0.985, top=top, bottom=0.09, hspace=0.24, wspace=0.22)
    unit = 1000 if max(c["samples"].max() for c in run.training.values()) >= 10_000 else 1
    for (label, _), curve in sorted(run.training.items()):
        look = line(label, models).keywords() | {"markevery": max(1, len(curve["samples"]) // 12)}
        for axes, (column, _) in zip(grid.flat, _PANELS, strict=True):
            if column in curve:
                axes.plot(curve["samples"] / unit, curve[column], clip_on=False, **look)
        _mark_transition(grid[1, 0], curve, _level(run), unit, look["color"])
    for axes, (column, words), level in zip(grid.flat, _PANELS, _hedge_levels(run), strict=True):
        axes.set_title(words, loc="left")
        floor = 1.02 if column == "recovery" else 0.0
        if level is not None:
            axes.axhline(level, **HEDGE)
            exact = {"recovery": "ρ = 0", "ghost": f"p = {run.poison_ratio:g}"}
            value = exact.get(column, f"{level:.3f}")
            axes.set_title(f"hedge line: {value}", loc="right", fontsize=7.5)
            floor = max(floor, 1.06 * level)
        from_zero(axes, floor)
    for axes in grid[1]:
        axes.set_xlabel("training samples seen" + (" (thousands)" if unit > 1 else ""))
        axes.set_xlim(left=0)
    handles = [Line2D([], [], **line(label, models).keywords()) for label in models]
    figure.legend(
        [*handles, Line2D([], [], **HEDGE)],
        [*map(title, models), "Hedge line"],
        loc="upper center",
        ncols=_columns(models, LEGEND_COLUMNS),
        bbox_to_anchor=(0.5, 0.995),
        handlelength=2.8,
        columnspacing=1.4,
        handletextpad=0.6,
    )
    return Drawing(name, heading, figure, _learning_caption(run), _learning_alt(models))


def _columns(labels: Iterable[str], most: int) -> int:
    """Columns of a legend that these names leave room for."""
    return 3 if any(len(title(label)) > LONG for label in labels) else most


def _hedge_levels(run: Run) -> list[float | None]:
    """Where a network that always predicts x + p Delta sits, in the order of the panels."""
    p, artefact = run.poison_ratio, run.artefact
    if p is None:
        return [None] * len(_PANELS)
    if artefact is None:
        return [None, None, 0.0, p]
    rms = float(np.sqrt(np.mean(artefact.astype(np.float64) ** 2)))
    return [p * rms, (1 - p) * rms, 0.0, p]


def _level(run: Run) -> float:
    """Recovery above which a backdoor counts as learnt, by the run's own settings."""
    return SuccessRule.of(run.settings.get("evaluate", {})).transition


def transition(curve: Curve, level: float) -> int | None:
    """Samples seen at the end of the first epoch whose recovery exceeds `level`, else None."""
    if "recovery" not in curve:
        return None
    above = np.flatnonzero(curve["recovery"] > level)
    return int(curve["samples"][above[0]]) if len(above) else None


def _mark_transition(axes: Axes, curve: Curve, level: float, unit: int, colour: str) -> None:
    samples = transition(curve, level)
    if samples is None:
        return
    rho = float(curve["recovery"][curve["samples"] == samples][0])
    axes.plot(
        samples / unit,
        rho,
        marker="o",
        clip_on=False,
        markersize=9,
        markerfacecolor="none",
        markeredgecolor=colour,
        markeredgewidth=1.2,
        linestyle="none",
    )


def _learning_caption(run: Run) -> str:
    found, level = [], _level(run)
    for label in in_order(label for label, _ in run.training):
        if label == "original":
            continue
        curves = [c for (model, _), c in sorted(run.training.items()) if model == label]
        at = [samples for curve in curves if (samples := transition(curve, level)) is not None]
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
        f"recovery above {level:g}" + (f": {'; '.join(found)}." if found else ".")
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
    columns = _columns(curves, LEGEND_COLUMNS - 1)
    legend = 0.085 * math.ceil(len(curves) / columns)
    axes = figure.add_axes((0.125, 0.15, 0.855, 0.765 - legend))
    for label, curve in curves.items():
        look = line(label, results.models)
        every = max(1, len(taus) // 12)
        axes.plot(
            taus,
            curve.mean(axis=0),
            label=title(label),
            markevery=every,
            clip_on=False,
            **look.keywords(),
        )
        if len(curve) > 1:
            low, high = curve.min(axis=0), curve.max(axis=0)
            axes.fill_between(taus, low, high, color=look.color, alpha=0.15, linewidth=0)
    relative = results.tau_unit == "rms"
    what = "in units of rms(Δ)" if relative else "in pixel values"
    label = f"τ: largest artefact RMSE accepted, {what}"
    axes.set(xlim=(0, taus.max()), ylim=(-0.03, 1.03), xlabel=label)
    axes.set_ylabel("share of test images")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    hedge = results.data["hedge"]
    level = 1 - float(hedge["ghost"]) if relative else float(hedge["artefact_rmse"])
    _mark_thresholds(axes, results.tau, level)
    figure.legend(loc="upper center", ncols=columns, handlelength=2.8, columnspacing=1.4)
    caption = (
        f"Share of test images whose artefact RMSE is at most τ, {what} over the artefact’s "
        f"support, for every τ. The number quoted elsewhere is at τ = {results.tau:g}. The dotted "
        "line is the artefact RMSE of a network "
        f"that always predicts x + pΔ, {'1 − p' if relative else '(1 − p)·rms(Δ)'}: a curve that "
        "rises only there is a hedge, not a backdoor."
        + (" Lines are means over seeds, bands span them." if len(results.seeds) > 1 else "")
    )
    alt = f"Attack success rate over tau for {', '.join(map(title, curves))}."
    return Drawing(name, heading, figure, caption, alt)


def _mark_thresholds(axes: Axes, tau: float, hedge: float) -> None:
    """Vertical lines at the quoted tau and at the hedge, named above the axes."""
    marks = [
        (tau, f"quoted: τ = {tau:g}", "-"),
        (hedge, f"hedge line: {hedge:.2g}", HEDGE["linestyle"]),
    ]
    inside = sorted(mark for mark in marks if mark[0] <= axes.get_xlim()[1])
    for i, (x, words, dashes) in enumerate(inside):
        axes.axvline(x, color=INK, linewidth=1.0, linestyle=dashes, zorder=1.5)
        # The left one's name ends and the right one's begins at its line: they cannot meet.
        side = "right" if i == 0 and len(inside) == 2 else "left"
        axes.annotate(
            words,
            (x, 1),
            (-3 if side == "right" else 3, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=7.5,
            ha=side,
            va="bottom",
        )


def ratios(run: Run) -> Drawing | None:
    """What each candidate poison ratio scored, with the chosen one marked."""
    given = () if run.results is None else run.results.data.get("ratios", ())
    if not given:
        return None
    rows = sorted(given, key=lambda row: float(row["ratio"]))
    x = np.array([row["ratio"] for row in rows], dtype=np.float64)
    chosen = [float(row["ratio"]) for row in rows if row["chosen"]]
    figure = Figure(figsize=(WIDTH, 2.4))
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.9, bottom=0.31, wspace=0.36)
    contents = (
        ("Selection loss", (("selection_loss", "loss", "-", "o", INK),)),
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
        from_zero(axes)
        for ratio in chosen:
            axes.axvline(ratio, color=FAINT, linewidth=3, alpha=0.35, zorder=1)
    panels[2].plot([0, x.max()], [0, x.max()], label="hedge", **HEDGE)
    for axes in panels[1:]:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.43, -0.27),
            ncols=3,
            fontsize=7,
            handlelength=2.0,
            columnspacing=0.9,
            handletextpad=0.5,
            borderaxespad=0.1,
        )
    where = f"p = {chosen[0]:g}" if chosen else "none"
    caption = (
        "Heuristic models trained at each poison ratio, scored on validation images. The ratio of "
        "least selection loss, the mean of the benign and the attack mean squared error, is chosen "
        f"(grey band: {where}). The dotted line is "
        "ghost = p, where a network sits that always predicts x + pΔ."
    )
    alt = "Selection loss, RMSE, recovery and ghost over the poison ratio."
    return Drawing("ratios", "Choice of the poison ratio", figure, caption, alt)
