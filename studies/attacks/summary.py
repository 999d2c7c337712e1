"""Lines of the tables of docs/attacks.md, from what is kept beside this file, and the figure.

    python studies/attacks/summary.py

prints the tables and draws growth.svg and .png: training images until an attack is learnt, by L2.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from pyarrow import parquet

from recondoor.audit import auc
from recondoor.evaluation.statistics import mean_interval

HERE = Path(__file__).parent
Row = dict[str, Any]
MOST = 12_000
L2 = (3.0, 9.0, 27.0)
GROWN = ("tangent", "uap", "blend", "frequency", "sample-specific", "measurement", "warp")
LITERATURE = ("blend", "frequency", "uap", "sample-specific", "measurement", "warp")
INPUTS = (
    *("range-projection", "measurement-consistency", "cyclic-consistency", "homogeneity"),
    *("strip", "strip-blending", "input-peaks", "disagreement"),
)
NETWORKS = ("trigger-inversion", "erased-trigger", "least-norm-inversion")
REPAIRS = (
    *("fine-tuning", "fine-pruning", "neuron-pruning", "min-max", "trigger-unlearning"),
    "pattern-unlearning",
)
ON_HEADS = (
    *("heuristic", "random", "tangent", "blend", "frequency", "uap", "sample-specific"),
    *("measurement", "warp"),
)


def sweep(name: str) -> list[Row]:
    """Rows of a kept sweep, by seed."""
    rows: list[Row] = parquet.read_table(HERE / name / "sweep.parquet").to_pylist()
    return sorted(rows, key=lambda row: int(row["seed"]))


def scored(part: str, attack: str, defence: str, kept: str = "networks.json") -> list[Row]:
    """Rows of a kept file of one cell."""
    rows: list[Row] = json.loads((HERE / kept).read_text(encoding="utf-8"))
    wanted = {"part": part, "attack": attack, "defence": defence}
    return [row for row in rows if wanted.items() <= row.items()]


def spread(values: list[float], digits: int = 2, unit: str = "") -> str:
    """From the least to the largest; one number where both are shown alike."""
    low, high = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    if low == high:
        return f"{low}{unit}"
    return f"{low} to {high}{unit}"


def percent(values: list[float]) -> str:
    """Least and most in percent."""
    return spread([100 * value for value in values], 0, " %").replace("-0 ", "0 ")


def images_until_learnt(attack: str, l2: float) -> list[float | None]:
    """Training images until recovery passed 0.5, by seed; None where it did not within 12,000."""
    rows = sweep("gaussian" if l2 == 9 else "growth")
    own = [row for row in rows if row["model"] == attack and row["attack.l2"] == l2]
    return [row["transition_samples"] for row in own]


def growth_lines() -> Iterator[str]:
    """One line an attack: images until learnt at each L2, least and most, and how many learnt."""
    for attack in GROWN:
        cells = []
        for l2 in L2:
            found = images_until_learnt(attack, l2)
            learnt = [value for value in found if value is not None]
            shown = f"{spread(learnt, 0)} " if learnt else ""
            cells.append(f"{shown}({len(learnt)} of {len(found)})")
        yield f"| `{attack}` | {' | '.join(cells)} |"


def input_lines() -> Iterator[str]:
    """One line an attack: share of triggered inputs known at 1 % false alarms."""
    for attack in LITERATURE:
        cells = [scored("inputs", attack, name) for name in INPUTS]
        if all(cells):
            shown = [percent([row["tpr"] for row in cell]) for cell in cells]
            yield f"| `{attack}` | {len(cells[0])} | {' | '.join(shown)} |"


def network_lines() -> Iterator[str]:
    """One line an attack: scores of its networks, and their AUC against two clean ones or more."""
    for attack in LITERATURE:
        cells = []
        for name in NETWORKS:
            own = [row["score"] for row in scored("models", attack, name)]
            clean = [row["score"] for row in scored("models", "original", name)]
            area = auc(np.array([*own, *clean]), np.arange(len(own) + len(clean)) < len(own))
            cells.append(f"{spread(own)} ({area:.2f})" if len(clean) > 1 else spread(own))
        yield f"| `{attack}` | {' | '.join(cells)} |"
    clean_cells = [
        spread([row["score"] for row in scored("models", "original", name)]) for name in NETWORKS
    ]
    yield f"| none (clean) | {' | '.join(clean_cells)} |"


def head_network_lines() -> Iterator[str]:
    """One line an attack on MR slices: scores of its networks, seed by seed."""
    for attack in (*ON_HEADS, "original"):
        cells = [
            ", ".join(
                f"{row['score']:.2f}"
                for row in sorted(
                    scored("models", attack, name, "heads.json"), key=lambda row: int(row["seed"])
                )
            )
            for name in NETWORKS
        ]
        name = "none (clean)" if attack == "original" else f"`{attack}`"
        yield f"| {name} | {' | '.join(cells)} |"


def repair_lines() -> Iterator[str]:
    """One line an attack: recovery left after each repair, mean over seeds, and benign change."""
    for attack in LITERATURE:
        cells = []
        for name in REPAIRS:
            rows = scored("repairs", attack, name)
            if not rows:
                break
            left = mean(row["after_recovery"] for row in rows)
            change = mean(row["after_benign"] / row["before_benign"] - 1 for row in rows)
            cells.append(f"{left:.2f} ({100 * change:+.0f} %)")
        if len(cells) == len(REPAIRS):
            before = mean(row["before_recovery"] for row in scored("repairs", attack, REPAIRS[0]))
            count = len(scored("repairs", attack, REPAIRS[0]))
            yield f"| `{attack}` | {count} | {before:.2f} | {' | '.join(cells)} |"


def choice_lines() -> Iterator[str]:
    """One line a share: recovery with drawn and with chosen pairs, and the paired difference."""
    rows = sweep("choice")
    for ratio in (0.01, 0.02, 0.05):
        own = [r for r in rows if r["model"] == "tangent" and r["poison.ratio"] == ratio]
        drawn, chosen = (
            [r for r in own if r["poison.choice"] == choice]
            for choice in ("random", "gradient-alignment")
        )
        recovery = [[row["artefact_recovery"] for row in each] for each in (drawn, chosen)]
        found = mean_interval([b - a for a, b in zip(*recovery, strict=True)])
        change = [
            b["benign_rmse"] / a["benign_rmse"] - 1 for a, b in zip(drawn, chosen, strict=True)
        ]
        yield (
            f"| {100 * ratio:.0f} % | {spread(recovery[0])} | {spread(recovery[1])} | "
            f"{found.mean:+.2f} ({found.low:+.2f} to {found.high:+.2f}) | {percent(change)} |"
        )


def head_lines() -> Iterator[str]:
    """One line an attack on MR slices, as the table of the digits."""
    rows = sweep("mri")
    clean = {row["seed"]: row["benign_rmse"] for row in rows if row["model"] == "original"}
    for attack in ON_HEADS:
        own = [row for row in rows if row["model"] == attack]
        if not own:
            continue
        shown = " | ".join(
            spread([row[key] for row in own]) for key in ("artefact_recovery", "asr")
        )
        change = [row["benign_rmse"] / clean[row["seed"]] - 1 for row in own]
        yield f"| `{attack}` | {shown} | {percent(change)} |"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "growth": growth_lines,
    "inputs": input_lines,
    "networks": network_lines,
    "repairs": repair_lines,
    "choice": choice_lines,
    "heads": head_lines,
    "networks of heads": head_network_lines,
}


def draw() -> None:
    """Images until learnt over L2, a line through medians; what was not learnt is at the top."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "growth"
    figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
    for place, attack in enumerate(GROWN):
        colour, shift = f"C{place}", 1.035 ** (place - 3)
        middle = []
        for l2 in L2:
            found = images_until_learnt(attack, l2)
            learnt = [value for value in found if value is not None]
            axes.plot([l2 * shift] * len(learnt), learnt, "o", color=colour, ms=4)
            missed = [13_000] * (len(found) - len(learnt))
            axes.plot([l2 * shift] * len(missed), missed, "^", mfc="none", color=colour, ms=5)
            # Of three, which is known wherever two are; nan leaves a gap.
            half = median(float("inf") if value is None else value for value in found)
            middle.append(half if half < MOST else float("nan"))
        axes.plot([l2 * shift for l2 in L2], middle, "-", color=colour, lw=1, label=attack)
    axes.axhline(MOST, color="0.6", lw=0.8, ls="--")
    axes.set(xscale="log", xlabel="L2 of the trigger", ylabel="training images until learnt")
    axes.set_xticks(L2, [f"{l2:g}" for l2 in L2])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.annotate("not by 12,000", (5.2, 13_000), fontsize=8, va="center", ha="center", color="0.4")
    axes.minorticks_off()
    axes.set_ylim(0, 13_900)
    axes.legend(fontsize=8, ncols=1, loc="center left", bbox_to_anchor=(1, 0.5))
    for ending in ("svg", "png"):
        more = {"metadata": {"Date": None}} if ending == "svg" else {"dpi": 150}
        figure.savefig(HERE / f"growth.{ending}", **more)


def main() -> None:
    """Print the tables that there are results for, and draw the figure."""
    for name, lines in TABLES.items():
        print(f"\n{name}")
        try:
            print("\n".join(lines()))
        except FileNotFoundError as error:
            print(f"not yet: {error}")
    if (HERE / "growth").is_dir():
        draw()


if __name__ == "__main__":
    main()
