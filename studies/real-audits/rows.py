"""The rows of pairs that first audits got wrong, through `recondoor.audit_data`; resumable.

    python rows.py POOLS rows.json

POOLS is the folder that pools.py wrote. Each row is judged clean and with a lesion in the targets
of 5 % of its pairs, with the operator and without. No network is trained.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from pipelines import lines, make, patterns
from sklearn.metrics import roc_auc_score

import recondoor as rd
from recondoor import config, measurement

COUNT, SEED = 500, 3
POISON = {"share": 0.05, "kind": "label", "contrast": 0.2}
LOOKS = ("range-test", "measurement-residual", "shared-pattern")
MRI = {"operator": "mri"}
MR_ROWS = {
    "exact model, sigma estimated": {},
    "exact model, sigma known": {"sigma": 0.01},
    "sigma said 5 % too low": {"sigma": 0.0095},
    "sigma said 5 % too high": {"sigma": 0.0105},
    "each slice by its maximum": {"normalise": "max"},
    "(a - mean) / std": {"normalise": "mean-std"},
    "noise differs by 2 %": {"noise": "spread"},
    "noise differs by a factor of 4": {"noise": "factor4"},
    "coloured noise": {"noise": "coloured"},
    "target reconstructed from the same k-space": {"target": "reconstructed"},
    "its magnitude": {"target": "magnitude"},
    "z in float16": {"storage": "float16"},
    "z and x in int16": {"storage": "int16"},
    "magnitude input": {"input": "magnitude"},
    "another mask per slice": {"mask": "per slice"},
}
"""What is said of the pairs' own sigma, and how they are made."""

CT = ("operator.name='ct-parallel'", "operator.views=60")
CT_ROWS = {
    "CT, white noise, z = A^T y": ("operator.sigma=0.1",),
    "CT, Poisson noise, z = A^T y": (
        "operator.noise='poisson'",
        "operator.photons=1e5",
        "operator.sigma=0",
    ),
    "CT, z by filtered backprojection": ("operator.sigma=0.1", "input.map='fbp'"),
    "CT, target of 360 views": ("operator.sigma=0.1", "input.map='fbp'"),
}


def mr_pairs(images, cell, poison):
    """What a team has of MR slices, and which pairs are poisoned."""
    made = {key: value for key, value in cell.items() if key != "sigma"}
    z, x, bad, _ = make(images, MRI | made, COUNT, SEED, **poison)
    if cell.get("mask") == "per slice":
        rng = np.random.default_rng(SEED)
        rng.choice(len(images), COUNT, replace=False)
        if poison:
            rng.choice(COUNT, round(POISON["share"] * COUNT), replace=False)
        mask = np.stack([lines(4, s) for s in rng.integers(1 << 30, size=COUNT)])
    else:
        mask = lines(4, SEED)
    return {"z": z, "x": x}, bad, {"mask": mask}, "mri"


def ct_pairs(images, name, poison):
    """The same of CT slices, by the package's own operator."""
    settings = config.load_config("quick", (), [*CT, *CT_ROWS[name]])
    rng = np.random.default_rng(SEED)
    x = images[rng.choice(len(images), COUNT, replace=False)]
    bad = np.zeros(COUNT, bool)
    if poison:
        bad[rng.choice(COUNT, round(POISON["share"] * COUNT), replace=False)] = True
    truth = torch.from_numpy(x)[:, None]
    z = measured(settings, truth, 1)
    if name.endswith("views"):
        many = config.load_config("quick", (), [*CT, "operator.views=360", *CT_ROWS[name]])
        x = measured(many, truth, 2)
    lesion = patterns("label", bad, POISON["contrast"], rng)[1]
    return {"z": z, "x": x + lesion}, bad, {}, settings


def measured(settings, truth, seed):
    """Network inputs of images, (N, H, W)."""
    noise = torch.Generator().manual_seed(seed)
    chain = measurement.build(settings, (1, *truth.shape[2:]), 0)
    made = chain.pairs(truth, noise, lambda: torch.Generator().manual_seed(0), enters=False)
    return made.z[:, 0].numpy()


def judged(given, bad, more, operator, sigma):
    """A row's verdict and what the detectors counted."""
    started = time.process_time()
    names = LOOKS if operator is not None else LOOKS[2:]
    source = given | more if operator is not None else given
    told = sigma if operator is not None else None
    found = rd.audit_data(source, operator=operator, sigma=told, detectors=names)
    record = found.record
    row = {"verdict": found.verdict, "seconds": round(time.process_time() - started, 1)}
    row["detectors"] = {one["name"]: one["p_value"] for one in record["detectors"]}
    row["reason"] = record.get("reason")
    if bad.any():
        scores = found.suspicious.sort_index()
        row["auc"] = {
            name: float(roc_auc_score(bad, scores[name])) for name in LOOKS if name in scores
        }
    return row


def main():
    """Judge the rows that are missing in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pools", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pools = {k: np.load(given.pools / f"score-{k}.npy") for k in ("mr", "ct")}
    rows = json.loads(given.out.read_text()) if given.out.exists() else {}
    for name in (*MR_ROWS, *CT_ROWS):
        for poison in ({}, POISON):
            cell = MR_ROWS.get(name)
            if cell is None:
                source, bad, more, operator = ct_pairs(pools["ct"], name, poison)
            else:
                source, bad, more, operator = mr_pairs(pools["mr"], cell, poison)
            for known in (True, False):
                key = "; ".join(
                    (name, "poisoned" if poison else "clean", "operator" if known else "none")
                )
                if key in rows:
                    continue
                sigma = (cell or {}).get("sigma")
                rows[key] = judged(source, bad, more, operator if known else None, sigma)
                part = given.out.with_suffix(".part")
                part.write_text(json.dumps(rows, indent=1) + "\n")
                part.replace(given.out)
                print(key, rows[key]["verdict"], rows[key]["seconds"], flush=True)


if __name__ == "__main__":
    main()
