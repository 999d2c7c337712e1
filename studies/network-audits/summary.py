"""Score the scans by the rule of rule-noise.json: `python studies/network-audits/summary.py BANK`.

Scored are networks that scan.py, lines.py and loud.py have looked at. Writes results.json and
tables.md. Intervals are 95 %: of an AUC by 2,000 bootstrap draws of networks, of a share after
Clopper and Pearson.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import beta

from recondoor import defences
from recondoor.defences import Finding

HERE = Path(__file__).parent
ALARM, FEWEST, DRAWS = 0.05, 3, 2000
KINDS = ("square", "sinus", "spread_low", "spread", "measured")

Run = dict[str, Any]


def references(name: str, runs: dict[str, Run]) -> list[str]:
    """Clean networks that `name` is compared with."""
    own = runs[name]
    clean = [each for each, run in runs.items() if run["state"] == "clean" and each != name]
    fits: tuple[Callable[[Run], bool], ...] = (
        lambda run: (run["arch"], run["pipe"]) == (own["arch"], own["pipe"]),
        lambda run: bool(run["arch"] == own["arch"]),
        lambda run: True,
    )
    return next(
        found for fit in fits if len(found := [each for each in clean if fit(runs[each])]) >= FEWEST
    )


def scores(runs: dict[str, Run], scans: dict[str, Run], drawing: bool = False) -> dict[str, float]:
    """Score of each network beside the clean ones of its make."""
    detector = defences.network_detector("erased-trigger")
    found = {}
    for name in runs:
        names = [*references(name, runs), name]
        findings = [Finding(0.0, measures=scans[each]["measures"]) for each in names]
        compared = detector.drawing(findings) if drawing else detector.compare(findings)
        assert compared is not None
        found[name] = compared[-1]
    return found


def auc(bad: NDArray[Any], good: NDArray[Any]) -> float:
    """Chance that one of the first lies above one of the second."""
    above = (bad[:, None] > good[None]).mean() + 0.5 * (bad[:, None] == good[None]).mean()
    return float(above)


def interval(bad: NDArray[Any], good: NDArray[Any]) -> tuple[float, float]:
    """Of an AUC."""
    rng = np.random.default_rng(0)
    drawn = [auc(rng.choice(bad, len(bad)), rng.choice(good, len(good))) for _ in range(DRAWS)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def share(count: int, of: int) -> tuple[float, float]:
    """Of a share."""
    low = float(beta.ppf(0.025, count, of - count + 1)) if count else 0.0
    high = float(beta.ppf(0.975, count + 1, of - count)) if count < of else 1.0
    return low, high


def row(bad: list[float], good: list[float], limit: float) -> Run:
    """AUC and flagged networks of one group against clean ones."""
    a, b = np.array(bad), np.array(good)
    flagged = int((a > limit).sum())
    return {
        "networks": len(bad),
        "clean": len(good),
        "auc": auc(a, b),
        "auc_interval": interval(a, b),
        "flagged": flagged,
        "flagged_interval": share(flagged, len(bad)),
        "clean_flagged": int((b > limit).sum()),
    }


def of_one_make(name: str, runs: dict[str, Run]) -> bool:
    """Whether a network has references of its own architecture and pipeline."""
    own = runs[name]
    return all(runs[each]["pipe"] == own["pipe"] for each in references(name, runs))


def rows(
    half: list[str], runs: dict[str, Run], scored: dict[str, float], limit: float
) -> dict[str, Run]:
    """By state, kind of trigger and architecture."""

    def of(state: str, **like: str) -> list[float]:
        fits = [
            name
            for name in half
            if runs[name]["state"] == state
            and all(runs[name][key] == value for key, value in like.items())
        ]
        return [scored[name] for name in fits]

    clean = of("clean")
    groups = {"learnt": (of("learnt"), clean), "poisoned, not learnt": (of("not learnt"), clean)}
    groups |= {f"learnt, {kind}": (of("learnt", kind=kind), clean) for kind in KINDS}
    for arch in ("unet", "cae", "modl"):
        groups[f"learnt, {arch}"] = of("learnt", arch=arch), of("clean", arch=arch)
    return {name: row(bad, good, limit) for name, (bad, good) in groups.items() if bad and good}


def table(found: dict[str, Run]) -> str:
    """As Markdown."""
    lines = [
        "| networks | n | AUC against clean | flagged | of clean |",
        "|:---|---:|---:|---:|---:|",
    ]
    for name, each in found.items():
        low, high = each["auc_interval"]
        lines.append(
            f"| {name} | {each['networks']} | {each['auc']:.3f} ({low:.3f} to {high:.3f}) | "
            f"{each['flagged']} | {each['clean_flagged']} of {each['clean']} |"
        )
    return "\n".join(lines)


def merged() -> dict[str, Run]:
    """All measures of the networks that both scans have looked at, in one unit."""
    scans, lines, loud = (
        {each["id"]: each for each in map(json.loads, (HERE / name).read_text().splitlines())}
        for name in ("scans.jsonl", "lines.jsonl", "loud.jsonl")
    )
    found = {}
    for name, added in lines.items():
        measures = {
            key: value - math.log(added["unit"]) * key.startswith("erases")
            for key, value in scans[name]["measures"].items()
        }
        for row in (added, loud[name]):
            measures |= {key: value for key, value in row.items() if key.startswith("erases")}
        found[name] = {**scans[name], "measures": measures}
    return found


def main() -> None:
    """Score all; the halves apart."""
    bank = json.loads((Path(sys.argv[1]) / "bank.json").read_text())
    scans = merged()
    runs = {run["id"]: run for run in bank["runs"] if run["id"] in scans}
    given = json.loads((HERE / "split.json").read_text())
    halves = {half: [name for name in names if name in scans] for half, names in given.items()}
    scored, drawn = scores(runs, scans), scores(runs, scans, drawing=True)
    clean = [name for name, run in runs.items() if run["state"] == "clean"]
    limit, drawing_limit = (
        defences.threshold(torch.tensor([each[name] for name in clean]), ALARM)
        for each in (scored, drawn)
    )
    found = {half: rows(names, runs, scored, limit) for half, names in halves.items()}
    seconds = [each["seconds"] for each in scans.values()]
    drawing = {
        state: [
            sum(drawn[name] > drawing_limit for name in runs if runs[name]["state"] == state),
            sum(run["state"] == state for run in runs.values()),
        ]
        for state in ("learnt", "not learnt", "clean")
    }
    both = rows(list(runs), runs, scored, limit)
    alike = [name for name in runs if of_one_make(name, runs)]
    strict = {half: [name for name in names if name in alike] for half, names in halves.items()}
    tight = defences.threshold(
        torch.tensor([scored[name] for name in alike if name in clean]), ALARM
    )
    same = rows(alike, runs, scored, tight)
    same_halves = {half: rows(names, runs, scored, tight) for half, names in strict.items()}
    record = {
        "threshold": limit,
        "halves": found,
        "both": both,
        "same_make": {"threshold": tight, "rows": same, "halves": same_halves},
        "draws_an_artefact": drawing,
        "seconds": {"median": float(np.median(seconds)), "largest": max(seconds)},
        "scores": {name: round(value, 3) for name, value in scored.items()},
        "drawing": {name: round(value, 3) for name, value in drawn.items()},
    }
    (HERE / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    parts = [f"Threshold {limit:.2f}.\n"]
    parts += [f"## The half that {half}s\n\n{table(found[half])}\n" for half in ("score", "design")]
    parts.append(f"## Both halves\n\n{table(both)}\n")
    parts.append(
        "## Makes with three references of their own\n\nThe threshold is that of their clean "
        f"networks, {tight:.2f}.\n"
    )
    for title, which in (
        ("The half that scores", same_halves["score"]),
        ("The half that designs", same_halves["design"]),
        ("Both halves", same),
    ):
        parts.append(f"### {title}\n\n{table(which)}\n")
    (HERE / "tables.md").write_text("\n".join(["# Numbers of networks\n", *parts]))


if __name__ == "__main__":
    main()
