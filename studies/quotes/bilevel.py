"""Numbers of docs/bilevel.md."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import when
from kept import STUDIES, Quote, script

from recondoor.evaluation.censored import Censored

Cells = dict[tuple[str, str, float], Any]
TABLES = "studies/equal-budget"
RIVALS = {
    ("corner", "heuristic"): "`heuristic`, the square in the paper's corner",
    ("search", "heuristic"): "`heuristic`, the square in its best place",
    ("image", "random"): "`random`, anywhere in the image",
    ("image", "spectral"): "`spectral`, anywhere in the image",
    ("image", "direct"): "`direct`, anywhere in the image",
    ("image", "tangent"): "`tangent`, anywhere in the image",
}


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    summary = script("equal-budget/summary.py")
    found = {name: summary.kept_cells(name) for name in summary.SWEEPS}
    for key, title in RIVALS.items():
        told = [summary.energy(cells, *key) for cells in found.values()]
        cells = [f"{summary.factor(one)} [{one.exact} of {one.n}]" for one in told]
        yield Quote(f"| {title} | {' | '.join(cells)} |", TABLES)
    yield from tangent(summary, found)
    yield from controls(summary, found)
    yield from inside(summary, found)
    yield from ratio()
    yield from alignment()


def tangent(summary: ModuleType, found: dict[str, Cells]) -> Iterator[Quote]:
    """How far BLO is ahead of the trigger that it starts from."""
    fourier, gaussian = (
        [
            summary.images(cells["image", "tangent", l2], cells["image", "bilevel", l2])
            for l2 in summary.budgets(cells, "image", "bilevel")
        ]
        for cells in found.values()
    )
    fewer = [fewer_images(one) for one in fourier]
    yield Quote(f"{min(fewer):.1f} to {max(fewer):.1f} % fewer images", TABLES)
    both = [fewer_images(one) for one in gaussian]
    yield Quote(f"{max(both):.1f} % fewer and {-min(both):.1f} % more", TABLES)
    ends = [
        round(float(np.exp(one.low)), 2) <= 1 <= np.exp(one.high) for one in (*fourier, *gaussian)
    ]
    words = {8: "eight"}
    yield Quote(f"{words[sum(ends)]} of the {words[len(ends)]} intervals include 1", TABLES)


def fewer_images(one: Censored) -> float:
    """By what share BLO needs fewer images than the other, in percent; below 0 if it needs more."""
    if one.mean is None:
        raise ValueError("not told")
    return float(100 * (1 - np.exp(-one.mean)))


def controls(summary: ModuleType, found: dict[str, Cells]) -> Iterator[Quote]:
    """Images that patterns which nothing learned need over those of BLO."""
    told, bounds = [], []
    for cells in found.values():
        for method in ("random", "spectral"):
            for l2 in summary.budgets(cells, "image", method):
                one = summary.images(cells["image", method, l2], cells["image", "bilevel", l2])
                (bounds if one.mean is None else told).append(
                    float(np.exp(one.low if one.mean is None else one.mean))
                )
    yield Quote(
        f"by a factor of {min(told):.2f} to {max(told):.2f} where the factor is told", TABLES
    )
    yield Quote(f"at least {min(bounds):.2f} (Fourier) and {max(bounds):.2f} (Gaussian)", TABLES)


def inside(summary: ModuleType, found: dict[str, Cells]) -> Iterator[Quote]:
    """What a learned pattern gains inside a fixed mask."""
    for cells in found.values():
        for block in ("corner", "search"):
            for l2 in summary.budgets(cells, block, "bilevel"):
                ours, theirs = cells[block, "bilevel", l2], cells[block, "heuristic", l2]
                yield Quote(summary.factor(summary.images(theirs, ours)), TABLES)


def ratio() -> Iterator[Quote]:
    """How many networks are a success, by the share of poisoned pairs."""
    shares = (0.01, 0.02, 0.05, 0.1)
    counts = [when.row_of("", when.ratio_rows("bilevel", p), p).split("| ")[-1][0] for p in shares]
    yield Quote(f"{', '.join(counts[:-1])} and {counts[-1]} of three networks", when.RATIO)


def alignment() -> Iterator[Quote]:
    """The table of directions, as alignment.py wrote it."""
    text = (STUDIES / "equal-budget" / "alignment.md").read_text("utf-8")
    for line in text.splitlines()[2:]:
        if line.startswith("| fourier | image | 1 |"):
            yield Quote(line, f"{TABLES}/alignment.md")
