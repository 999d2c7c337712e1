"""Learning curves of a run, with the hedge line."""

from collections.abc import Callable
from pathlib import Path

from recondoor import report
from recondoor.evaluation import yardsticks
from recondoor.explore._pictures import Json, number, numbers, scaled

SHOWN = {
    "recovery": "artefact_recovery",
    "ghost": "ghost",
    "attack_rmse": "attack_rmse",
    "benign_rmse": "benign_rmse",
    "val_loss": "validation_loss",
}
"""Columns of the history that are drawn, and the yardstick that each is."""


def curves(folder: Path) -> Json:
    """Every model's curves over the training images, and where the hedge line lies.

    Raises ReportError where the run is damaged.
    """
    run = report.load(folder)
    hedge = {} if run.results is None else run.results.data["hedge"]
    p = run.poison_ratio
    return {
        "name": folder.resolve().name,
        "ratio": p,
        "yardsticks": [
            {"key": key, "name": yardsticks.of(known).title, "hedge": number(hedge.get(known))}
            for key, known in SHOWN.items()
        ],
        "curves": [
            {
                "model": label,
                "title": report.title(label),
                "seed": seed,
                "samples": numbers(found["samples"]),
                "values": {key: numbers(found[key]) for key in SHOWN if key in found},
            }
            for (label, seed), found in sorted(run.training.items(), key=_by_model(run))
        ],
        "columns": [] if run.results is None else _columns(run.results),
        "rows": [] if run.results is None else _rows(run.results),
    }


def _by_model(run: report.Run) -> Callable[[tuple[tuple[str, int], object]], tuple[int, int]]:
    """Order of curves: as in the report, then by seed."""
    order = run.models
    return lambda item: (order.index(item[0][0]), item[0][1])


def _columns(results: report.Results) -> list[str]:
    return [each.at(results.measured).title for each in report.columns()]


def _rows(results: report.Results) -> list[Json]:
    """The run's results as they stand in its table."""
    return [
        {
            "model": report.title(row["model"]),
            "seed": row["seed"],
            "success": results.success(row) if row["model"] != "original" else None,
            "values": [scaled(row.get(each.key), each.scale) for each in report.columns()],
        }
        for row in results.data["rows"]
    ]
