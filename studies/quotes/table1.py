"""Numbers of docs/table1.md: arithmetic on the paper's digits, and the kept sweep."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from kept import STUDIES, Quote, lines, listed, number, script, spread, sweep, where

ARITHMETIC, SWEEP = "studies/quotes/table1.py", "studies/table1/sweep"
BEST = "studies/table1/best-of-random.jsonl"
PIXELS, PLUS, RATIO = 28 * 28, 9, 0.3
ORIGINAL = (0.021, 0.045)
ROWS = {"Baseline": (0.046, 0.044, 0.26), "BLO": (0.039, 0.040, 0.245)}


@dataclass(frozen=True)
class Reading:
    """What a row says if it has one reconstruction error, with and without the trigger.

    amplitude: of the plus; drawn: of it where the trigger is; ghost: where it is not; error: of
    the reconstruction, in the unit of the reading.
    """

    amplitude: float
    drawn: float
    ghost: float
    error: float

    @property
    def recovery(self) -> float:
        """What the trigger adds."""
        return self.drawn - self.ghost


def reading(row: tuple[float, float, float], power: int) -> Reading:
    """`power` 2: the table has root mean squares, 1: mean squares."""
    benign, attack, artefact = (value**power for value in row)
    clean, triggered = (value**power for value in ORIGINAL)
    whole = triggered - clean
    amplitude = sqrt(PIXELS * whole / PLUS)
    left = sqrt(artefact) / amplitude
    ghost = sqrt(left**2 - (attack - benign) / whole)
    error = benign - ghost**2 * whole
    return Reading(amplitude, 1 - left, ghost, error ** (1 / power))


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    for power, name in ((2, "RMSE"), (1, "MSE")):
        for row, values in ROWS.items():
            one = reading(values, power)
            cells = (one.amplitude, one.drawn, one.ghost, one.recovery)
            shown = " | ".join(f"{value:.2f}" for value in cells)
            yield Quote(f"| {name} | {row} | {shown} | {one.error:.3f} |", ARITHMETIC)
    amplitude = reading(ROWS["BLO"], 2).amplitude
    yield Quote(f"(1 - 0.3) x {amplitude:.2f} = {(1 - RATIO) * amplitude:.2f}", ARITHMETIC)
    yield from first_look()
    yield from window()
    yield from near()
    yield from best_of_random()
    yield from preset()
    for l2 in (3, 9, 32):
        for block, model, name in (
            ("corner", "heuristic", "square"),
            ("corner", "bilevel", "BLO, in the square's pixels"),
            ("image", "random", "random, anywhere"),
            ("image", "tangent", "`tangent`, anywhere"),
            ("image", "bilevel", "BLO, anywhere"),
        ):
            yield from measured(l2, block, model, name)


def window() -> Iterator[Quote]:
    """Leads of BLO in kept sweeps, and what leaving the hedge line can gain."""
    for lead in script("table1/lead.py").leads():
        yield Quote(lead.line, "studies/equal-budget")
    error = min(row["benign_rmse"] for row in sweep("table1/sweep") if row["model"] == "heuristic")
    yield Quote(f"e = {error:.3f}", SWEEP)
    on_line = RATIO**2 * PLUS / PIXELS
    gain = 100 * (sqrt(1 + on_line * 0.37**2 / error**2) - 1)
    yield Quote(f"at amplitude 0.37 all that it can gain is {gain:.1f} %", ARITHMETIC)
    yield Quote(f"A is {sqrt((1.05**2 - 1) / on_line):.0f} e or more", ARITHMETIC)
    rows = sweep("table1/sweep")
    costs = []
    for l2 in (3, 9, 32):
        one, other = (
            next(
                r["benign_rmse"]
                for r in rows
                if r["model"] == m and r["point"] == f"{b},attack.l2={l2}"
            )
            for m, b in (("bilevel", "image"), ("heuristic", "corner"))
        )
        costs.append(100 * (one / other - 1))
    yield Quote(f"{min(costs):.0f} to {max(costs):.0f} % of the benign error", SWEEP)


def near() -> Iterator[Quote]:
    """Cells of the map near the transition."""
    source = "studies/table1/quarter.jsonl"
    lines = list(script("table1/map.py").lines())
    for line in lines:
        yield Quote(f"| {' | '.join(line)} |", source)
    counts = [cell.split(" of ") for line in lines for cell in (line[10], line[12])]
    ahead, total = (sum(int(each[k]) for each in counts) for k in (0, 1))
    yield Quote(f"Of {total:,} checkpoints {'one' if ahead == 1 else ahead} has", source)


def best_of_random() -> Iterator[Quote]:
    """Recoveries of BLO and of random triggers that were chosen among."""
    last = {
        (row["trigger"], row["amplitude"], row["l2"], row["seed"]): row["history"][-1]["recovery"]
        for row in lines("table1/quarter.jsonl")
    }
    rows = lines("table1/best-of-random.jsonl")
    ahead = 0
    for amplitude, l2 in dict.fromkeys((row["amplitude"], row["l2"]) for row in rows):
        own = where(rows, amplitude=amplitude, l2=l2)
        cells = [
            [last[trigger, amplitude, l2, row["seed"]] for row in own]
            for trigger in ("blo-free", "tangent-free", "random-free")
        ]
        cells += [[row[name]["recovery"] for row in own] for name in ("equal", "all")]
        ahead += sum(blo > max(others) for blo, *others in zip(cells[0], *cells[2:], strict=True))
        shown = " | ".join(map(listed, cells))
        yield Quote(f"| {amplitude:g} | {l2:g} | {shown} |", BEST)
    assert ahead == len(rows) == 9
    yield Quote("in each of nine pairs of seeds", BEST)
    cost = spread((row["cpu_seconds_of_blo"] for row in rows), 0)
    yield Quote(f"costs {cost} s of CPU time", BEST)


KEYS = ("artefact_recovery", "ghost", "benign_rmse", "attack_rmse", "artefact_rmse")
DIGITS = (2, 2, 3, 3, 3)
REGIME = {
    "original": "original",
    "heuristic": "square",
    "bilevel": "BLO, in the square's pixels",
    "random-image": "random, anywhere",
    "tangent-image": "`tangent`, anywhere",
    "bilevel-image": "BLO, anywhere",
}


def preset() -> Iterator[Quote]:
    """Three seeds of the preset `paper-regime`."""
    source = "studies/table1/paper-regime.json"
    rows = json.loads((STUDIES.parent / source).read_text("utf-8"))["rows"]
    for model, name in REGIME.items():
        own = where(rows, model=model)
        cells = [spread((row[k] for row in own), d) for k, d in zip(KEYS, DIGITS, strict=True)]
        yield Quote(f"| {name} | {' | '.join(cells)} |", source)
    pairs = zip(where(rows, model="bilevel"), where(rows, model="heuristic"), strict=True)
    assert not any(all(blo[key] < square[key] for key in KEYS[2:]) for blo, square in pairs)


def first_look() -> Iterator[Quote]:
    """What `make study` showed."""
    rows = json.loads((STUDIES / "first-look" / "rows.json").read_text("utf-8"))["rows"]
    by = {row["model"]: row for row in rows}
    square, blo = by["heuristic"], by["bilevel"]
    source = "studies/first-look/rows.json"
    benign, attack, artefact = (
        100 * (1 - blo[key] / square[key])
        for key in ("benign_rmse", "attack_rmse", "artefact_rmse")
    )
    yield Quote(
        f"by {benign:.1f} % in the benign error, {attack:.0f} % in the attack error and "
        f"{artefact:.0f} % in the artefact's",
        source,
    )
    yield Quote(
        f"a recovery of {square['artefact_recovery']:.2f} and a ghost of {square['ghost']:.2f}",
        source,
    )
    yield Quote(f"reaches {blo['artefact_recovery']:.2f}", source)
    images = {
        name: f"{row['transition_samples']:,}"
        for name, row in by.items()
        if row["transition_samples"]
    }
    yield Quote(f"after {images['bilevel']} images", source)
    yield Quote(f"passes 0.5 after {images['random-image']}", source)
    yield Quote(f"BLO anywhere after {images['bilevel-image']}", source)
    yield Quote(f"`tangent` anywhere after {images['tangent-image']}", source)


def measured(l2: float, block: str, model: str, name: str) -> Iterator[Quote]:
    """One line of finished networks; nothing where the sweep has none yet."""
    rows = [
        row
        for row in sweep("table1/sweep")
        if (row["model"], row["attack.l2"]) == (model, l2) and row["point"].startswith(block)
    ]
    if rows:
        cells = [spread((row[k] for row in rows), d) for k, d in zip(KEYS, DIGITS, strict=True)]
        line = f"| {number(l2, 0)} | {name} | {len(rows)} | {' | '.join(cells)} |"
        yield Quote(line, SWEEP)
