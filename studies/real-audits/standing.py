"""Does `shared-pattern` doubt pairs that stand apart, and only those? Scored cells, no operator.

    python standing.py POOLS

appends a line a job to standing.jsonl: of clean sets, and of poison that changes its sign, its
place or nothing that the scanner contradicts, or that is in half of the pairs, how many are
suspicious, doubted or neither. Nothing is planted, so that the last are clean or undecided.
Resumable.
"""

import json
import math
import sys
from itertools import product
from pathlib import Path

import numpy as np
import torch
from benchmark import pairs_of
from pipelines import make

from recondoor.defences import Defender
from recondoor.defences import shared_pattern as method

HERE = Path(__file__).parent
OUT = HERE / "standing.jsonl"
CELLS = ("mri4-mean-std-coloured", "ct45-poisson-detector-wrong")
KINDS, SHARES, COUNTS = ("signs", "moving", "consistent"), (0.01, 0.05, 0.2), (100, 300, 1000)
HALVES = ("fixed", "label", "measured")
SETS = 3


def seen(z, x):
    """What becomes of a set."""
    nuisance, found = method.look(pairs_of(z, x), Defender())
    if nuisance.explained < method.EXPLAINED:
        return "abstains"
    if method.TESTS * math.exp(found.least) <= method.LEVEL:
        return "suspicious"
    return "neither" if method._doubt(found) is None else "doubted"


def told(rows, *place):
    """How many of the sets of so many pairs, of this kind and share are what."""
    own = [row for row in rows if (row["pairs"], row["kind"], row["share"]) == place]
    found = [each for row in own for each in row["found"]]
    return f"{found.count('suspicious')} + {found.count('doubted')} of {len(found)}"


def table(rows):
    """Lines of Markdown: how many sets of both cells are suspicious, and how many doubted."""
    for kind, count in product(KINDS, COUNTS):
        cells = [told(rows, count, kind, share) for share in SHARES]
        yield f"| {kind} | {count:,} | {' | '.join(cells)} |"


def halves(rows):
    """The same of poison in half of the pairs."""
    for kind in HALVES:
        cells = [told(rows, count, kind, 0.5) for count in COUNTS[:2]]
        yield f"| {kind} | {' | '.join(cells)} |"


def jobs(cells):
    """(cell, pairs, kind, share, sets, seed of the first)."""
    for cell in cells:
        yield cell, 100, "clean", 0.0, 20, 10_000
        yield cell, 1000, "clean", 0.0, 3, 10_000
    for name, count, kind, share in product(CELLS, COUNTS, KINDS, SHARES):
        cell = next(each for each in cells if each["id"] == name)
        yield cell, count, kind, share, SETS, 50_000
    for name, count, kind in product(CELLS, COUNTS[:2], HALVES):
        cell = next(each for each in cells if each["id"] == name)
        yield cell, count, kind, 0.5, SETS, 50_000


def main():
    """Do what is missing."""
    torch.set_num_threads(1)
    pools = {part: np.load(Path(sys.argv[1]) / f"score-{part}.npy") for part in ("mr", "ct")}
    cells = json.loads((HERE / "cells.json").read_text())["score"]
    rows = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    done = {(row["cell"], row["pairs"], row["kind"], row["share"]) for row in rows}
    for cell, count, kind, share, sets, first in jobs(cells):
        if (cell["id"], count, kind, share) in done:
            continue
        poison = {"share": share, "kind": kind, "contrast": 0.4} if share else {}
        images = pools["ct" if cell["operator"].startswith("ct") else "mr"]
        found = [seen(*make(images, cell, count, first + k, **poison)[:2]) for k in range(sets)]
        row = {"cell": cell["id"], "pairs": count, "kind": kind, "share": share, "found": found}
        with OUT.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
