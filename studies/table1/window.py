"""Train near the transition: five triggers by amplitude of the artefact, L2 and seed.

    python studies/table1/window.py [--whole] [--most-seconds S]

appends one line a training to window.jsonl and carries on where it stopped. The settings are those
of table1.toml: a quarter of the paper's network, the embedded digits, 24,000 images. With `--whole`
it is the paper's network, and whole.jsonl. The three errors of the paper's Table 1 are taken after
every epoch, on the validation images.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from recondoor import attacks, data, models
from recondoor.config import Config, load_config
from recondoor.core.progress import NO_PROGRESS
from recondoor.evaluation import judge, metrics
from recondoor.models import reconstruct
from recondoor.poisoning import PoisonedPairs, Trigger
from recondoor.studies import Scene, build_scene
from recondoor.training.loop import fit

HERE = Path(__file__).parent
QUARTER, WHOLE = HERE / "window.jsonl", HERE / "whole.jsonl"
# What is told apart: the attack and the pixels that it may use.
TRIGGERS = {
    "square": ("heuristic", "trigger"),
    "blo-corner": ("bilevel", "trigger"),
    "blo-free": ("bilevel", "image"),
    "tangent-free": ("tangent", "image"),
    "random-free": ("random", "image"),
}
# Amplitude of the artefact, L2 of the trigger and seeds, the most wanted first.
PLAN = (
    (0.37, 9.0, (1, 2)),
    (1.0, 9.0, (0, 1, 2)),
    (0.37, 32.0, (1, 2)),
    (0.37, 9.0, (0,)),
    (0.37, 3.0, (1, 2)),
    (0.6, 9.0, (0, 1, 2)),
    (1.0, 4.5, (0, 1, 2)),
    (0.37, 32.0, (0,)),
    (0.37, 3.0, (0,)),
    (0.2, 32.0, (0, 1, 2)),
    (0.6, 32.0, (0, 1, 2)),
    (1.0, 3.0, (0, 1, 2)),
    (1.0, 32.0, (0, 1, 2)),
)
PLAN_OF_WHOLE = ((0.37, 9.0, (0, 1, 2)), (0.37, 32.0, (0, 1, 2)))
KEPT = (
    "epoch",
    "samples",
    "train_loss",
    "benign_rmse",
    "attack_rmse",
    "artefact_rmse",
    "recovery",
    "ghost",
)
Cell = tuple[str, float, float, int]
"""Trigger, amplitude, L2 and seed."""


def main() -> None:
    """Train what is not there yet, until the time is used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most-seconds", type=float, default=float("inf"))
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan, path, more = PLAN, QUARTER, []
    if options.whole:
        plan, path, more = PLAN_OF_WHOLE, WHOLE, ["model.cae.width=64", "model.cae.code=32"]
    begun, images = time.monotonic(), data.read(settings(("square", 1.0, 9.0, 0), more).data)
    done = {(row["trigger"], row["amplitude"], row["l2"], row["seed"]) for row in rows(path)}
    for cell in cells(plan):
        if cell not in done and time.monotonic() - begun < options.most_seconds:
            row = trained(cell, settings(cell, more), images)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(*cell, f"{row['seconds']:.0f} s", flush=True)


def rows(path: Path) -> list[dict]:
    """Trainings that are finished."""
    return (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    )


def cells(plan: tuple) -> Iterator[Cell]:
    """Every training of a plan, in order."""
    for amplitude, l2, seeds in plan:
        for seed in seeds:
            for trigger in TRIGGERS:
                yield trigger, amplitude, l2, seed


def settings(cell: Cell, more: list[str]) -> Config:
    """Settings of a training: the base of table1.toml with one trigger, and `more`."""
    trigger, amplitude, l2, seed = cell
    name, mask = TRIGGERS[trigger]
    return load_config(
        "paper-regime",
        overrides=[
            "operator.name=gaussian",
            "operator.gaussian.ratio=0.5",
            f"seed={seed}",
            f"artefact.amplitude={amplitude}",
            f"attack.l2={l2}",
            f"attack.mask={mask}",
            f'attack.names=["{name}"]',
            *more,
        ],
    )


def trained(cell: Cell, config: Config, images: data.Images) -> dict:
    """Make the trigger, train on what it poisons, and return the history."""
    trigger, amplitude, l2, seed = cell
    begun = time.monotonic()
    scene = build_scene(config, images, seed, torch.device("cpu"))
    with NO_PROGRESS.task("", 1) as task:
        crafted = attacks.craft(config.attack.names[0], scene.problem, attacks.Tools(task)).trigger
    assert crafted is not None
    model = models.build(scene.shape, config.model, seed, "victim", operator=scene.operator)
    pairs = PoisonedPairs(scene.train, scene.plan, crafted, scene.artefact)
    crafting = time.monotonic() - begun
    state = fit(model, pairs, config.train, seed=seed, validate=errors(config, scene, crafted))
    history = [{key: row[key] for key in KEPT} for row in state.history]
    return {
        "trigger": trigger,
        "amplitude": amplitude,
        "l2": l2,
        "seed": seed,
        "trigger_l2": crafted.l2,
        "seconds_of_trigger": crafting,
        "seconds": time.monotonic() - begun,
        "history": history,
    }


def errors(config: Config, scene: Scene, trigger: Trigger):
    """What the study's own monitor says after an epoch, and the error on the artefact's pixels."""
    monitor = judge.Monitor(
        scene.validation,
        scene.validation_plan,
        trigger,
        scene.artefact,
        config.evaluate.transition,
        config.train.loss,
    )
    pairs = scene.validation
    z, _ = pairs.triggered(trigger.delta)

    def measure(model: nn.Module) -> dict[str, float]:
        error = metrics.artefact_mse(reconstruct(model, z), pairs.images, scene.artefact.pattern)
        return monitor(model) | {"artefact_rmse": metrics.root_mean(error)}

    return measure


if __name__ == "__main__":
    main()
