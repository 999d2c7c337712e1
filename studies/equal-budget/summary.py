"""Tables and figure of the equal-budget study, from the sweep.parquet of each operator.

    python studies/equal-budget/summary.py

writes tables.md, and transitions.svg and .png, beside this file. It reads what the sweeps have
finished so far; nothing is trained here. A training that ended before its backdoor was learnt says
'later than its end', and a budget that was enough at the first try says 'no more than that':
factors are means of a normal law of logarithms with such bounds (`statistics.censored_interval`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from pyarrow import parquet
from scipy.special import stdtrit

from recondoor.evaluation.censored import Censored, censored_interval

HERE = Path(__file__).parent
SWEEPS = {"fourier": "Fourier, m/n = 0.4", "gaussian": "Gaussian, m/n = 0.5"}
BLOCKS = {
    "image": "anywhere in the image",
    "search": "3x3 where learnt fastest",
    "corner": "3x3 in the corner",
}
# Training images within which the L2 that a method needs is asked for, and whom it is asked of.
WITHIN = 5000
RIVALS = (
    ("corner", "heuristic"),
    ("search", "heuristic"),
    ("image", "random"),
    ("image", "spectral"),
    ("image", "direct"),
    ("image", "tangent"),
)
# Colours of Okabe and Ito, told apart by colour-blind people; markers for print in grey.
METHODS = {
    "heuristic": ("#000000", "s"),
    "random": ("#999999", "o"),
    "spectral": ("#56B4E9", "v"),
    "direct": ("#E69F00", "D"),
    "tangent": ("#009E73", "^"),
    "bilevel": ("#D55E00", "*"),
}
Row = dict[str, Any]
# Bounds of a value: it is no less, or no more. Of its inverse they are the other way round.
MOST, LEAST = "≥ ", "≤ "
INVERSE = {"": "", MOST: LEAST, LEAST: MOST}
Bounded = tuple[float, str]
# A factor that so few values cannot tell from none at all.
FAR = 100


@dataclass(frozen=True)
class Cell:
    """Seeds of one method at one budget; samples are the cap where nothing was learnt."""

    samples: dict[int, float]
    learnt: dict[int, bool]
    rows: list[Row]

    @property
    def share(self) -> str:
        """Seeds that learnt it, of all."""
        return f"{sum(self.learnt.values())} of {len(self.learnt)}"


Cells = dict[tuple[str, str, float], Cell]


def main() -> None:
    """Write tables and figure."""
    found = {name: kept for name in SWEEPS if (kept := kept_cells(name))}
    lines = [line for name in found for line in tables(name, found[name])]
    path = HERE / "margins" / "sweep.parquet"
    if path.exists():
        lines += margins(parquet.read_table(path).to_pylist())
    (HERE / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw(found)


def kept_cells(name: str) -> Cells:
    """What the sweeps of one operator have finished so far."""
    paths = (HERE / folder / "sweep.parquet" for folder in (name, f"{name}-places"))
    return cells(
        [row for path in paths if path.exists() for row in parquet.read_table(path).to_pylist()]
    )


def cells(rows: list[Row]) -> Cells:
    """Rows by block, method and budget."""
    table: dict[tuple[str, str, float], list[Row]] = {}
    for row in rows:
        block = {"direct": "image"}.get(block := row["point"].partition(",")[0], block)
        table.setdefault((block, row["model"], row["attack.l2"]), []).append(row)
    return {
        key: Cell(
            {row["seed"]: float(row["transition_samples"] or cap(row)) for row in group},
            {row["seed"]: row["transition_samples"] is not None for row in group},
            group,
        )
        for key, group in sorted(table.items())
    }


def cap(row: Row) -> int:
    """Samples after which a training was given up."""
    return int(row["train.epoch_pairs"] * row["train.max_epochs"])


def mean_and_half(values: list[float]) -> tuple[float, float]:
    """Mean and half of the 95 % t-interval."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), float("nan")
    return float(np.mean(values)), float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / n**0.5)


