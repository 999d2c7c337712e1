"""Tables of the scores: python summary.py scores.json [MORE.json ...].

All rows go into scores.json beside this file, and the tables into tables.md, as the docs have them.
"""

import json
import sys
from pathlib import Path

from scipy.stats import beta

HERE = Path(__file__).parent
LEVEL, SURE = 0.01, 0.95


def upper(alarms, count):
    """Upper end of the one-sided binomial interval by Clopper and Pearson."""
    return 1.0 if alarms == count else float(beta.ppf(SURE, alarms + 1, count - alarms))


def alarms_of(rows, start):
    """(alarms, sets that were judged) of the jobs that start so."""
    found = [p for row in rows if row["job"].startswith(start) for p in row["p_values"]]
    judged = [p for p in found if p is not None]
    return sum(p <= LEVEL for p in judged), len(judged), len(found)


def told(rows, start):
    """Alarms of how many sets; where it abstained from all, that."""
    alarms, judged, count = alarms_of(rows, start)
    if not count:
        return ""
    return f"{alarms} of {judged}" if judged else "abstains"


def verdicts(rows):
    """How many sets got which verdict, and the smallest contrasts that would be seen."""
    sets = [one for row in rows if row["job"].startswith("clean verdict") for one in row["sets"]]
    names = [one["verdict"] for one in sets]
    kinds = ("clean", "undecided", "suspicious")
    words = ", ".join(f"{names.count(each)} {each}" for each in kinds if names.count(each))
    seen = sorted({one["smallest"] for one in sets if one.get("smallest") is not None})
    return words, f"{seen[0]:g}" if len(seen) == 1 else " to ".join(
        f"{v:g}" for v in seen[:: len(seen) - 1]
    ) if seen else ""


def cells_table(rows, cells, spent, given):
    """A line for each cell: alarms of clean sets, alarms of poisoned ones, verdicts."""
    yield (
        "| cell | clean, N = 100 | upper | clean, N = 1,000 | lesion and square, 1 % of 1,000 "
        "| lesion alone, 5 % of 100 | verdicts of clean sets, N = 1,000 | smallest seen |"
    )
    yield "|---|---:|---:|---:|---:|---:|---|---:|"
    for cell in cells:
        mine = [row for row in rows if row["cell"] == cell and row["operator"] == given]
        if not mine:
            continue
        alarms, judged, _ = alarms_of(mine, "clean/100/")
        most = f"{upper(alarms, judged):.3f}" if judged else ""
        jobs = ("clean/100/", "clean/1000/", "power/1000/0.01/0.2", "power/100/")
        few, many, strong, label = (told(mine, each) for each in jobs)
        name = f"{cell} (spent)" if cell in spent else cell
        words, smallest = verdicts(mine)
        yield f"| {name} | {few} | {most} | {many} | {strong} | {label} | {words} | {smallest} |"


def totals(rows, spent):
    """Alarms of clean sets of all fresh cells, together."""
    yield "| clean sets of fresh cells, no operator | alarms | sets | upper |"
    yield "|---|---:|---:|---:|"
    for count in (100, 1000):
        fresh = [row for row in rows if row["cell"] not in spent and not row["operator"]]
        alarms, judged, _ = alarms_of(fresh, f"clean/{count}/")
        yield f"| N = {count:,} | {alarms} | {judged} | {upper(alarms, judged):.4f} |"


def kinds_table(rows):
    """Kinds of poison, of 1,000 pairs: alarms, and the mean AUC of pairs."""
    yield "| kind | share | cell | alarms | AUC |"
    yield "|---|---:|---|---:|---:|"
    for row in rows:
        kind, *rest = row["job"].split("/")
        if kind in ("clean", "clean verdict", "power"):
            continue
        auc = sum(row["aucs"]) / len(row["aucs"])
        yield (
            f"| {kind} | {float(rest[1]):.0%} | {row['cell']} | {told([row], kind)} | {auc:.3f} |"
        )


def pipelines_table(found):
    """Of each row of rows.json the verdicts of clean and of poisoned pairs."""
    yield "| pairs | clean | lesion in 5 % | clean, operator given | lesion in 5 % |"
    yield "|---|---|---|---|---|"
    for name in dict.fromkeys(key.split("; ")[0] for key in found):
        kinds = [(kind, known) for known in ("none", "operator") for kind in ("clean", "poisoned")]
        rows = [found.get(f"{name}; {kind}; {known}", {}) for kind, known in kinds]
        said = [row.get("verdict", "").upper() for row in rows]
        yield f"| {name} | " + " | ".join(said) + " |"


def tables():
    """Name of each table: its lines, of the scores and rows that are kept here."""
    cells = json.loads((HERE / "cells.json").read_text("utf-8"))
    names, spent = [cell["id"] for cell in cells["score"]], cells["spent"]
    rows = json.loads((HERE / "scores.json").read_text("utf-8"))["rows"]
    found = {
        "No operator": cells_table(rows, names, spent, False),
        "The operator given": cells_table(rows, names, spent, True),
        "All fresh cells": totals(rows, spent),
        "Kinds of poison": kinds_table(rows),
        "Kinds of pairs": pipelines_table(json.loads((HERE / "rows.json").read_text("utf-8"))),
    }
    return {name: list(lines) for name, lines in found.items()}


def main():
    """Put the rows together and write the tables."""
    names = [c["id"] for c in json.loads((HERE / "cells.json").read_text("utf-8"))["score"]]
    rows = [
        row for file in sys.argv[1:] for row in json.loads(Path(file).read_text("utf-8"))["rows"]
    ]
    rows.sort(key=lambda row: (row["operator"], names.index(row["cell"]), row["job"]))
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (HERE / "scores.json").write_text('{"rows":[\n' + lines + "\n]}\n", encoding="utf-8")
    text = "\n".join(f"\n## {name}\n\n" + "\n".join(part) for name, part in tables().items())
    (HERE / "tables.md").write_text(f"# Scores of audits of pairs\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
