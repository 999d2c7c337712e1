"""By how many images BLO is learnt before the square and before other places, from kept sweeps.

    python studies/table1/lead.py

prints the table of docs/table1.md; nothing is trained here. Both are of one seed, so that their
transitions are paired. One that was not learnt is known to come later than its training's end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from pyarrow import parquet

from recondoor.evaluation.censored import Censored, censored_interval

SWEEPS = Path(__file__).parents[1] / "equal-budget"
Row = dict[str, Any]
# Operator, L2, what is later, what is sooner; of each: sweep, point, row.
CORNER, FREE, BEST = ("corner", "image", "search")
COMPARED = (
    *(
        ("gaussian", l2, ("square, corner", "", CORNER), ("BLO, corner", "-places", CORNER))
        for l2 in (24, 48)
    ),
    *(
        ("fourier", l2, ("square, corner", "", CORNER), ("BLO, corner", "-places", CORNER))
        for l2 in (16, 32)
    ),
    ("fourier", 8, ("square, corner", "", CORNER), ("BLO, anywhere", "", FREE)),
    *(
        ("gaussian", l2, ("square, best place", "-places", BEST), ("BLO, anywhere", "", FREE))
        for l2 in (4, 8)
    ),
    *(
        ("fourier", l2, ("square, best place", "-places", BEST), ("BLO, anywhere", "", FREE))
        for l2 in (2, 4)
    ),
)


@dataclass(frozen=True)
class Lead:
    """Images by which one trigger is learnt before another at one L2, over seeds."""

    operator: str
    l2: int
    later: str
    sooner: str
    found: Censored

    @property
    def line(self) -> str:
        """Its line of the table."""
        cells = (self.operator, str(self.l2), self.later, self.sooner, _shown(self.found))
        return f"| {' | '.join(cells)} | {self.found.n} | {self.found.n - self.found.exact} |"


def leads() -> Iterator[Lead]:
    """Every comparison."""
    for operator, l2, (later, a, place), (sooner, b, own) in COMPARED:
        first = transitions(operator + a, f"{place},attack.l2={l2}", "heuristic")
        second = transitions(operator + b, f"{own},attack.l2={l2}", "bilevel")
        seeds = sorted(first.keys() & second.keys())
        low = [first[seed][0] - second[seed][1] for seed in seeds]
        high = [first[seed][1] - second[seed][0] for seed in seeds]
        yield Lead(operator, l2, later, sooner, censored_interval(low, high))


def transitions(sweep: str, point: str, model: str) -> dict[int, tuple[float, float]]:
    """By seed, the least and the most images that it took."""
    rows: list[Row] = parquet.read_table(SWEEPS / sweep / "sweep.parquet").to_pylist()
    found = {}
    for row in rows:
        if (row["point"], row["model"]) == (point, model):
            learnt = row["transition_samples"]
            found[row["seed"]] = (row["samples"], inf) if learnt is None else (learnt, learnt)
    return found


def _shown(found: Censored) -> str:
    ends = ("none" if end is None else f"{end:+,.0f}" for end in (found.low, found.high))
    mean = "not known" if found.mean is None else f"{found.mean:+,.0f}"
    return f"{mean} ({' to '.join(ends)})"


if __name__ == "__main__":
    for each in leads():
        print(each.line)
