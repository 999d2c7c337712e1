"""Fit the constants of the theory on half of the points, score its predictions on the others.

    python studies/when/fit.py

reads growth.json, writes src/recondoor/theory/constants.json, and theory.md and prediction.svg and
.png beside this file. A point, with all its seeds, is in one half: by a checksum of its name. What
is expected of a sweep that was not seen is scored besides, by leaving out one after the other:
points of one sweep are alike, so that halves of it are no strangers.
"""

import json
from collections.abc import Callable, Iterator

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from fitting import (
    BATCH,
    BUDGETS,
    HERE,
    IMAGES,
    Array,
    Line,
    Questions,
    Row,
    arrays,
    cost,
    fit,
    in_first_half,
    networks,
    parts,
    questions,
)
from numpy.typing import NDArray
from scoring import auc, baseline, interval, left_out, probabilities, said
from sklearn.metrics import roc_auc_score

from recondoor.theory import Constants, limiting_cause

CONSTANTS = HERE.parent.parent / "src/recondoor/theory/constants.json"
# A prediction may cost the time of so many training images: 3 % of the shortest training.
AFFORDABLE = 480
TICKS = (2_000, 4_000, 8_000, 16_000, 32_000)
BINS = ((0, 0.05), (0.05, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 0.95), (0.95, 1.01))
# Colours of Okabe and Ito, a marker each.
LOOKS = (
    ("#000000", "o"),
    ("#E69F00", "s"),
    ("#56B4E9", "D"),
    ("#009E73", "^"),
    ("#0072B2", "v"),
    ("#CC79A7", "P"),
    ("#D55E00", "X"),
)


def main() -> None:
    """Choose what is affordable and likeliest on the first half; score it on the second."""
    rows = networks()
    first = [row for row in rows if in_first_half(row)]
    second = [row for row in rows if not in_first_half(row)]
    within = [row for row in first if row["reach"] > 0]
    lines = {choice: fit(within, choice) for choice in rows[0]["growth"]}
    affordable = [choice for choice in lines if cost(choice) <= AFFORDABLE]
    best = max(affordable, key=lambda choice: lines[choice].likelihood)
    write_constants(best, lines[best], len(within))
    text = "\n".join(report(rows, first, second, lines, best))
    (HERE / "theory.md").write_text(text + "\n", encoding="utf-8")
    draw(first, second, lines[best], best)
    print(text)


def write_constants(choice: str, line: Line, networks: int) -> None:
    """The constants that ship."""
    steps, models = parts(choice)
    constants = {
        "intercept": round(line.intercept, 4),
        "slope": round(line.slope, 4),
        "spread": round(line.spread, 4),
        "networks": models,
        "steps": steps,
        "batch": BATCH,
        "images": IMAGES,
    }
    made = {"constants": constants, "made": f"studies/when/fit.py, from {networks} networks"}
    CONSTANTS.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")


def report(
    rows: list[Row], first: list[Row], second: list[Row], lines: dict[str, Line], best: str
) -> Iterator[str]:
    """The page theory.md."""
    line = lines[best]
    yield f"{len(first)} networks to fit, {len(second)} held out; {len(rows)} in all. In brackets:"
    yield "95 % intervals by bootstrap over points, each with all its seeds."
    yield ""
    columns = "taken after | cost in images | log-likelihood | slope | spread"
    yield f"| {columns} | median factor, held out |"
    yield "|:---|---:|---:|---:|---:|---:|"
    for choice, each in lines.items():
        mark = " (ships)" if choice == best else ""
        yield (
            f"| {choice}{mark} | {cost(choice)} | {each.likelihood:.1f} | {each.slope:.3f} | "
            f"{each.spread:.3f} | {interval(second, factor(second, each, choice))} |"
        )
    asked = questions(second)
    scores = said(first, second, asked, line, best)
    yield from ("", f"ROC-AUC, held-out half ({len(asked.answer)} questions):", "", *AREAS)
    yield area("all budgets", second, asked, scores, shown=interval)
    for budget in BUDGETS:
        yield area(f"{budget:,} images", second, *at(budget, asked, scores))
    yield from ("", "Held-out half, sweep by sweep, all budgets:", "")
    yield "| sweep | networks | AUC theory | AUC logistic | median factor |"
    yield "|:---|---:|---:|---:|---:|"
    for sweep in sorted({row["sweep"] for row in second}):
        yield of_sweep(sweep, second, first, line, best)
    yield from ("", "Calibration, held-out half: what was said, and the share that was learnt:", "")
    yield from calibration(scores["theory"], asked.answer)
    yield from ("", *unseen(rows, best))
    yield from ("", *causes(second, line, best))