def tables(name: str, found: Cells) -> Iterator[str]:
    """Markdown of one operator."""
    yield f"## {SWEEPS[name]}"
    for block, title in BLOCKS.items():
        here = {key: cell for key, cell in found.items() if key[0] == block}
        if not here:
            continue
        yield from ("", f"### Trigger {title}", "")
        columns = "L2 | method | learnt | images until learnt | recovery | ghost"
        yield f"| {columns} | benign | attack | artefact |"
        yield "|---:|:---|---:|---:|---:|---:|---:|---:|---:|"
        for l2 in sorted({key[2] for key in here}):
            for method in METHODS:
                if (block, method, l2) in here:
                    yield line(l2, method, here[block, method, l2])
        if not any(key[1] == "bilevel" for key in here):
            continue
        yield from ("", "Bi-level against each control, seed by seed, at the same L2:", "")
        yield "| L2 | against | fewer images by a factor of | pairs | of them exact |"
        yield "|---:|:---|---:|---:|---:|"
        yield from comparisons(block, here)
    yield from energies(found)
    yield ""


def budgets(found: Cells, block: str, method: str) -> list[float]:
    """Budgets that a method was tried with."""
    return sorted(key[2] for key in found if key[:2] == (block, method))


def needed(found: Cells, block: str, method: str, seed: int) -> Bounded:
    """L2 with which the backdoor is learnt within `WITHIN` images, and how it is bounded.

    Linear between budgets in the logarithms of L2 and images; '≤' the smallest budget if that is
    enough, '≥' the largest if that is not.
    """
    cells = [(l2, found[block, method, l2]) for l2 in budgets(found, block, method)]
    curve = [(l2, cell.samples[seed]) for l2, cell in cells if seed in cell.samples]
    enough = next((k for k, (_, samples) in enumerate(curve) if samples <= WITHIN), None)
    if enough is None:
        return curve[-1][0], MOST
    if enough == 0:
        return curve[0][0], LEAST
    (low, above), (high, below) = curve[enough - 1], curve[enough]
    share = np.log(above / WITHIN) / np.log(above / below)
    return float(low * (high / low) ** share), ""


def energies(found: Cells) -> Iterator[str]:
    """Factor by which a rival needs more L2 than `bilevel` anywhere in the image, by seed."""
    ours = sorted(
        {
            seed
            for key, cell in found.items()
            if key[:2] == ("image", "bilevel")
            for seed in cell.samples
        }
    )
    yield from ("", f"### L2 needed to be learnt within {WITHIN:,} images", "")
    yield "| method | where | L2 needed, by seed | more than bi-level by a factor of | exact |"
    yield "|:---|:---|:---|---:|---:|"
    for block, method in (("image", "bilevel"), *RIVALS):
        if not any(key[:2] == (block, method) for key in found):
            continue
        each = [needed(found, block, method, seed) for seed in ours]
        listed = ", ".join(f"{sign}{l2:.2g}" for l2, sign in each)
        told = " | " if method == "bilevel" else in_cells(energy(found, block, method))
        yield f"| {method} | {BLOCKS[block]} | {listed} | {told} |"


def energy(found: Cells, block: str, method: str) -> Censored:
    """Factor by which a method needs more L2 than `bilevel` anywhere, in logarithms."""
    seeds = sorted(found["image", "bilevel", min(budgets(found, "image", "bilevel"))].samples)
    pairs = [
        (needed(found, block, method, seed), needed(found, "image", "bilevel", seed))
        for seed in seeds
    ]
    return quotients(pairs)


def quotients(pairs: list[tuple[Bounded, Bounded]]) -> Censored:
    """Mean logarithm of quotients of values that may be bounds."""
    logs = [float(np.log(theirs / ours)) for (theirs, _), (ours, _) in pairs]
    signs = [{theirs, INVERSE[ours]} - {""} for (_, theirs), (_, ours) in pairs]
    low = [-np.inf if LEAST in sign else value for value, sign in zip(logs, signs, strict=True)]
    high = [np.inf if MOST in sign else value for value, sign in zip(logs, signs, strict=True)]
    return censored_interval(low, high)


