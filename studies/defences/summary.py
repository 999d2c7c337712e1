"""Tables and the figure of the study of defences, from results.json and scanners.jsonl here.

    python studies/defences/summary.py

writes tables.md, and matrix.svg and .png. Intervals are 95 % by bootstrap: over seeds, and for
networks over the networks of both kinds.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from recondoor.audit import auc
from scanners import ATTACKS as OF_SCANNERS
from scanners import SCENES, kept, tables

HERE = Path(__file__).parent
DRAWS = 2000
SEED = 20_150_401
LEARNT = 0.5
ATTACKS = {
    "square": "square in the corner (paper)",
    "bilevel-corner": "BLO in the corner (paper)",
    "bilevel-image": "BLO, anywhere",
    "random-image": "random, anywhere",
    "bilevel-faint": "BLO, an eighth of the L2",
    "bilevel-rare": "BLO, p = 1 %",
    "measured-trigger": "trigger in the measurement",
    "unseen-artefact": "artefact in ker(A)",
    "consistent-pairs": "consistent pairs",
}
Row = dict[str, Any]


def main() -> None:
    """Write tables and figure."""
    rows = json.loads((HERE / "results.json").read_text(encoding="utf-8"))
    lines = [
        *detectors(rows, "pairs", "Training pairs"),
        *detectors(rows, "published", "Training pairs, detectors as published for classifiers"),
        *detectors(rows, "inputs", "Inputs of networks that learnt the backdoor"),
        *networks(rows),
        *repaired_outputs(rows),
        *repairs(rows),
        *apart(rows),
    ]
    for title, found in tables(kept()).items():
        lines += [f"\n## Heads and chests: {title[0].lower()}{title[1:]}\n", *found]
    (HERE / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw([*rows, *scanners()])


def scanners() -> Iterator[Row]:
    """AUCs of heads and chests, as rows like those of results.json."""
    for row in kept():
        attack = f"{row['scene']} {row['attack']}"
        for part in ("pairs", "inputs"):
            for name, one in row.get(part, {"detectors": {}})["detectors"].items():
                yield {"part": part, "attack": attack, "defence": name, "auc": one["auc"]}


def columns(rows: list[Row], part: str) -> list[str]:
    """Defences of a part, by name."""
    return sorted({row["defence"] for row in rows if row["part"] == part})


def of(rows: list[Row], part: str, attack: str, defence: str) -> list[Row]:
    """Rows of one cell."""
    wanted = {"part": part, "attack": attack, "defence": defence}
    return [row for row in rows if wanted.items() <= row.items()]


def interval(x: NDArray[np.float64]) -> tuple[float, float]:
    """Expanded percentile bootstrap of the mean of (n,) values, which stays in their range.

    Hesterberg, The American Statistician 69, 2015. All n^n resamples up to n = 6, else 10,000.
    """
    n = len(x)
    if (x == x[0]).all():
        return x[0], x[0]
    resamples = np.random.default_rng(SEED).integers(n, size=(10_000, n))
    if n <= 6:
        resamples = np.indices((n,) * n).reshape(n, -1).T
    tail = ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975))
    low, high = np.quantile(x[resamples].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def shown(values: list[float], form: str = "{:.3f}", scale: float = 1.0) -> str:
    """Mean and interval over seeds."""
    if not values:
        return ""
    x = scale * np.array(values)
    text = form.format(x.mean())
    if len(x) < 2:
        return text
    ends = tuple(form.format(end) for end in interval(x))
    return text if ends == (text, text) else f"{text} ({ends[0]} to {ends[1]})"


def table(
    rows: list[Row], part: str, cell: Callable[[list[Row]], str], names: list[str]
) -> Iterator[str]:
    """Attacks down, defences across; attacks without a row are left out."""
    yield f"| attack | seeds | {' | '.join(names)} |"
    yield f"|:---|---:|{'---:|' * len(names)}"
    for attack, title in ATTACKS.items():
        cells = [of(rows, part, attack, name) for name in names]
        if any(cells):
            seeds = max(len(found) for found in cells)
            yield f"| {title} | {seeds} | {' | '.join(cell(found) for found in cells)} |"


def detectors(rows: list[Row], part: str, title: str) -> Iterator[str]:
    """AUC and TPR of detectors of pairs or inputs, and false alarms at the clean threshold."""
    names = columns(rows, part)
    yield from (f"## {title}", "", "ROC-AUC:", "")
    yield from table(rows, part, lambda found: shown([row["auc"] for row in found]), names)
    yield from ("", "True-positive rate at a false-positive rate of 1 %:", "")
    yield from table(rows, part, lambda found: shown([row["tpr"] for row in found]), names)
    yield from ("", "False alarms at the threshold that clean pairs gave for 1 %:", "")
    yield f"| {' | '.join(names)} |"
    yield f"|{'---:|' * len(names)}"
    rates = (
        shown([row["flagged_clean"] for row in rows if row["part"] == part and row["defence"] == n])
        for n in names
    )
    yield from (f"| {' | '.join(rates)} |", "")


def scores(rows: list[Row], attack: str, defence: str) -> list[float]:
    """Scores of networks: of the clean ones, or of those that learnt the attack."""
    found = of(rows, "models", attack, defence)
    return [row["score"] for row in found if attack == "original" or abs(row["recovery"]) > LEARNT]


def area(clean: list[float], backdoored: list[float]) -> float:
    """ROC-AUC."""
    truth = np.repeat([False, True], [len(clean), len(backdoored)])
    value = auc(np.array([*clean, *backdoored]), truth)
    return float("nan") if value is None else value


def area_shown(clean: list[float], backdoored: list[float]) -> str:
    """ROC-AUC with its interval, and the networks."""
    if not backdoored:
        return ""
    generator = np.random.default_rng(0)
    draws = [
        area(*(list(generator.choice(group, len(group))) for group in (clean, backdoored)))
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{area(clean, backdoored):.3f} ({low:.3f} to {high:.3f})"


def networks(rows: list[Row]) -> Iterator[str]:
    """AUC of detectors of backdoored networks."""
    names = columns(rows, "models")
    yield from ("## Networks", "", "ROC-AUC of those that learnt it against the clean ones, and")
    yield from ("in brackets how many of them score above every clean one:", "")
    yield f"| attack | networks | {' | '.join(names)} |"
    yield f"|:---|---:|{'---:|' * len(names)}"
    for attack, title in ATTACKS.items():
        cells = []
        for name in names:
            clean, backdoored = scores(rows, "original", name), scores(rows, attack, name)
            above = sum(score > max(clean) for score in backdoored)
            cells.append(f"{area_shown(clean, backdoored)} [{above}]" if backdoored else "")
        if any(cells):
            yield f"| {title} | {len(scores(rows, attack, names[0]))} | {' | '.join(cells)} |"
    yield from ("", "Scores of the clean networks, and overlap (cosine) of what was recovered:", "")
    yield "| detector | clean networks | mean of log | std of log | largest |"
    yield "|:---|---:|---:|---:|---:|"
    for name in names:
        clean = scores(rows, "original", name)
        logs = np.log(clean)
        yield (
            f"| {name} | {len(clean)} | {logs.mean():.3f} | {logs.std(ddof=1):.3f} | "
            f"{max(clean):.2f} |"
        )
    yield from ("", "| attack | detector | trigger | artefact | seconds |")
    yield "|:---|:---|---:|---:|---:|"
    for attack, title in ATTACKS.items():
        for name in names:
            found = [r for r in of(rows, "models", attack, name) if abs(r["recovery"]) > LEARNT]
            if found:
                parts = (
                    shown([row[key] for row in found], "{:.2f}")
                    for key in ("trigger_cosine", "artefact_cosine", "seconds")
                )
                yield f"| {title} | {name} | {' | '.join(parts)} |"
    yield ""


def apart(rows: list[Row]) -> Iterator[str]:
    """Scores on the networks that settings were chosen on, and on the others."""
    square = ("square", "trigger-inversion")
    yield from ("## Apart from the networks that settings were chosen on", "")
    yield "`trigger-inversion`, square in the corner against the clean networks of the same seeds:"
    yield from ("", "| seeds | clean | learnt | ROC-AUC |", "|:---|---:|---:|---:|")
    for name, seeds in (("0 to 7: chosen on", range(8)), ("8 to 19", range(8, 20))):
        some = [row for row in rows if row["seed"] in seeds]
        clean, found = scores(some, "original", square[1]), scores(some, *square)
        yield f"| {name} | {len(clean)} | {len(found)} | {area_shown(clean, found)} |"
    yield from ("", "Repairs of the square's backdoor:", "")
    names = columns(rows, "repairs")
    yield from (f"| seeds | {' | '.join(names)} |", f"|:---|{'---:|' * len(names)}")
    for name, seeds in (("0 and 1: chosen on", range(2)), ("2 to 4", range(2, 5))):
        some = [row for row in rows if row["seed"] in seeds]
        cells = (change(of(some, "repairs", "square", each)) for each in names)
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""


def repaired_outputs(rows: list[Row]) -> Iterator[str]:
    """What repairing inputs or outputs leaves."""
    able = [row for row in rows if row["part"] == "inputs" and "after_benign" in row]
    names = columns(able, "inputs")
    yield from ("## Repaired reconstructions", "")
    yield from ("Recovery before and after; change of the benign RMSE:", "")
    yield from table(rows, "inputs", change, names)
    yield ""


def repairs(rows: list[Row]) -> Iterator[str]:
    """What repairing networks leaves."""
    names = columns(rows, "repairs")
    yield from ("## Repaired networks", "", "With 5 % of the clean training pairs:", "")
    yield from table(rows, "repairs", change, names)
    yield from ("", "| repair | seconds |", "|:---|---:|")
    for name in names:
        seconds = [r["seconds"] for r in rows if r["part"] == "repairs" and r["defence"] == name]
        yield f"| {name} | {shown(seconds, '{:.1f}')} |"


def change(found: list[Row]) -> str:
    """Recovery before and after, and the benign error's relative change."""
    if not found:
        return ""
    before = np.mean([row["before_recovery"] for row in found])
    after = shown([row["after_recovery"] for row in found], "{:.2f}")
    growth = [row["after_benign"] / row["before_benign"] - 1 for row in found]
    benign = shown(growth, "{:+.1f}", 100)
    return f"{before:.2f} → {after}; {benign} %"


