"""Tables of docs/real-audits.md, from the kept scores of pairs."""

import json
from collections.abc import Iterator

from kept import STUDIES, Quote, lines, script

SOURCE = "studies/real-audits"
SHOWN = (
    "No operator",
    "The operator given",
    "All fresh cells",
    "Kinds of poison",
    "Kinds of pairs",
)


def quotes() -> Iterator[Quote]:
    """Every line of the page's tables."""
    tables = script("real-audits/summary.py").tables()
    for name in SHOWN:
        yield from (Quote(line, SOURCE) for line in tables[name])
    wrong = f"{SOURCE}/wrong.json"
    rows = json.loads((STUDIES / "real-audits/wrong.json").read_text("utf-8"))
    yield from (Quote(line, wrong) for line in script("real-audits/wrong.py").table(rows))
    kept = f"{SOURCE}/standing.jsonl"
    standing = lines("real-audits/standing.jsonl")
    study = script("real-audits/standing.py")
    yield from (Quote(line, kept) for line in (*study.table(standing), *study.halves(standing)))
    counts = [
        sum(len(row["found"]) for row in standing if (row["kind"], row["pairs"]) == ("clean", n))
        for n in (100, 1000)
    ]
    yield Quote(f"of {counts[0]} of 100 pairs and {counts[1]} of 1,000, of all sixteen cells", kept)