def in_cells(found: Censored) -> str:
    """Factor and interval, and how many pairs are exact."""
    return f"{factor(found)} | {found.exact} of {found.n}"


def factor(found: Censored) -> str:
    """The factor of a mean logarithm with its interval, as far as it is told."""
    low, high = (None if end is None else float(np.exp(end)) for end in (found.low, found.high))
    if found.mean is None:
        return f"above {low:.2f}" if low is not None else "not told"
    if found.exact < 2:
        return "not told"
    ends = [f"{low or 0:.2f}", "∞" if high is None or high > FAR else f"{high:.2f}"]
    return f"{np.exp(found.mean):.2f} ({ends[0]} to {ends[1]})"


def line(l2: float, method: str, cell: Cell) -> str:
    """One line of the first table: means over seeds and half the 95 % interval, but of images."""
    parts = [f"{l2:g}", method, cell.share, median(cell)]
    for key in ("artefact_recovery", "ghost", "benign_rmse", "attack_rmse", "artefact_rmse"):
        mean, half = mean_and_half([row[key] for row in cell.rows])
        parts.append(f"{mean:.3f} ± {half:.3f}")
    return "| " + " | ".join(parts) + " |"


def comparisons(block: str, here: Cells) -> Iterator[str]:
    """Factors with paired 95 % intervals, from the logarithms of seeds that either has learnt."""
    for (_, method, l2), cell in sorted(here.items(), key=lambda item: (item[0][2], item[0][1])):
        ours = here.get((block, "bilevel", l2))
        if ours is None or method == "bilevel":
            continue
        found = images(cell, ours)
        if found is not None:
            told = f"{factor(found)} | {found.n} | {found.exact}"
            yield f"| {l2:g} | {method} | {told} |"


def images(theirs: Cell, ours: Cell) -> Censored | None:
    """Mean logarithm of the images that one needs over those of another, seed by seed."""
    seeds = [
        s for s in theirs.samples if s in ours.samples and (theirs.learnt[s] or ours.learnt[s])
    ]
    if not seeds:
        return None
    return quotients([(until(theirs, seed), until(ours, seed)) for seed in seeds])


def until(cell: Cell, seed: int) -> Bounded:
    """Images until learnt; a training that ended before says 'no less'."""
    return cell.samples[seed], "" if cell.learnt[seed] else MOST


def median(cell: Cell) -> str:
    """Kaplan and Meier's median and the range; all trainings end at the same number of images."""
    ends = sorted(
        (samples, "" if cell.learnt[seed] else "> ") for seed, samples in cell.samples.items()
    )
    middle, first, last = (
        f"{sign}{samples:,.0f}" for samples, sign in (ends[len(ends) // 2], ends[0], ends[-1])
    )
    return f"{middle} ({first} to {last})"


def margins(rows: list[Row]) -> Iterator[str]:
    """Markdown of finished networks: their errors, and those of BLO relative to others."""
    groups: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row["point"].partition(",")[0], row["model"]), {})[row["seed"]] = row
    one = rows[0]
    yield "## Finished networks"
    yield ""
    yield (
        f"{one['operator.name']}, m/n = {one['operator.ratio']:g}, L2 = {one['attack.l2']:g}, "
        f"p = {one['poison.ratio']:g}; relative differences are paired by seed."
    )
    yield from ("", "| method | where | benign | attack | artefact | recovery | seeds |")
    yield "|:---|:---|---:|---:|---:|---:|---:|"
    errors = ("benign_rmse", "attack_rmse", "artefact_rmse")
    for (block, method), group in groups.items():
        shown = " | ".join(
            "{:.3f} ± {:.3f}".format(*mean_and_half([row[key] for row in group.values()]))
            for key in (*errors, "artefact_recovery")
        )
        where = "" if method == "original" else BLOCKS[block]
        yield f"| {method} | {where} | {shown} | {len(group)} |"
    yield from ("", "| BLO | against | benign | attack | artefact |", "|:---|:---|---:|---:|---:|")
    for block, rival in (("corner", "heuristic"), ("image", "heuristic"), ("image", "original")):
        ours, theirs = groups[block, "bilevel"], groups["corner", rival]
        seeds = sorted(ours.keys() & theirs.keys())
        shown = " | ".join(
            "{:+.1f} % ({:+.1f} to {:+.1f})".format(
                *relative(
                    [ours[seed][key] for seed in seeds], [theirs[seed][key] for seed in seeds]
                )
            )
            for key in errors
        )
        yield f"| {BLOCKS[block]} | {rival} | {shown} |"


