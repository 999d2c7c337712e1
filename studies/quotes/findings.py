"""Numbers of docs/findings.md."""

from collections.abc import Iterator

import bilevel
import defences
from kept import Quote, script, spread

PAPER = "studies/paper/five-seeds.json"


def quotes() -> Iterator[Quote]:
    """Every quoted number of the page."""
    paper = script("paper/summary.py")
    for title, published, label in (
        ("Original (clean)", ("0.021", "0.045", "NA"), "none"),
        ("Square, corner (the paper's baseline)", ("0.046", "0.044", "0.26"), "square corner"),
        ("BLO, in the square's pixels", ("0.039", "0.040", "0.245"), "blo corner"),
        ("BLO, anywhere", ("", "", ""), "blo free"),
    ):
        own = [f"{paper.mean(label, metric).mean:.4f}" for metric in paper.ERRORS]
        if label == "none":
            own[2] = "NA"
        cells = " | ".join(f"{a} | {b}" for a, b in zip(published, own, strict=True))
        yield Quote(f"| {title} | {cells} |".replace("|  |", "| |"), PAPER)
    for label in ("blo corner", "blo free"):
        for metric in ("benign_rmse", "artefact_rmse"):
            found = paper.against_square(label, metric).difference
            yield Quote(paper.shown(found, 4, "+"), PAPER)
    yield defences.counted()
    rows = [
        row for row in paper.rows() if row["label"] in ("square corner", "blo corner", "blo free")
    ]
    yield Quote(f"recovery {spread(row['artefact_recovery'] for row in rows)}", PAPER)
    for label in ("square corner", "blo corner", "random corner"):
        yield Quote(paper.spread(paper.first_epoch(label)), PAPER)
    summary = script("equal-budget/summary.py")
    for method in (("corner", "heuristic"), ("image", "tangent")):
        for name in summary.SWEEPS:
            found = summary.energy(summary.kept_cells(name), *method)
            yield Quote(summary.factor(found), bilevel.TABLES)
