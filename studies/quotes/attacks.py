"""Numbers of docs/attacks.md."""

import json
from collections.abc import Iterator
from typing import Any

from kept import STUDIES, Quote

SOURCE = "studies/attacks/pairs.json"
DETECTORS = ("range-test", "measurement-residual", "shared-pattern", "pixel-range")
SEEDS = 3
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


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """The attack's line of the table: seeds that are suspicious, flagged shares by detector."""
    accused = sum(row["verdict"] == "suspicious" for row in rows)
    cells = [share([row[detector][0] for row in rows]) for detector in DETECTORS]
    return f"| `{name}` | {accused} of {len(rows)} | {' | '.join(cells)} |"


def share(values: list[float]) -> str:
    """Percent of the poisoned pairs, least and most over the seeds where they differ."""
    low, high = round(100 * min(values)), round(100 * max(values))
    return f"{low} %" if low == high else f"{low} to {high} %"
