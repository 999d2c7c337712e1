"""The networks of growth.json, the line that is fitted through them, and what is asked of it."""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr

HERE = Path(__file__).parent
BATCH, IMAGES = 25, 16
# Training images at which it is asked whether the backdoor is learnt.
BUDGETS = (2000, 4000, 8000, 16000)
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


def networks() -> list[Row]:
    """All networks, each once."""
    return distinct(json.loads((HERE / "growth.json").read_text(encoding="utf-8")))


def distinct(rows: list[Row]) -> list[Row]:
    """The rows without networks that another sweep has trained too, under another name."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        own = (row["sweep"], row["point"], row["model"])
        same = (row["seed"], *row["growth"].values(), row["transition_samples"])
        found.setdefault(same if row["reach"] > 0 else (row["seed"], *own), row)
    return list(found.values())


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
    """Whether it was learnt within `budget` images; None past the longest that it may have taken.

    A training that stops once it has learnt has no say beyond its own cap: only a 'yes' could come.
    """
    seen, longest = row["transition_samples"], row["train.max_epochs"] * row["train.epoch_pairs"]
    if budget > longest:
        return None
    return bool(seen is not None and seen <= budget)
