"""The networks of a sweep against detectors of inputs and of networks, and repairs.

    python studies/attacks/networks.py SWEEP [PART ...] [--kept FILE]

SWEEP is where `recondoor sweep` left its run folders. Rows are added to FILE beside this one:
networks.json, of gaussian.toml; heads.json, of mri.toml. One for each part (inputs, models,
repairs), attack, seed and defence, scored as in studies/defences; what is there is not made again.
Inputs and repairs: where recovery is above 0.5.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch

from recondoor import data, operators
from recondoor.config import load_config
from recondoor.defences import Physics
from recondoor.rundir import sealed_by_itself
from recondoor.studies import build_scene, load_model, stored_trigger

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "defences"))
from benchmark import Case, Row, inputs, models, repairs  # noqa: E402

PARTS: dict[str, Callable[[Case], Iterator[Row]]] = {
    "inputs": inputs,
    "models": models,
    "repairs": repairs,
}
CPU = torch.device("cpu")
images = cache(data.read)


def main() -> None:
    """Make the rows that are missing, seed by seed."""
    torch.set_num_threads(1)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sweep", type=Path)
    options.add_argument("parts", nargs="*", choices=PARTS)
    options.add_argument("--kept", default="networks.json")
    arguments = options.parse_args()
    kept = HERE / arguments.kept
    rows: list[Row] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    done = {(row["part"], row["attack"], row["seed"]) for row in rows}
    for folder in sorted(arguments.sweep.glob("points/*/seed*"), key=lambda path: path.name):
        seed = int(folder.name.removeprefix("seed"))
        if not (folder / "results.json").exists():
            continue
        for result in sealed_by_itself(folder).read_results()["rows"]:
            label = result["model"]
            left = [part for part in PARTS if (part, label, seed) not in done]
            left = [part for part in left if part in (arguments.parts or PARTS)]
            if not left:
                continue
            case = load(folder, label, result["artefact_recovery"], seed)
            for part in left:
                key: Row = {"part": part, "attack": label, "seed": seed}
                key["recovery"] = round(case.recovery, 4)
                rows += [key | row for row in PARTS[part](case)]
                kept.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
            print(label, seed, len(rows), flush=True)


def load(folder: Path, label: str, recovery: float, seed: int) -> Case:
    """One network of a run folder, its world and its trigger."""
    run = sealed_by_itself(folder)
    config = load_config("quick", [folder / "config.toml"])
    scene = build_scene(config, images(config.data), seed, CPU)
    model, _ = load_model(run, config, scene.shape, label, seed, CPU)
    physics = Physics.of(operators.build(scene.shape, config.operator, seed, torch.float64))
    clean = label == "original"
    trigger = scene.trigger if clean else stored_trigger(run, scene, label)
    return Case(label, scene, trigger, scene.artefact, physics, model.eval(), recovery)


if __name__ == "__main__":
    main()
