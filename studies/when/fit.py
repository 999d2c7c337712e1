"""Fit the constants of the theory on half of the points, score its predictions on the others.

    python studies/when/fit.py

reads growth.json, writes src/recondoor/theory/constants.json, and theory.md and prediction.svg and
.png beside this file. A point, with all its seeds, is in one half: by a checksum of its name.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from recondoor.theory import Constants, limiting_cause

HERE = Path(__file__).parent
CONSTANTS = HERE.parent.parent / "src/recondoor/theory/constants.json"
BATCH, IMAGES = 25, 16
# A prediction may cost the time of this share of the shortest training looked at.
AFFORDABLE = 160
# Training images at which it is asked whether the backdoor is learnt.
BUDGETS = (2000, 4000, 8000, 16000)
DRAWS = 500
TICKS = (2_000, 4_000, 8_000, 16_000, 32_000)
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
Array = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """log(images) = intercept - slope log(growth an image) + N(0, spread^2)."""

    intercept: float
    slope: float
    spread: float
    likelihood: float

    def __call__(self, growth: Array) -> Array:
        """Images expected; infinite without growth, where the artefact is out of reach."""
        with np.errstate(divide="ignore"):
            return np.exp(self.intercept - self.slope * np.log(growth))


def main() -> None:
    """Choose what is affordable and likeliest on the first half; score it on the second."""
    rows = json.loads((HERE / "growth.json").read_text(encoding="utf-8"))
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


def in_first_half(row: Row) -> bool:
    """Whether the constants may see this point."""
    return zlib.crc32(f"{row['sweep']}/{row['point']}".encode()) % 2 == 0


def parts(choice: str) -> tuple[int, int]:
    """Steps and networks of a choice."""
    steps, networks = (int(part.split()[0]) for part in choice.split(", "))
    return steps, networks


def cost(choice: str) -> int:
    """Training images that a prediction costs the time of (`Plan.cost`)."""
    steps, networks = parts(choice)
    return networks * (max(steps, 1) * BATCH + 4 * IMAGES)


def arrays(rows: list[Row], choice: str) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Growth; images until the transition, or seen without one; whether there was one."""
    growth = np.array([row["growth"][choice] if row["reach"] > 0 else 0.0 for row in rows])
    learnt = np.array([row["transition_samples"] is not None for row in rows])
    images = [float(row["transition_samples"] or row["samples"]) for row in rows]
    return growth, np.array(images), learnt


def fit(rows: list[Row], choice: str) -> Line:
    """Censored normal regression: a training without a transition says 'later than its end'."""
    growth, images, learnt = arrays(rows, choice)
    x, y = np.log(growth), np.log(images)

    def loss(theta: Array) -> float:
        spread = np.exp(theta[2])
        error = (y - theta[0] + theta[1] * x) / spread
        seen = -(error**2) / 2 - theta[2] - np.log(2 * np.pi) / 2
        return -float(np.where(learnt, seen, log_ndtr(-error)).sum())

    slope, intercept = np.polyfit(x, y, 1)
    start = np.array([intercept, -slope, np.log(0.3)])
    found = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 10_000, "xatol": 1e-7})
    return Line(found.x[0], found.x[1], float(np.exp(found.x[2])), -found.fun)


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


@dataclass(frozen=True)
class Questions:
    """Is this network's backdoor learnt by then? One entry for a network and a budget."""

    row: NDArray[np.int64]
    budget: Array
    answer: NDArray[np.bool_]


def questions(rows: list[Row]) -> Questions:
    """All that the trainings answer: one that ended before a budget without it does not."""
    asked = [
        (at, budget, learnt)
        for at, row in enumerate(rows)
        for budget in BUDGETS
        if (learnt := answer(row, budget)) is not None
    ]
    row, budget, answers = zip(*asked, strict=True)
    return Questions(np.array(row), np.array(budget, dtype=float), np.array(answers))


