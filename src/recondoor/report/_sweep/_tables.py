"""The tables of a sweep's page: all points, and methods compared seed by seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from recondoor.evaluation.statistics import Estimate, holm, mean_interval, paired
from recondoor.evaluation.yardsticks import Yardstick, of
from recondoor.report._names import number, title
from recondoor.report._sweep._axes import Axis
from recondoor.report._sweep._load import Row, SweepData, columns
from recondoor.report._sweep._series import Series, series
from recondoor.report._tables import UNDEFINED, of_seeds

MOST_LINES = 1_000
"""Lines of a table of the page; a browser takes seconds for thousands."""
FIRST = ("artefact_recovery", "attack_rmse", "ghost")
"""Yardsticks whose columns stand before the others."""
COMPARED = ("benign_rmse", "attack_rmse", "artefact_rmse", "artefact_recovery")


@dataclass(frozen=True)
class PointLine:
    """One point and model: its name, its number of seeds, and a text for each column.

    runs: (seed, link) of those of its runs that lie in the folder.
    """

    point: str
    model: str
    n: int
    cells: tuple[str, ...]
    runs: tuple[tuple[int, str], ...] = ()


def heads(data: SweepData) -> tuple[str, ...]:
    """Heads of the columns of `points`, after point, model and seeds."""
    judged = ("Successes",) if data.judged else ()
    titles = (each.at(data.measured).title for each in _first_what_matters())
    return ("Learnt", "Images until learnt", *judged, *titles)


def _first_what_matters() -> list[Yardstick]:
    """Columns of yardsticks; a narrow window shows the first."""
    return sorted(columns(), key=lambda each: each.key not in FIRST)


def points(data: SweepData, linked: bool = True) -> list[PointLine]:
    """A line for each point and model, in the order of the table; the first `MOST_LINES`.

    linked: whether the page lies in the folder of the sweep, so that it can link to its runs.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in data.rows:
        groups.setdefault((row["point"], row["model"]), []).append(row)
    return [
        PointLine(
            point,
            title(model),
            len(rows),
            (
                *_outcomes(data, model, rows),
                *(_yardstick(rows, each) for each in _first_what_matters()),
            ),
            _runs(data.folder, point, rows) if linked else (),
        )
        for (point, model), rows in islice(groups.items(), MOST_LINES)
    ]


