"""Numbers of docs/attacks.md."""

import json
from collections.abc import Iterator
from typing import Any

from kept import STUDIES, Quote, script, sweep, where

SOURCE = "studies/attacks/pairs.json"
DETECTORS = ("range-test", "measurement-residual", "shared-pattern", "pixel-range")
SEEDS = 3
NETWORKS = "studies/attacks/gaussian"
SCORED = "studies/attacks/networks.json"
LEARNT = (
    *("heuristic", "random", "tangent", "blend", "frequency", "uap", "sample-specific"),
    *("measurement", "warp"),
)
ROWS = ("heuristic", "blend", "frequency", "uap", "sample-specific", "measurement", "warp")


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    rows = json.loads((STUDIES / "attacks" / "pairs.json").read_text(encoding="utf-8"))
    for name in ROWS:
        own = [row for row in rows if row["attack"] == name]
        if len(own) == SEEDS:
            yield Quote(line(name, own), SOURCE)
    whole = [row for row in rows if sum(row["attack"] == each["attack"] for each in rows) == SEEDS]
    false = max(row[detector][1] for row in whole for detector in DETECTORS)
    yield Quote(f"at most {100 * false:.1f} % of the clean ones", SOURCE)
    yield from (Quote(learnt(name), NETWORKS) for name in LEARNT)
    tables = script("attacks/summary.py")
    for lines in (tables.input_lines, tables.network_lines, tables.repair_lines):
        yield from (Quote(line, SCORED) for line in lines())
    heads = "studies/attacks/heads.json"
    yield from (Quote(line, heads) for line in tables.head_network_lines())
    for name, lines in (
        ("growth", tables.growth_lines),
        ("mri", tables.head_lines),
        ("choice", tables.choice_lines),
    ):
        yield from (Quote(line, f"studies/attacks/{name}") for line in lines())


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """The attack's line of the table: seeds that are suspicious, flagged shares by detector."""
    accused = sum(row["verdict"] == "suspicious" for row in rows)
    cells = [share([row[detector][0] for row in rows]) for detector in DETECTORS]
    return f"| `{name}` | {accused} of {len(rows)} | {' | '.join(cells)} |"


def learnt(name: str) -> str:
    """The attack's line of what networks learn: least and most over the seeds."""
    found = sweep("attacks/gaussian")
    rows, clean = where(found, model=name), where(found, model="original")
    points = rows[0]["point"]
    base = [row for row in clean if row["point"] == points] or clean
    cells = [[row[key] for row in rows] for key in ("artefact_recovery", "asr")]
    change = [a["benign_rmse"] / b["benign_rmse"] - 1 for a, b in zip(rows, base, strict=True)]
    shown = " | ".join(f"{min(each):.2f} to {max(each):.2f}" for each in cells)
    benign = f"{100 * min(change):+.0f} to {100 * max(change):+.0f} %"
    passed = [row["transition_samples"] for row in rows if row["transition_samples"] is not None]
    images = f"{min(passed):,} to {max(passed):,}" if passed else "none"
    return f"| `{name}` | {shown} | {benign} | {images} |"


def share(values: list[float]) -> str:
    """Percent of the poisoned pairs, least and most over the seeds where they differ."""
    low, high = round(100 * min(values)), round(100 * max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"