def draw(rows: list[Row]) -> None:
    """Mean AUC of every detector against every attack, of digits, heads and chests."""
    plt.rcParams |= {"font.size": 8, "svg.hashsalt": "recondoor"}
    groups = {part: columns(rows, part) for part in ("pairs", "inputs", "models")}
    sizes = [len(names) for names in groups.values()]
    attacks = {key: f"digits: {words}" for key, words in ATTACKS.items()} | {
        f"{scene} {key}": f"{scene}: {words}"
        for scene in SCENES
        for key, words in OF_SCANNERS.items()
    }
    figure, axes = plt.subplots(
        1, 3, figsize=(9.4, 6.2), width_ratios=sizes, sharey=True, layout="constrained"
    )
    titles = {"pairs": "training pairs", "inputs": "inputs", "models": "networks"}
    for ax, (part, names) in zip(axes, groups.items(), strict=True):
        values = np.array([[mean_auc(rows, part, a, name) for name in names] for a in attacks])
        image = ax.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else f"{value:.2f}"
            colour = "k" if np.isnan(value) or value > 0.55 else "w"
            ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=colour)
        for end in (len(ATTACKS), len(ATTACKS) + len(OF_SCANNERS)):
            ax.axhline(end - 0.5, color="w", linewidth=3)
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(attacks)), attacks.values())
        ax.set_title(titles[part], loc="left", fontsize=8.5)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=40)
    bar.set_label("ROC-AUC (0.5: blind)")
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(HERE / f"matrix.{suffix}", dpi=180, metadata=metadata)
    plt.close(figure)


def mean_auc(rows: list[Row], part: str, attack: str, name: str) -> float:
    """Mean over seeds, or over networks; NaN where nothing was learnt."""
    if part == "models":
        backdoored = scores(rows, attack, name)
        return area(scores(rows, "original", name), backdoored) if backdoored else float("nan")
    found = [row["auc"] for row in of(rows, part, attack, name) if row["auc"] is not None]
    return float(np.mean(found)) if found else float("nan")


if __name__ == "__main__":
    main()
