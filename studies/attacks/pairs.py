"""What an audit says of pairs that each attack of gaussian.toml has poisoned; no victim is trained.

    python studies/attacks/pairs.py [ATTACK ...]

adds to pairs.json beside this file one row for each attack and seed: the verdict on the first 500
training pairs, and for each detector the share of poisoned and of clean ones that it flags. Rows
that are there are not made again.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch

import recondoor as rd
from recondoor import attacks, data, studies
from recondoor.config import load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.poisoning import PoisonedPairs

HERE = Path(__file__).parent
KEPT = HERE / "pairs.json"
LOOKED_AT = 500
DETECTORS = ("range-test", "measurement-residual", "shared-pattern", "pixel-range")


def main() -> None:
    """Make the rows that are missing, of the attacks named or of all."""
    torch.set_num_threads(1)
    spec = tomllib.loads((HERE / "gaussian.toml").read_text(encoding="utf-8"))
    for block in spec["block"]:
        values = flat(spec["base"]) | flat(block["set"])
        for name in values["attack.names"]:
            for seed in range(spec["seeds"]):
                if name != "none" and (name in sys.argv[1:] or not sys.argv[1:]):
                    add(name, seed, values)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a tree by dotted key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, dict)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return found


def add(name: str, seed: int, values: dict[str, Any]) -> None:
    """Add the row of one attack and seed, unless it is there."""
    rows = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    if any(row["attack"] == name and row["seed"] == seed for row in rows):
        return
    given = values | {"attack.names": [name], "seed": seed}
    config = load_config(
        "quick", (), [f"{key}={json.dumps(value)}" for key, value in given.items()]
    )
    scene = studies.build_scene(config, data.read(config.data), seed, torch.device("cpu"))
    with NO_PROGRESS.task("", 1) as task:
        trigger = attacks.craft(name, scene.problem, attacks.Tools(task)).trigger
    some = torch.arange(LOOKED_AT)
    z, x = PoisonedPairs(scene.train, scene.plan, trigger, scene.artefact).batch(some)
    truth = scene.plan.poisoned[some].numpy()
    found = rd.audit_data(
        z, x, operator=scene.operator, detectors=DETECTORS, progress=NO_PROGRESS, seed=seed
    )
    row: dict[str, Any] = {"attack": name, "seed": seed, "verdict": found.verdict}
    by = found.suspicious["flagged_by"]
    for detector in DETECTORS:
        flagged = by.str.contains(detector).reindex(range(LOOKED_AT), fill_value=False).to_numpy()
        row[detector] = [float(flagged[truth].mean()), float(flagged[~truth].mean())]
    row["l2"] = float(trigger.on(scene.train.at(some)).flatten(-3).norm(dim=-1).mean())
    KEPT.write_text(json.dumps([*rows, row], indent=0) + "\n", encoding="utf-8")
    print(row, flush=True)


if __name__ == "__main__":
    main()
