"""Score the test of shared patterns on clean and poisoned sets of every cell; resumable.

    python benchmark.py POOLS scores.json [--part design|score] [--clean 200] [--minutes 30]
    SIDE=128 python benchmark.py POOLS128 scores-128.json --operator no --clean 20 --large 2

POOLS is the folder that pools.py wrote. The file gets a list of rows, each one job; jobs that are
there are not done again. `--share 0/2` does every second cell, so that two runs with a file each
share the work.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from pipelines import make
from sklearn.metrics import roc_auc_score, roc_curve

from recondoor import defences
from recondoor.defences import Defender
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
SETS = 20
"""Sets of 100 pairs in a job."""

CLEAN_SEEDS, POISONED_SEEDS = 800_000, 900_000
"""Seeds of the sets begin here; sets below were looked at while the method was changed."""

ALL_KINDS = ("mri4-mean-std-coloured", "ct45-poisson-detector-wrong", "blur1.5-spread")
"""Scored cells in which every kind of poison is tried."""


def pairs_of(z, x):
    """Images (N, H, W) as pairs of one channel."""
    return Pairs(torch.from_numpy(z)[:, None], torch.from_numpy(x)[:, None])


def judged(images, cell, given, sets, count, **poison):
    """Whole verdicts of `shared-pattern`, with planted power, on each of `sets` (a range)."""
    detector, rows = defences.pair_detector("shared-pattern"), []
    first = POISONED_SEEDS if poison else CLEAN_SEEDS
    for seed in sets:
        z, x, bad, operator = make(images, cell, count, first + seed, **poison)
        started = time.perf_counter()
        found = detector.test(pairs_of(z, x), Defender(operator=operator if given else None))
        row = {"seconds": round(time.perf_counter() - started, 2), "p_value": found.p_value}
        alarmed = found.p_value is not None and found.p_value <= found.level
        row["verdict"] = "suspicious" if alarmed else "undecided" if found.lacking else "clean"
        if row["verdict"] == "undecided":
            row["reason"] = found.lacking
        if found.power is not None:
            row["smallest"] = found.power.smallest
        if bad.any():
            scores = found.scores.numpy()
            rate, hit, _ = roc_curve(bad, scores)
            row |= {"auc": round(float(roc_auc_score(bad, scores)), 4)}
            row |= {"tpr": round(float(hit[rate <= 0.01].max()), 4)}
        rows.append(row)
    return rows


def jobs(cells, sides, plan):
    """(name, cell, whether the operator is given, sets, pairs, poison), best first.

    Most teams give no operator, and behind a fixed mask its residuals are the same: so it is given
    last. `plan` says how many sets and pairs.
    """
    for given in sides:
        for name, sets, count, poison in steps(plan):
            for cell in cells:
                yield name, cell, given, sets, count, poison
        if plan.kinds and not given:
            yield from kinds([cell for cell in cells if cell["id"] in ALL_KINDS], plan.many)


def steps(plan):
    """(name, sets, pairs, poison) of what is done in every cell."""
    faint = {"share": 0.01, "kind": "fixed", "contrast": 0.2}
    label = {"share": 0.05, "kind": "label", "contrast": 0.2}
    yield "clean/100/0", range(SETS), 100, {}
    yield "label/100/0.05/0.2", range(SETS), 100, label
    yield f"fixed/{plan.many}/0.01/0.2", range(plan.large), plan.many, faint
    yield f"clean/{plan.many}/0", range(plan.large), plan.many, {}
    for k in range(1, plan.clean // SETS):
        yield f"clean/100/{k}", range(SETS * k, SETS * (k + 1)), 100, {}


def kinds(cells, many):
    """Jobs with every kind of poison, without the operator."""
    for kind in ("label", "measured", "consistent", "fixed", "moving", "signs", "four"):
        for cell in cells:
            for share in (0.01, 0.05, 0.2):
                plan = {"share": share, "kind": kind, "contrast": 0.4}
                yield f"{kind}/{many}/{share:g}/0.4", cell, False, range(3), many, plan


def write(path, rows):
    """All at once, so that a stop leaves the file of before."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps({"rows": rows}, indent=None, separators=(",", ":")) + "\n")
    temporary.replace(path)


def main():
    """Do what is missing in the file, until the time is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pools", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", choices=("design", "score"), default="score")
    parser.add_argument("--clean", type=int, default=200, help="clean sets of 100 pairs in a cell")
    parser.add_argument("--many", type=int, default=1000, help="pairs of a large set")
    parser.add_argument("--large", type=int, default=10, help="large sets of a job")
    parser.add_argument("--kinds", action="store_true", help="every kind of poison as well")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--operator", choices=("no", "yes"), help="only without, or only with it")
    parser.add_argument("--cells", help="only these, with commas between")
    parser.add_argument("--share", default="0/1", help="K/N: cells K, K + N, K + 2 N and so on")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start, step = map(int, given.share.split("/"))
    cells = json.loads((HERE / "cells.json").read_text())[given.part][start::step]
    wanted = given.cells.split(",") if given.cells else [cell["id"] for cell in cells]
    cells = [cell for cell in cells if cell["id"] in wanted]
    sides = {"no": (False,), "yes": (True,)}.get(given.operator, (False, True))
    images = {k: np.load(given.pools / f"{given.part}-{k}.npy") for k in ("mr", "ct")}
    rows = json.loads(given.out.read_text())["rows"] if given.out.exists() else []
    done = {(row["job"], row["cell"], row["operator"]) for row in rows}
    end = time.monotonic() + 60 * given.minutes
    for job, cell, with_operator, sets, count, plan in jobs(cells, sides, given):
        if (job, cell["id"], with_operator) in done:
            continue
        if time.monotonic() > end:
            break
        pool = images["ct" if cell["operator"] == "ct" else "mr"]
        found = judged(pool, cell, with_operator, sets, count, **plan)
        rows.append({"job": job, "cell": cell["id"], "operator": with_operator, "sets": found})
        write(given.out, rows)
        said = dict(Counter(one["verdict"] for one in found))
        print(job, cell["id"], with_operator, said, flush=True)


if __name__ == "__main__":
    main()
