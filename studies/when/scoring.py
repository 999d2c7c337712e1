"""What the theory and its rivals say to the questions, and how good that is."""

from collections.abc import Callable

import numpy as np
from fitting import Array, Line, Questions, Row, arrays, fit, questions
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

DRAWS = 300
# What a logistic regression may know of a trigger: its kind; upper left pixel of the square in its
# corner; the middle of the artefact on both axes.
KINDS = ("bilevel", "direct", "random", "spectral", "tangent")
CORNER, ARTEFACT = "24,24", 4


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


def knowing(first: list[Row], rows: list[Row], asked: Questions) -> Array:
    """Logistic regression that also knows distance, kind, kernel, width and place of entry."""
    learnt_from = questions(first)
    model = LogisticRegression(C=1.0, max_iter=20_000)
    model.fit(told(first, learnt_from), learnt_from.answer)
    return np.asarray(model.predict_proba(told(rows, asked))[:, 1])


def told(rows: list[Row], asked: Questions) -> Array:
    """The features, and what else a table of settings says of a network."""
    table = [
        [
            distance(row),
            float(np.log(row["model.kernel"])),
            float(np.log(row["model.width"])),
            *(float(row["model"] == kind) for kind in KINDS),
            *(float(row.get("trigger.inject", "z") == where) for where in ("x", "y")),
        ]
        for row in rows
    ]
    return np.column_stack([features(rows, asked), np.array(table)[asked.row]])


def distance(row: Row) -> float:
    """Pixels from the middle of a square to that of the artefact, over 10; 0 of other triggers."""
    if row["model"] != "heuristic":
        return 0.0
    place = CORNER if row["trigger.place"] == "bottom-right" else row["trigger.place"]
    return max(abs(int(part) + 1 - ARTEFACT) for part in place.split(",")) / 10


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


def said(
    first: list[Row], rows: list[Row], asked: Questions, line: Line, choice: str
) -> dict[str, Array]:
    """What the theory says, and those who look at the settings of `first` alone."""
    return {
        "theory": probabilities(rows, asked, line, choice),
        "logistic": baseline(first, rows, asked),
        "knowing": knowing(first, rows, asked),
        "images": asked.budget,
    }


def left_out(rows: list[Row], best: str) -> tuple[list[Row], Questions, dict[str, Array]]:
    """Every sweep asked about by what was fitted on the others."""
    order: list[Row] = []
    found: list[tuple[Questions, dict[str, Array]]] = []
    for sweep in sorted({row["sweep"] for row in rows}):
        own = [row for row in rows if row["sweep"] == sweep]
        others = [row for row in rows if row["sweep"] != sweep]
        asked = questions(own)
        line = fit([row for row in others if row["reach"] > 0], best)
        shifted = Questions(asked.row + len(order), asked.budget, asked.answer)
        found.append((shifted, said(others, own, asked, line, best)))
        order += own
    keys = ("row", "budget", "answer")
    joined = (np.concatenate([getattr(part, key) for part, _ in found]) for key in keys)
    scores = {key: np.concatenate([each[key] for _, each in found]) for key in found[0][1]}
    return order, Questions(*joined), scores