AREAS = (
    "| | theory | logistic regression on p, L2, images | knowing one | images alone |",
    "|:---|---:|---:|---:|---:|",
)


def area(
    name: str,
    rows: list[Row],
    asked: Questions,
    scores: dict[str, Array],
    shown: Callable[[list[Row], Callable[[NDArray[np.int64]], float]], str] | None = None,
) -> str:
    """One line of ROC-AUCs, with intervals if `shown` makes them."""
    if len(set(asked.answer)) < 2:
        return f"| {name} | | | | |"
    every = np.arange(len(rows))
    measures = [auc(asked, score) for score in scores.values()]
    cells = [shown(rows, one) if shown else f"{one(every):.3f}" for one in measures]
    return f"| {name} | {' | '.join(cells)} |"


def at(
    budget: int, asked: Questions, scores: dict[str, Array]
) -> tuple[Questions, dict[str, Array]]:
    """The questions at one budget and what was said there."""
    part = asked.budget == budget
    some = Questions(asked.row[part], asked.budget[part], asked.answer[part])
    return some, {name: score[part] for name, score in scores.items()}


def calibration(said: Array, answer: NDArray[np.bool_]) -> Iterator[str]:
    """What was said, bin by bin, and the share that was learnt."""
    yield "| said | questions | said on average | learnt |"
    yield "|:---|---:|---:|---:|"
    off = 0.0
    for low, high in BINS:
        part = (said >= low) & (said < high)
        if part.any():
            mean, share = float(said[part].mean()), float(answer[part].mean())
            off += part.mean() * abs(mean - share)
            yield f"| {low:g} to {min(high, 1):g} | {part.sum()} | {mean:.2f} | {share:.2f} |"
    yield from ("", f"Mean distance, weighed by questions: {off:.3f}.")


def unseen(rows: list[Row], best: str) -> Iterator[str]:
    """How well sweeps are foretold that the fit has not seen."""
    order, asked, scores = left_out(rows, best)
    count = len(asked.answer)
    yield f"Sweeps that were not seen: each by a fit on the others, {count} questions, ROC-AUC:"
    yield from ("", *AREAS)
    yield area("all budgets", order, asked, scores, shown=interval)
    for budget in BUDGETS:
        yield area(f"{budget:,} images", order, *at(budget, asked, scores))
    for sweep in sorted({row["sweep"] for row in order}):
        own = np.array([order[row]["sweep"] == sweep for row in asked.row])
        some = Questions(asked.row[own], asked.budget[own], asked.answer[own])
        yield area(sweep, order, some, {name: score[own] for name, score in scores.items()})
    yield from ("", "Calibration on sweeps that were not seen:", "")
    yield from calibration(scores["theory"], asked.answer)


def factor(rows: list[Row], line: Line, choice: str) -> Callable[[NDArray[np.int64]], float]:
    """Median factor between images expected and seen, over the networks that learnt it."""
    growth, images, learnt = arrays(rows, choice)
    error = np.abs(np.log(line(growth) / images))

    def measure(chosen: NDArray[np.int64]) -> float:
        kept = chosen[learnt[chosen]]
        return float(np.exp(np.median(error[kept]))) if len(kept) else float("nan")

    return measure


def of_sweep(sweep: str, second: list[Row], first: list[Row], line: Line, best: str) -> str:
    """One line of the table of sweeps."""
    rows = [row for row in second if row["sweep"] == sweep]
    asked = questions(rows)
    scores = (probabilities(rows, asked, line, best), baseline(first, rows, asked))
    both = 0 < asked.answer.mean() < 1
    areas = [f"{roc_auc_score(asked.answer, score):.3f}" if both else "" for score in scores]
    median = factor(rows, line, best)(np.arange(len(rows)))
    return f"| {sweep} | {len(rows)} | {areas[0]} | {areas[1]} | {median:.2f} |"


