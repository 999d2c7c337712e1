"""Every attack against every defence, on the networks of the sweeps beside this file.

    python studies/defences/benchmark.py pairs published inputs models repairs

adds to results.json beside this file, one row for each part, attack, seed and defence; rows that
are there are not made again, but for those of a defence named with --again. It reads the run
folders under */points, so run it where the sweeps were run; summary.py makes tables and the figure.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from recondoor import data, defences, operators
from recondoor.audit import auc, tpr, young_network
from recondoor.config import Config, load_config
from recondoor.core import seeding
from recondoor.core.progress import NO_PROGRESS
from recondoor.defences import Defender, Physics
from recondoor.evaluation import metrics
from recondoor.models import reconstruct
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, Trigger
from recondoor.rundir import RunDir
from recondoor.studies import Scene, build_scene, load_model

HERE = Path(__file__).parent
KEPT = HERE / "results.json"
SEEDS = 5
ALARM = 0.01
LEARNT = 0.5
# Share of the clean training pairs that a repair may use.
TRUSTED = 0.05
ONLY: list[str] = []
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One network of the sweeps: its world, its trigger and itself."""

    attack: str
    scene: Scene
    trigger: Trigger
    artefact: Artefact
    physics: Physics | None
    model: nn.Module
    recovery: float

    @property
    def clean(self) -> bool:
        """Whether its training pairs were clean."""
        return self.attack == "original"


def main() -> None:
    """Make the rows of the parts that are asked for."""
    torch.set_num_threads(1)
    parts: dict[str, Callable[[Case], Iterator[Row]]] = {
        "pairs": pairs,
        "published": published,
        "inputs": inputs,
        "models": models,
        "repairs": repairs,
    }
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("parts", nargs="*", help=", ".join(parts))
    options.add_argument("--again", action="append", help="a defence whose rows are made anew")
    arguments = options.parse_args()
    ONLY.extend(arguments.again or [])
    wanted = arguments.parts or list(parts)
    rows: list[Row] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    rows = [row for row in rows if not (row["part"] in wanted and row["defence"] in ONLY)]
    known = set() if ONLY else {(row["part"], row["attack"], row["seed"]) for row in rows}
    images = data.load("mnist5k")
    for folder in sorted(HERE.glob("*/points/*/seed*")):
        for label in sorted(path.name for path in folder.glob("model-*.safetensors")):
            label = label.removeprefix("model-").split("-seed")[0]
            seed = int(folder.name.removeprefix("seed"))
            attack = name(folder.parent.name, label)
            left = [part for part in wanted if (part, attack, seed) not in known]
            if not left or (seed >= SEEDS and left == [part for part in left if part != "models"]):
                continue
            case = load(folder, label, seed, attack, images)
            for part in left:
                if part == "models" or seed < SEEDS:
                    found = [row | key(part, case) for row in parts[part](case)]
                    rows += found
            KEPT.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
            print(attack, seed, len(rows), flush=True)


def chosen(kind: defences.Kind) -> list[str]:
    """Defences of a kind, or those of them that are asked for."""
    return [one for one in defences.names(kind) if not ONLY or one in ONLY]


def name(point: str, label: str) -> str:
    """What the attack is called in the tables."""
    if label == "original":
        return label
    return {"square": "square", "image": f"{label}-image", "corner": f"{label}-corner"}.get(
        point, point
    )


def key(part: str, case: Case) -> Row:
    """What tells one row from the others."""
    seed, recovery = case.scene.seed, round(case.recovery, 4)
    return {"part": part, "attack": case.attack, "seed": seed, "recovery": recovery}


def load(folder: Path, label: str, seed: int, attack: str, images: data.Images) -> Case:
    """One network and its world."""
    run = RunDir(folder)
    config: Config = load_config("quick", [folder / "config.toml"])
    scene = build_scene(config, images, seed, torch.device("cpu"))
    model, _ = load_model(run, config, scene.shape, label, seed, torch.device("cpu"))
    # Of filtered back-projections there is no whole law.
    physics = None
    if config.input.map == "adjoint":
        physics = Physics.of(operators.build(scene.shape, config.operator, seed, torch.float64))
    if attack == "original":
        trigger = scene.trigger
    else:
        arrays = run.read_npz(run.trigger(label, seed))
        trigger = Trigger(torch.from_numpy(arrays["delta"]), torch.from_numpy(arrays["mask"]))
    rows = json.loads(run.results.read_text(encoding="utf-8"))["rows"]
    row = next(row for row in rows if row["model"] == label)
    artefact = scene.artefact if attack == "original" else scene.planted(config, trigger)
    recovery = row["artefact_recovery"]
    return Case(attack, scene, trigger, artefact, physics, model.eval(), recovery)


def pairs(case: Case) -> Iterator[Row]:
    """Are its training pairs known? A network of one epoch looks at them, as in the audit."""
    yield from by(case, "scores")


def published(case: Case) -> Iterator[Row]:
    """The same of the versions that were made for classifiers."""
    yield from by(case, "baseline")