def relative(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Paired relative difference in percent, by the logarithm's mean and 95 % t-interval."""
    middle, half = mean_and_half([float(np.log(a / b)) for a, b in zip(ours, theirs, strict=True)])
    low, mean, high = (
        100 * (np.exp(value) - 1) for value in (middle - half, middle, middle + half)
    )
    return float(mean), float(low), float(high)


def draw(found: dict[str, Cells]) -> None:
    """Samples to transition against L2: a row of panels for each operator."""
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    plt.rcParams |= {"svg.hashsalt": "recondoor", "axes.titlesize": 8.5}
    blocks = [
        block for block in BLOCKS if any(block == key[0] for t in found.values() for key in t)
    ]
    figure, axes = plt.subplots(
        len(found), len(blocks), figsize=(7.4, 2.7 * len(found) + 0.5), squeeze=False, sharey="row"
    )
    for row, (name, table) in zip(axes, found.items(), strict=True):
        for ax, block in zip(row, blocks, strict=True):
            panel(ax, block, table)
            ax.set_title(f"{SWEEPS[name]}\n{BLOCKS[block]}", loc="left")
            ax.set_xlabel("L2 of the trigger")
        row[0].set_ylabel("training images until recovery > 0.5")
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, label=method)
        for method, (colour, marker) in METHODS.items()
    ]
    hollow = plt.Line2D(
        [],
        [],
        color="#777777",
        marker="o",
        markerfacecolor="white",
        linestyle=":",
        label="hollow: not learnt by every seed",
    )
    figure.legend(
        handles=[*handles, hollow], loc="lower center", ncols=7, frameon=False, fontsize=7
    )
    figure.tight_layout(rect=(0, 0.5 / (2.7 * len(found) + 0.5), 1, 1))
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(HERE / f"transitions.{suffix}", dpi=180, metadata=metadata)


def panel(ax: Any, block: str, table: Cells) -> None:
    """One panel; hollow: not learnt by every seed, drawn at the cap for those that did not."""
    budgets = sorted({key[2] for key in table if key[0] == block})
    top = max((cap(cell.rows[0]) for cell in table.values()), default=1)
    ax.axhline(top, color="#777777", linewidth=0.8, linestyle=":")
    for place, (method, (colour, marker)) in enumerate(METHODS.items()):
        here = [(l2, table[block, method, l2]) for l2 in budgets if (block, method, l2) in table]
        if not here:
            continue
        shift = 1.025 ** (place - 2.5)  # or their bars hide each other
        middle = [np.exp(np.mean(np.log(list(cell.samples.values())))) for _, cell in here]
        x = [l2 * shift for l2, _ in here]
        ax.plot(x, middle, color=colour, linewidth=1.1)
        for at, (_, cell), y in zip(x, here, middle, strict=True):
            _, half = mean_and_half(list(np.log(list(cell.samples.values()))))
            ax.plot([at, at], [y * np.exp(-half), y * np.exp(half)], color=colour, linewidth=0.8)
            face = colour if all(cell.learnt.values()) else "white"
            size = 8 if marker == "*" else 4.5
            ax.plot(at, y, marker=marker, color=colour, markerfacecolor=face, markersize=size)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(budgets, [f"{l2:g}" for l2 in budgets])
    ticks = [2000, 3000, 4000, 6000, 8000]
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks], minor=False)
    ax.minorticks_off()
    ax.set_ylim(1800, top * 1.15)


if __name__ == "__main__":
    main()
