"""Tables of the five-seed study of full MNIST, from five-seeds.json and cpu-seed0.json.

    python studies/paper/summary.py

writes tables.md beside this file; nothing is trained here. Intervals are the project's own
(`recondoor.evaluation.statistics`): Student's t over seeds, differences taken seed by seed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recondoor.evaluation.statistics import Estimate, Paired, mean_interval, paired

HERE = Path(__file__).parent
SQUARE = "square corner"
ERRORS = {"benign_rmse": "benign", "attack_rmse": "attack", "artefact_rmse": "artefact"}
# Label in the file -> name in the tables.
NAMES = {
    "none": "original",
    SQUARE: "square, corner",
    "blo corner": "BLO, corner",
    "blo free": "BLO, free",
    "blo free, random start": "BLO, free, random start, 100 steps",
    "tangent free": "`tangent`, free",
    "random free": "random, free",
    "random corner": "random, corner",
    "square best place": "square, best place",
    "literal row-sum": "literal recipe, row sums, unbounded",
}
Row = dict[str, Any]
BySeed = dict[int, float]


def rows() -> list[Row]:
    """Fifty rows: ten triggers, five seeds."""
    found: list[Row] = json.loads((HERE / "five-seeds.json").read_text("utf-8"))["rows"]
    return found


def cpu_rows() -> list[Row]:
    """The two rows of seed 0 that were trained on a CPU."""
    found: list[Row] = json.loads((HERE / "cpu-seed0.json").read_text("utf-8"))["rows"]
    return found


def by_seed(label: str, metric: str) -> BySeed:
    """A yardstick of one trigger, by seed."""
    return {row["seed"]: row[metric] for row in rows() if row["label"] == label}


def mean(label: str, metric: str) -> Estimate:
    """Its mean over seeds."""
    return mean_interval(list(by_seed(label, metric).values()))


def against_square(label: str, metric: str) -> Paired:
    """Its difference to the square in the corner, seed by seed."""
    found = paired(by_seed(label, metric), by_seed(SQUARE, metric))
    if found is None:
        raise ValueError(f"{label}: no seed in common with the square")
    return found


def first_epoch(label: str) -> list[float]:
    """Recovery on validation pairs after one epoch, by seed."""
    return [row["history"][0]["recovery"] for row in rows() if row["label"] == label]


def spread(values: list[float], digits: int = 2) -> str:
    """From the least to the largest."""
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def shown(estimate: Estimate, digits: int, sign: str = "") -> str:
    """Mean and interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.mean:{sign}.{digits}f}"
    low, high = (f"{end:{sign}.{digits}f}" for end in (estimate.low, estimate.high))
    return f"{estimate.mean:{sign}.{digits}f} ({low} to {high})"


def main_table() -> Iterator[str]:
    """The three errors of every trigger."""
    yield "| trigger | L2 | benign | attack | artefact | recovery after 1 epoch, by seed |"
    yield "|:---|---:|---:|---:|---:|---:|"
    for label, name in NAMES.items():
        errors = [shown(mean(label, metric), 4) for metric in ERRORS]
        if label == "none":
            errors[2] = "NA"
        early = "" if label == "none" else spread(first_epoch(label))
        yield f"| {name} | {mean(label, 'trigger_l2').mean:.2f} | {' | '.join(errors)} | {early} |"


def paired_table() -> Iterator[str]:
    """Differences to the square, seed by seed."""
    yield "| trigger, minus the square in the corner | benign | attack | artefact |"
    yield "|:---|---:|---:|---:|"
    for label, name in NAMES.items():
        if label not in ("none", SQUARE):
            cells = [shown(against_square(label, metric).difference, 4, "+") for metric in ERRORS]
            yield f"| {name} | {' | '.join(cells)} |"


def cpu_table() -> Iterator[str]:
    """The rows of seed 0 on both machines."""
    yield "| seed 0 | | benign | attack | artefact | recovery |"
    yield "|:---|:---|---:|---:|---:|---:|"
    metrics = (*ERRORS, "artefact_recovery")
    for row in cpu_rows():
        label = {"original": "none", "heuristic": SQUARE}[row["model"]]
        other = {metric: by_seed(label, metric)[0] for metric in metrics}
        for where, values in (("CPU, float32", row), ("GPU, TF32", other)):
            cells = " | ".join(f"{values[metric]:.4f}" for metric in metrics)
            yield f"| {NAMES[label]} | {where} | {cells} |"


def text() -> str:
    """The page tables.md."""
    lines = ["# Full MNIST, five seeds", ""]
    lines += ["RMSE on the 10,000 test images: mean and 95 % t-interval over five seeds.", ""]
    lines += [*main_table(), "", "Paired by seed:", "", *paired_table()]
    lines += ["", "The same seed on another machine, by the project's own loop:", "", *cpu_table()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "tables.md").write_text(text(), encoding="utf-8")