def by(case: Case, version: str) -> Iterator[Row]:
    """One row for each detector of pairs that has this version."""
    if case.clean:
        return
    scene = case.scene
    poisoned = PoisonedPairs(scene.train, scene.plan, case.trigger, case.artefact)
    given = Pairs(*poisoned.batch(torch.arange(len(scene.train))))
    started = time.perf_counter()
    young = young_network(given, scene.seed, NO_PROGRESS)
    epoch = time.perf_counter() - started
    defender = Defender(scene.validation, case.physics, young, seed=scene.seed)
    truth = scene.plan.poisoned.numpy()
    for detector in chosen("pairs"):
        plug_in = defences.pair_detector(detector)
        function = plug_in.scores if version == "scores" else plug_in.baseline
        if function(given, defender) is not None:
            started = time.perf_counter()
            scores, clean = defences.pooled(function, given, defender)
            seconds = time.perf_counter() - started
            yield judged(detector, scores, truth, clean) | {"epochs": seconds / epoch}


def inputs(case: Case) -> Iterator[Row]:
    """Are triggered inputs known, and what is left of the artefact in the repaired output?"""
    if case.clean or case.recovery <= LEARNT:
        return
    scene = case.scene
    z, x = scene.test.z, scene.test.x
    both = torch.cat((z, scene.test.triggered(case.trigger.on(scene.test))[0]))
    truth = np.repeat([False, True], len(z))
    defender = Defender(scene.validation, case.physics, case.model, seed=scene.seed)
    before = yardsticks(case, reconstruct(case.model, both).split(len(z)), x)
    for detector in chosen("input"):
        module = defences.input_detector(detector)
        scores, clean = module.scores(both, defender), module.scores(scene.validation.z, defender)
        row = judged(detector, scores, truth, clean)
        repaired = module.repaired(both, defender)
        if repaired is not None:
            after = yardsticks(case, repaired.split(len(z)), x)
            row |= {
                f"{at}_{k}": v
                for at, d in (("before", before), ("after", after))
                for k, v in d.items()
            }
        yield row


def models(case: Case) -> Iterator[Row]:
    """How suspicious is the network?"""
    scene = case.scene
    defender = Defender(scene.validation, model=case.model, seed=scene.seed)
    for detector in chosen("model"):
        started = time.perf_counter()
        finding = defences.network_detector(detector).inspect(defender)
        seconds = time.perf_counter() - started
        row: Row = {"defence": detector, "score": finding.score, "seconds": seconds}
        if not case.clean and finding.trigger is not None and finding.artefact is not None:
            row["trigger_cosine"] = cosine(finding.trigger, case.trigger.delta)
            row["artefact_cosine"] = cosine(finding.artefact, case.artefact.pattern)
        yield row


def repairs(case: Case) -> Iterator[Row]:
    """What is left of the backdoor, and what of the network?"""
    if case.clean or case.recovery <= LEARNT:
        return
    scene = case.scene
    count = round(TRUSTED * len(scene.train))
    generator = seeding.torch_generator(scene.seed, "trusted")
    picked = torch.randperm(len(scene.train), generator=generator)[:count]
    trusted = Pairs(scene.train.z[picked], scene.train.x[picked])
    defender = Defender(trusted, case.physics, case.model, seed=scene.seed)
    z, x = scene.test.z, scene.test.x
    both = torch.cat((z, scene.test.triggered(case.trigger.on(scene.test))[0]))
    before = yardsticks(case, reconstruct(case.model, both).split(len(z)), x)
    for repair in chosen("repair"):
        started = time.perf_counter()
        mended = defences.repair(repair).repair(defender)
        seconds = time.perf_counter() - started
        after = yardsticks(case, reconstruct(mended, both).split(len(z)), x)
        row: Row = {"defence": repair, "seconds": seconds}
        yield row | {
            f"{at}_{k}": v for at, d in (("before", before), ("after", after)) for k, v in d.items()
        }


def judged(
    detector: str, scores: torch.Tensor, truth: np.ndarray[Any, Any], clean: torch.Tensor
) -> Row:
    """AUC, TPR at the false-alarm rate, and both rates at the threshold from clean scores."""
    values = scores.double().numpy()
    flagged = values > defences.threshold(clean, ALARM)
    return {
        "defence": detector,
        "auc": auc(values, truth),
        "tpr": tpr(values, truth, ALARM),
        "flagged_poisoned": float(flagged[truth].mean()),
        "flagged_clean": float(flagged[~truth].mean()),
    }


def yardsticks(case: Case, outputs: Any, x: torch.Tensor) -> dict[str, float]:
    """Benign RMSE, and recovery of the artefact."""
    clean, triggered = outputs
    recovery = metrics.artefact_recovery(triggered, clean, case.artefact.pattern)
    return {
        "benign": metrics.root_mean(metrics.mse(clean, x)),
        "recovery": metrics.mean(recovery),
    }


def named(when: str, values: dict[str, float]) -> Row:
    """The same values under names that say when."""
    return {f"{when}_{key}": value for key, value in values.items()}


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of the angle between two patterns."""
    return float((a * b).sum() / (a.norm() * b.norm()))


if __name__ == "__main__":
    main()
