"""Tables of the scores: python summary.py scores.json PART.json [MORE.json ...].

Rows of the parts go into the first file, beside this one, and the tables into tables.md, as the
docs have them: scores.json of 64 px, scores-128.json, and scores-10000.json of 10,000 pairs.
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


def sets_of(rows, start):
    """Sets of the jobs whose names start so."""
    return [one for row in rows if row["job"].startswith(start) for one in row["sets"]]


def told(sets):
    """How many of the sets are SUSPICIOUS + UNDECIDED."""
    if not sets:
        return ""
    suspicious, undecided = (count(sets, each) for each in ("suspicious", "undecided"))
    return f"{suspicious} + {undecided} of {len(sets)}"


def count(sets, verdict):
    """Sets that have the verdict."""
    return sum(one["verdict"] == verdict for one in sets)


def most_of(sets):
    """Upper limit of the share that is SUSPICIOUS."""
    return f"{upper(count(sets, 'suspicious'), len(sets)):.3f}" if sets else ""


def smallest_of(sets):
    """Contrasts that clean sets would have shown."""
    seen = sorted({one["smallest"] for one in sets if one.get("smallest") is not None})
    return " to ".join(f"{value:g}" for value in dict.fromkeys((seen[0], seen[-1]))) if seen else ""


def cells_table(rows, cells, spent, given, many=1000):
    """A line for each cell: clean sets, poisoned ones, and what would have been seen."""
    yield (
        f"| cell | clean, N = 100 | upper | clean, N = {many:,} "
        f"| lesion and square, 1 % of {many:,} | lesion alone, 5 % of 100 | smallest seen |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    jobs = (f"clean/{many}/", f"fixed/{many}/0.01/0.2", "label/100/0.05/0.2")
    for cell in cells:
        mine = [row for row in rows if row["cell"] == cell and row["operator"] == given]
        if not mine:
            continue
        few = sets_of(mine, "clean/100/")
        large, strong, label = (sets_of(mine, each) for each in jobs)
        name = f"{cell} (spent)" if cell in spent else cell
        shown = (name, told(few), most_of(few), told(large), told(strong), told(label))
        yield f"| {' | '.join(shown)} | {smallest_of(large or few)} |"


def totals(found, spent):
    """Clean sets of all fresh cells together; `found` has a name of each file's rows."""
    yield "| clean sets of fresh cells | SUSPICIOUS | UNDECIDED | sets | upper |"
    yield "|---|---:|---:|---:|---:|"
    for name, rows in found.items():
        fresh = [row for row in rows if row["cell"] not in spent]
        for given in (False, True):
            mine = [row for row in fresh if row["operator"] == given]
            for pairs in sorted({int(row["job"].split("/")[1]) for row in mine}):
                sets = sets_of(mine, f"clean/{pairs}/")
                if sets:
                    words = f"{name}, N = {pairs:,}{', operator given' if given else ''}"
                    shown = [count(sets, each) for each in ("suspicious", "undecided")]
                    most = upper(shown[0], len(sets))
                    yield f"| {words} | {shown[0]} | {shown[1]} | {len(sets):,} | {most:.4f} |"


def kinds_table(rows):
    """Kinds of poison, of 1,000 pairs: verdicts, and the mean AUC of pairs."""
    yield "| kind | share | cell | verdicts | AUC |"
    yield "|---|---:|---|---:|---:|"
    for row in rows:
        kind, pairs, share, contrast = (*row["job"].split("/"), "")[:4]
        if kind == "clean" or (pairs, contrast) != ("1000", "0.4"):
            continue
        auc = sum(one["auc"] for one in row["sets"]) / len(row["sets"])
        yield f"| {kind} | {float(share):.0%} | {row['cell']} | {told(row['sets'])} | {auc:.3f} |"


def pipelines_table(found):
    """Of each row of rows.json the verdicts of clean and of poisoned pairs."""
    yield "| pairs | clean | lesion in 5 % | clean, operator given | lesion in 5 % |"
    yield "|---|---|---|---|---|"
    for name in dict.fromkeys(key.split("; ")[0] for key in found):
        kinds = [(kind, known) for known in ("none", "operator") for kind in ("clean", "poisoned")]
        rows = [found.get(f"{name}; {kind}; {known}", {}) for kind, known in kinds]
        said = [row.get("verdict", "").upper() for row in rows]
        yield f"| {name} | " + " | ".join(said) + " |"


def kept(name):
    """Rows of a file of scores beside this one; none if it is not there."""
    path = HERE / name
    return json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []


def tables():
    """Name of each table: its lines, of the scores and rows that are kept here."""
    cells = json.loads((HERE / "cells.json").read_text("utf-8"))
    names, spent = [cell["id"] for cell in cells["score"]], cells["spent"]
    rows, wide, long = (kept(f"scores{each}.json") for each in ("", "-128", "-10000"))
    found = {
        "No operator": cells_table(rows, names, spent, False),
        "The operator given": cells_table(rows, names, spent, True),
        "128 px, no operator": cells_table(wide, names, spent, False),
        "10,000 pairs, no operator": cells_table(long, names, spent, False, 10000),
        "All fresh cells": totals({"64 px": rows + long, "128 px": wide}, spent),
        "Kinds of poison": kinds_table(rows),
        "Kinds of pairs": pipelines_table(json.loads((HERE / "rows.json").read_text("utf-8"))),
    }
    shown = {name: list(lines) for name, lines in found.items()}
    return {name: lines for name, lines in shown.items() if len(lines) > 2}


def main():
    """Put the rows together, and write the tables."""
    names = [c["id"] for c in json.loads((HERE / "cells.json").read_text("utf-8"))["score"]]
    out, *parts = map(Path, sys.argv[1:])
    rows = [row for part in parts for row in json.loads(part.read_text("utf-8"))["rows"]]
    rows.sort(key=lambda row: (row["operator"], names.index(row["cell"]), row["job"]))
    if rows:
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        (HERE / out.name).write_text('{"rows":[\n' + lines + "\n]}\n", encoding="utf-8")
    text = "\n".join(f"\n## {name}\n\n" + "\n".join(part) for name, part in tables().items())
    (HERE / "tables.md").write_text(f"# Scores of audits of pairs\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
