"""Score the test of shared patterns on clean and poisoned sets of every cell; resumable.

    python benchmark.py POOLS scores.json [--part design|score] [--clean 200] [--minutes 30]

POOLS is the folder that pools.py wrote. The file gets a list of rows, each one job; jobs that are
there are not done again. `--share 0/2` does every second cell, so that two runs with a file each
share the work.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from pipelines import make
from sklearn.metrics import roc_auc_score, roc_curve

from recondoor import defences
from recondoor.defences import Defender
from recondoor.defences import shared_pattern as method
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
SETS = 20
"""Clean sets of a job."""

MANY, MANY_SETS = 1000, 10
"""Pairs of a large set, and how many such sets."""

ALL_KINDS = ("mri4-mean-std-coloured", "ct45-poisson-detector-wrong", "blur1.5-spread")
"""Scored cells in which every kind of poison is tried."""


def pairs_of(z, x):
    """Images (N, H, W) as pairs of one channel."""
    return Pairs(torch.from_numpy(z)[:, None], torch.from_numpy(x)[:, None])


def alarm(pairs, defender):
    """Whether the pairs are suspicious, without planting: p value, and None if it abstains."""
    return judged(*method._look(pairs, defender))


def judged(nuisance, found):
    """P value of what was found; None if the test abstains."""
    if nuisance.explained < method.EXPLAINED:
        return None
    return min(1.0, method.TESTS * float(np.exp(found.log_p)))


def clean_job(images, cell, given, first, sets, count):
    """P values of clean sets."""
    found = []
    for seed in range(first, first + sets):
        z, x, _, operator = make(images, cell, count, 10_000 + seed)
        found.append(alarm(pairs_of(z, x), Defender(operator=operator if given else None)))
    return {"p_values": found}


def power_job(images, cell, given, first, sets, count, **poison):
    """P values of poisoned sets, and how poisoned pairs rank: nothing is planted."""
    found = {"p_values": [], "aucs": []}
    for seed in range(first, first + sets):
        z, x, bad, operator = make(images, cell, count, 50_000 + seed, **poison)
        looked = method._look(pairs_of(z, x), Defender(operator=operator if given else None))
        found["p_values"].append(judged(*looked))
        found["aucs"].append(float(roc_auc_score(bad, looked[1].strength.size.numpy())))
    return found


def verdict_job(images, cell, given, first, sets, count, **poison):
    """Verdicts with planted power, of sets that are clean or poisoned."""
    detector, rows = defences.pair_detector("shared-pattern"), []
    for seed in range(first, first + sets):
        z, x, bad, operator = make(images, cell, count, 50_000 + seed, **poison)
        started = time.perf_counter()
        found = detector.test(pairs_of(z, x), Defender(operator=operator if given else None))
        row = {"seconds": round(time.perf_counter() - started, 2), "p_value": found.p_value}
        alarmed = found.p_value is not None and found.p_value <= found.level
        row["verdict"] = "suspicious" if alarmed else "undecided" if found.lacking else "clean"
        if found.power is not None:
            row |= {"found": found.power.found, "alike": found.power.alike}
            row["smallest"] = found.power.smallest
        if bad.any():
            scores = found.scores.numpy()
            rate, hit, _ = roc_curve(bad, scores)
            row |= {"auc": roc_auc_score(bad, scores), "tpr": float(hit[rate <= 0.01].max())}
        rows.append(row)
    return {"sets": rows}


def jobs(cells, clean, sides):
    """(key, function, cell, whether the operator is given, arguments, poison), best first.

    Most teams give no operator, and behind a fixed mask its residuals are the same: so it is given
    last.
    """
    for given in sides:
        for key, work, arguments, plan in steps(clean):
            for cell in cells:
                yield key, work, cell, given, arguments, plan
        if not given:
            yield from kinds([cell for cell in cells if cell["id"] in ALL_KINDS])


def steps(clean):
    """(key, function, arguments, poison) of what is done in every cell."""
    faint = {"share": 0.01, "kind": "fixed", "contrast": 0.2}
    label = {"share": 0.05, "kind": "label", "contrast": 0.2}
    many = (0, MANY_SETS, MANY)
    yield ("clean", 100, 0), clean_job, (0, SETS, 100), {}
    yield ("power", MANY, 0.01, 0.2), power_job, many, faint
    yield ("clean", MANY, 0), clean_job, many, {}
    yield ("power", 100, 0.05, 0.2), power_job, (0, SETS, 100), label
    yield ("clean verdict", MANY), verdict_job, (0, 2, MANY), {}
    for round_ in range(1, clean // SETS):
        yield ("clean", 100, round_), clean_job, (SETS * round_, SETS, 100), {}
    yield ("power", MANY, 0.01, 0.4), power_job, many, faint | {"contrast": 0.4}


def kinds(cells):
    """Jobs with every kind of poison, without the operator."""
    for kind in ("label", "measured", "consistent", "fixed", "moving", "signs", "four"):
        for cell in cells:
            for share in (0.01, 0.05, 0.2):
                plan = {"share": share, "kind": kind, "contrast": 0.4}
                yield (kind, MANY, share, 0.4), power_job, cell, False, (0, 3, MANY), plan


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
    parser.add_argument("--clean", type=int, default=200)
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
    for key, work, cell, with_operator, arguments, plan in jobs(cells, given.clean, sides):
        job = "/".join(map(str, key))
        if (job, cell["id"], with_operator) in done:
            continue
        if time.monotonic() > end:
            break
        pool = images["ct" if cell["operator"] == "ct" else "mr"]
        started = time.perf_counter()
        found = work(pool, cell, with_operator, *arguments, **plan)
        row = {"job": job, "cell": cell["id"], "operator": with_operator}
        rows.append(row | {"total": round(time.perf_counter() - started, 1)} | found)
        write(given.out, rows)
        print(job, cell["id"], with_operator, rows[-1]["total"], flush=True)


if __name__ == "__main__":
    main()
