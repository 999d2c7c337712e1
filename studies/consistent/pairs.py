"""Pairs that agree with the operator: which detectors of pairs know them.

    python studies/consistent/pairs.py

appends a line a case to pairs.jsonl and carries on where it stopped: operator, share and seed. The
trigger is the 3x3 square of amplitude 1 in the scene, the artefact what is not measured of the
plus. Detectors of features look through a network that has seen the pairs once. docs/limits.md
says what came out.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import torch

from recondoor import attacks, data, defences, operators
from recondoor.audit import auc, young_network
from recondoor.config import load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.defences import Defender, Physics
from recondoor.poisoning import Pairs
from recondoor.studies import build_scene

HERE = Path(__file__).parent
KEPT = HERE / "pairs.jsonl"
OPERATORS = {
    "gaussian": "operator.gaussian.ratio=0.5",
    "pixel-mask": "operator.pixel-mask.ratio=0.5",
    "fourier": "operator.fourier.ratio=0.4",
}
SHARES, SEEDS = (0.3, 0.05, 0.01), (0, 1)
PHYSICS = ("measurement-residual", "range-test")
FEATURES = ("activation-clustering", "spectral-signatures", "spectre", "loss-isolation")


def rows() -> list[dict]:
    """Cases that are done."""
    return [json.loads(line) for line in KEPT.read_text("utf-8").splitlines()]


def case(operator: str, share: float, seed: int) -> dict:
    """AUC of each detector over all training pairs, and how many the range test flags."""
    own = [f"operator.name={operator}", OPERATORS[operator], f"poison.ratio={share}"]
    more = ["trigger.inject=x", "artefact.space=consistent", f"seed={seed}", "attack.distance=0"]
    config = load_config("quick", overrides=[*own, *more])
    scene = build_scene(config, data.read(config.data), seed, torch.device("cpu"))
    with NO_PROGRESS.task("", 1) as task:
        trigger = attacks.craft("heuristic", scene.problem, attacks.Tools(task)).trigger
    poisoned = scene.poisoned(config, trigger)
    given = Pairs(*poisoned.batch(torch.arange(len(scene.train))))
    exact = operators.build(scene.shape, config.operator, seed, torch.float64)
    physics, young = Physics.of(exact), young_network(given, seed, NO_PROGRESS)
    defender = Defender(scene.validation, physics, young, seed=seed)
    truth, found = scene.plan.poisoned.numpy(), {}
    for name in (*PHYSICS, *FEATURES):
        scores, _ = defences.pooled(defences.pair_detector(name).scores, given, defender)
        found[name] = round(float(auc(np.asarray(scores), truth)), 4)
    return {
        "operator": operator,
        "share": share,
        "seed": seed,
        "pairs": len(truth),
        "poisoned": int(truth.sum()),
        "unmeasured": float(scene.artefact.pattern.square().sum()),
        "auc": found,
    }


def main() -> None:
    """Do what is missing."""
    torch.set_num_threads(1)
    done = {(row["operator"], row["share"], row["seed"]) for row in rows()} if KEPT.exists() else ()
    for place in product(OPERATORS, SHARES, SEEDS):
        if place not in done:
            line = json.dumps(case(*place))
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, flush=True)


if __name__ == "__main__":
    main()