def causes(rows: list[Row], line: Line, best: str) -> Iterator[str]:
    """Is the right cause named where one factor was changed alone and the backdoor failed?"""
    yield "Cause named, held out, where one factor was changed alone and nothing was learnt:"
    yield ""
    yield "| changed | failures | right | named instead |"
    yield "|:---|---:|---:|:---|"
    for changed, chosen in failures(rows).items():
        named = [cause(row, budget, line, best) for row, budget in chosen]
        others = sorted({name for name in named if name != changed})
        right = sum(name == changed for name in named)
        yield f"| {changed} | {len(named)} | {right} | {', '.join(others)} |"


def failures(rows: list[Row]) -> dict[str, list[tuple[Row, int]]]:
    """Failed networks, and the budget at which they failed, by the factor that was changed.

    energy: the sweep of L2; ratio: of p; reach: of places and kernels; samples: networks that do
    learn it, at a budget of 2,000 images.
    """
    failed = [row for row in rows if row["transition_samples"] is None]
    by_sweep = {"energy": "energy", "ratio": "ratio", "reach": "place"}
    found = {
        cause: [(row, row["samples"]) for row in failed if row["sweep"] == sweep]
        for cause, sweep in by_sweep.items()
    }
    early = [
        (row, BUDGETS[0])
        for row in rows
        if row["transition_samples"] is not None and row["transition_samples"] > BUDGETS[0]
    ]
    return {key: value for key, value in (found | {"samples": early}).items() if value}


def cause(row: Row, budget: int, line: Line, best: str) -> str:
    """What `predict` would name."""
    steps, networks = parts(best)
    return limiting_cause(
        Constants(line.intercept, line.slope, line.spread, networks, steps, BATCH, IMAGES),
        growth=row["growth"][best] if row["reach"] > 0 else 0.0,
        average=row["average"][best],
        l2=row["l2"],
        clean_l2=row["clean_l2"],
        ratio=row["poison.ratio"],
        budget=budget,
    )


def draw(first: list[Row], second: list[Row], line: Line, best: str) -> None:
    """Images expected against seen, both halves."""
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    plt.rcParams |= {"svg.hashsalt": "recondoor"}
    sweeps = sorted({row["sweep"] for row in (*first, *second)})
    looks = dict(zip(sweeps, LOOKS, strict=False))
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 4.1), sharex=True, sharey=True)
    for ax, rows, title in zip(axes, (first, second), ("fitted", "held out"), strict=True):
        growth, images, learnt = arrays(rows, best)
        expected = line(growth)
        for sweep in sweeps:
            here = np.array([row["sweep"] == sweep for row in rows], dtype=bool)
            colour, marker = looks[sweep]
            for part, face in ((here & learnt, colour), (here & ~learnt, "none")):
                look = {"marker": marker, "facecolor": face, "edgecolor": colour}
                ax.scatter(expected[part], images[part], s=11, linewidth=0.7, **look)
        ends = np.array([1500, 60_000])
        ax.plot(ends, ends, color="#777777", linewidth=0.8)
        ax.fill_between(ends, ends / 1.5, ends * 1.5, color="#777777", alpha=0.12, linewidth=0)
        ax.set(xscale="log", yscale="log", xlim=(1500, 40_000), ylim=(1500, 40_000))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(TICKS, [f"{tick:,}" for tick in TICKS])
            axis.set_ticks([], minor=True)
        ax.set(title=title, xlabel="training images expected", box_aspect=1)
    axes[0].set_ylabel("training images until recovery > 0.5")
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, linestyle="", markersize=4, label=sweep)
        for sweep, (colour, marker) in looks.items()
    ]
    handles.append(
        plt.Line2D(
            [],
            [],
            color="#777777",
            marker="o",
            markerfacecolor="none",
            linestyle="",
            markersize=4,
            label="not learnt by then",
        )
    )
    handles.append(plt.Rectangle((0, 0), 1, 1, color="#777777", alpha=0.12, label="factor 1.5"))
    figure.legend(handles=handles, loc="lower center", ncols=9, frameon=False, fontsize=6.5)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(HERE / f"prediction.{suffix}", dpi=180, metadata=metadata)


if __name__ == "__main__":
    main()