def _outcomes(data: SweepData, model: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Cells of what is counted and not averaged."""
    if model == "original":
        return (UNDEFINED,) * (3 if data.judged else 2)
    known = [row["artefact_recovery"] for row in rows if row["artefact_recovery"] is not None]
    learnt = sum(value > data.transition for value in known)
    cells = (f"{learnt} of {len(known)}", _learnt(rows))
    return (*cells, _successes(data, rows)) if data.judged else cells


def _runs(folder: Path, point: str, rows: Sequence[Row]) -> tuple[tuple[int, str], ...]:
    """Seed and link of each run of a point that is in the folder of the sweep."""
    found = []
    for seed in sorted({row["seed"] for row in rows}):
        run = folder / "points" / point / f"seed{seed}"
        inside = run.resolve().is_relative_to(folder.resolve())
        if inside and (run / "config.toml").is_file():
            page = "report.html" if (run / "report.html").is_file() else ""
            found.append((seed, quote(f"points/{point}/seed{seed}/{page}")))
    return tuple(found)


def _yardstick(rows: Sequence[Row], yardstick: Yardstick) -> str:
    values = [row[yardstick.key] for row in rows if row.get(yardstick.key) is not None]
    if not values:
        return UNDEFINED
    found = mean_interval(values)
    return interval(found, yardstick.decimals, yardstick.scale) + of_seeds(found, len(rows))


def interval(estimate: Estimate, decimals: int, scale: float = 1.0) -> str:
    """A mean with its interval, e.g. ``0.95 [0.90, 0.99]``."""
    mean = number(estimate.mean * scale, decimals)
    if estimate.low is None or estimate.high is None:
        return mean
    ends = (number(end * scale, decimals) for end in (estimate.low, estimate.high))
    return f"{mean} [{', '.join(ends)}]"


def _learnt(rows: Sequence[Row]) -> str:
    """Geometric mean of the images until the transition where all seeds learnt it, else how many.

    Waits differ by factors, and a mean of those that ended would leave out the longest ones.
    """
    waits = [row.get("transition_samples") for row in rows]
    known = [wait for wait in waits if wait]
    if not known:
        return "never" if "transition_samples" in rows[0] else UNDEFINED
    if len(known) < len(waits):
        return f"{len(known)} of {len(waits)} learn it"
    return f"{np.exp(np.mean(np.log(known))):,.0f}"


def _successes(data: SweepData, rows: Sequence[Row]) -> str:
    verdicts = [data.success(row) for row in rows]
    return f"{sum(verdict is True for verdict in verdicts)} of {len(rows)}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Method a minus method b in one yardstick, under settings that they share; texts."""

    where: str
    pair: str
    yardstick: str
    difference: str
    seeds: int
    effect: str
    p: str
    adjusted: str
    sign_flip: str
    significant: bool


def comparisons(data: SweepData, axes: Sequence[Axis]) -> list[Comparison]:
    """Every two methods that share all settings but the attack's own, in four yardsticks.

    A text among the attack's settings, such as its mask, is a part of the method; its budget is
    not. P values are adjusted over the pairs of one place and yardstick. The places after the first
    `MOST_LINES` lines are left out.
    """
    own = [axis for axis in axes if axis.key.startswith("attack.") and not axis.numeric]
    shared = [axis for axis in axes if axis not in own]
    labels = {id(row): method.label for method in series(data.attacked, own) for row in method.rows}
    found: list[Comparison] = []
    for place in _places(data, shared):
        if len(found) >= MOST_LINES:
            break
        methods: dict[str, list[Row]] = {}
        for row in place.rows:
            methods.setdefault(labels[id(row)], []).append(row)
        where = ", ".join(a.show(v) for a, v in zip(shared, place.levels, strict=True))
        for key in COMPARED:
            found += _compare(methods, key, where or "all points")
    return found


def _places(data: SweepData, shared: Sequence[Axis]) -> list[Series]:
    """Poisoned networks that agree in `shared`, whatever their method."""
    blind = [{**row, "model": "any"} for row in data.attacked]
    by_id = {id(copy): row for copy, row in zip(blind, data.attacked, strict=True)}
    return [
        Series(s.label, s.model, s.levels, tuple(by_id[id(row)] for row in s.rows))
        for s in series(blind, shared)
    ]


def _compare(methods: dict[str, list[Row]], key: str, where: str) -> list[Comparison]:
    values = {
        label: {row["seed"]: row[key] for row in rows if row[key] is not None}
        for label, rows in methods.items()
    }
    results = [(a, b, paired(values[a], values[b])) for a, b in combinations(values, 2)]
    tests = [(a, b, found) for a, b, found in results if found is not None]
    adjusted = holm([found.t for *_, found in tests])
    yardstick = of(key)
    return [
        Comparison(
            where=where,
            pair=f"{a} − {b}",
            yardstick=yardstick.name,
            difference=interval(found.difference, yardstick.decimals),
            seeds=found.difference.n,
            effect=UNDEFINED if found.effect is None else number(found.effect, 1),
            p=probability(found.t),
            adjusted=probability(p),
            sign_flip=probability(found.sign_flip),
            significant=p is not None and p < 0.05,
        )
        for (a, b, found), p in zip(tests, adjusted, strict=True)
    ]


def probability(p: float | None) -> str:
    """A p value with two digits that matter, none below 0.0001."""
    if p is None:
        return UNDEFINED
    if p < 1e-4:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.2g}"