def answer(row: Row, budget: int) -> bool | None:
    """Whether it was learnt within `budget` images; None if the training did not go so far."""
    seen = row["transition_samples"]
    if seen is not None:
        return bool(seen <= budget)
    return None if row["samples"] < budget else False


def probabilities(rows: list[Row], asked: Questions, line: Line, choice: str) -> Array:
    """What the theory says."""
    growth, _, _ = arrays(rows, choice)
    with np.errstate(divide="ignore"):
        return np.asarray(ndtr(np.log(asked.budget / line(growth)[asked.row]) / line.spread))


def baseline(first: list[Row], rows: list[Row], asked: Questions) -> Array:
    """Logistic regression on the logarithms of p, L2 and images alone."""
    learnt_from = questions(first)
    model = LogisticRegression(C=1e3, max_iter=5000)
    model.fit(features(first, learnt_from), learnt_from.answer)
    return np.asarray(model.predict_proba(features(rows, asked))[:, 1])


def features(rows: list[Row], asked: Questions) -> Array:
    """Log p, log L2, log images."""
    table = np.array([[row["poison.ratio"], row["l2"]] for row in rows])[asked.row]
    return np.log(np.column_stack([table, asked.budget]))


def interval(rows: list[Row], measure: Callable[[NDArray[np.int64]], float]) -> str:
    """Value with a 95 % percentile bootstrap over points, each with all its seeds."""
    points: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        points.setdefault(f"{row['sweep']}/{row['point']}", []).append(at)
    groups = [np.array(group) for group in points.values()]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        chosen = rng.integers(len(groups), size=len(groups))
        drawn.append(measure(np.concatenate([groups[k] for k in chosen])))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{measure(np.arange(len(rows))):.3f} ({low:.3f} to {high:.3f})"


def auc(asked: Questions, score: Array) -> Callable[[NDArray[np.int64]], float]:
    """ROC-AUC over the questions of some rows."""

    def measure(chosen: NDArray[np.int64]) -> float:
        count = np.bincount(chosen, minlength=asked.row.max() + 1)
        weight = count[asked.row]
        if len(set(asked.answer[weight > 0])) < 2:
            return float("nan")
        return float(roc_auc_score(asked.answer, score, sample_weight=weight))

    return measure


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
    ours = probabilities(second, asked, line, best)
    theirs = baseline(first, second, asked)
    yield from ("", f"ROC-AUC, held out ({len(asked.answer)} questions):", "")
    yield "| | theory | logistic regression on p, L2, images |"
    yield "|:---|---:|---:|"
    pair = (interval(second, auc(asked, score)) for score in (ours, theirs))
    yield f"| all budgets | {' | '.join(pair)} |"
    for budget in BUDGETS:
        part = asked.budget == budget
        of = Questions(asked.row[part], asked.budget[part], asked.answer[part])
        if 0 < of.answer.mean() < 1:
            pair = (interval(second, auc(of, score[part])) for score in (ours, theirs))
            yield f"| {budget:,} images | {' | '.join(pair)} |"
    yield from ("", "Held out, sweep by sweep, all budgets:", "")
    yield "| sweep | networks | AUC theory | AUC logistic | median factor |"
    yield "|:---|---:|---:|---:|---:|"
    for sweep in sorted({row["sweep"] for row in second}):
        yield of_sweep(sweep, second, first, line, best)
    yield from ("", "Calibration, held out: what was said, and the share that was learnt:", "")
    yield "| said | questions | learnt |"
    yield "|:---|---:|---:|"
    for low, high in (
        (0, 0.05),
        (0.05, 0.25),
        (0.25, 0.5),
        (0.5, 0.75),
        (0.75, 0.95),
        (0.95, 1.01),
    ):
        part = (ours >= low) & (ours < high)
        if part.any():
            share = asked.answer[part].mean()
            yield f"| {low:g} to {min(high, 1):g} | {part.sum()} | {share:.2f} |"
    yield from ("", *causes(second, line, best))


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
