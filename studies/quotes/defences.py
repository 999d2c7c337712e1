"""Numbers of docs/defences.md: cells of the study's own tables, and what was chosen on what."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from kept import STUDIES, Quote, script, spread

from recondoor.core import registry

SOURCE, TABLES = "studies/defences/results.json", "studies/defences/tables.md"
Row = dict[str, Any]


@cache
def rows() -> list[Row]:
    """All kept rows."""
    found: list[Row] = json.loads((STUDIES / "defences" / "results.json").read_text("utf-8"))
    return found


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    summary = script("defences/summary.py")
    attacks = list(summary.ATTACKS)
    rare = [
        mean(a, "loss-isolation") for a in attacks if a not in ("bilevel-rare", "consistent-pairs")
    ]
    yield Quote(f"`loss-isolation` weak: {spread(rare)}", SOURCE)
    yield Quote(
        f"{mean('consistent-pairs', 'loss-isolation'):.2f} against consistent pairs", SOURCE
    )
    blind = [mean(attack, "spectre") for attack in attacks if attack != "bilevel-rare"]
    yield Quote(f"`spectre` is blind ({spread(blind)})", SOURCE)
    for name in ("loss-isolation", "spectre"):
        yield Quote(f"`{name}` ({mean('bilevel-rare', name):.2f})", SOURCE)
    yield counted()
    yield from networks()


def counted() -> Quote:
    """How many of the defences that there are were measured."""
    measured = {row["defence"] for row in rows()}
    return Quote(f"{len(measured)} of the {len(registry.names('defences'))} defences", SOURCE)


def networks() -> Iterator[Quote]:
    """Areas with their bootstrap intervals, from the tables that summary.py wrote."""
    page = (STUDIES / "defences" / "tables.md").read_text("utf-8")
    _, _, part = page.partition("## Networks\n")
    for line in part.partition("Scores of the clean networks")[0].splitlines()[5:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and "[" in cells[3]:
            area, _, above = cells[3].partition(" [")
            yield Quote(f"| {cells[0]} | {cells[1]} | {area} | {above.rstrip(']')} |", TABLES)
    for start in ("| 0 to 7", "| 8 to 19"):
        (line,) = (line for line in page.splitlines() if line.startswith(start))
        area = line.split("|")[4].strip()
        yield Quote(area[:5] if area.startswith("1.000 (1.000") else area, TABLES)


def mean(attack: str, name: str) -> float:
    """Mean AUC over seeds, among training pairs."""
    found = [
        row["auc"]
        for row in rows()
        if (row["part"], row["attack"], row["defence"]) == ("pairs", attack, name)
    ]
    return float(sum(found) / len(found))
