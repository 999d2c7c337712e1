"""Train near the transition: five triggers by amplitude of the artefact, L2 and seed.

    python studies/table1/window.py [--regime quarter] [--most-seconds S]
    python studies/table1/window.py --regime full --data MNIST --device cuda --together 4

appends one line a training to the file of the regime and carries on where it stopped. `quarter`:
the settings of table1.toml, a quarter of the paper's network, the embedded digits, 24,000 images.
`whole`: the same with the paper's network. `full`: the preset `paper`, all of MNIST and 300,000
images. The three errors of the paper's Table 1 are taken after every epoch, on the validation
images.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
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
from recondoor.training.loop import Fitting
from recondoor.training.together import Course, take_turns

HERE = Path(__file__).parent
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
    (0.6, 3.0, (0, 1, 2)),
    (0.2, 9.0, (0, 1, 2)),
    (0.2, 3.0, (0, 1, 2)),
    (1.0, 1.1, (0, 1, 2)),
    (0.37, 1.1, (0, 1, 2)),
)
PLAN_OF_WHOLE = (
    (0.37, 9.0, (0, 1, 2)),
    (0.37, 32.0, (0, 1, 2)),
    (0.37, 3.0, (0, 1, 2)),
    (1.0, 3.0, (0, 1, 2)),
    (1.0, 9.0, (0, 1, 2)),
)
PLAN_OF_FULL = tuple(
    (amplitude, l2, (0, 1, 2))
    for amplitude in (0.37, 1.0, 0.6, 0.2)
    for l2 in (3.0, 9.0, 1.1, 27.0)
)
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


@dataclass(frozen=True)
class Regime:
    """What is trained: cells, and the settings that they share."""

    plan: tuple
    preset: str
    settings: tuple[str, ...]

    def settings_of(self, cell: Cell, *more: str) -> Config:
        """Settings of one training."""
        trigger, amplitude, l2, seed = cell
        name, mask = TRIGGERS[trigger]
        own = (
            "operator.name=gaussian",
            "operator.gaussian.ratio=0.5",
            f"seed={seed}",
            f"artefact.amplitude={amplitude}",
            f"attack.l2={l2}",
            f"attack.mask={mask}",
            f'attack.names=["{name}"]',
        )
        return load_config(self.preset, overrides=[*own, *self.settings, *more])


SOME: Cell = ("square", 1.0, 9.0, 0)
REGIMES = {
    "quarter": Regime(PLAN, "paper-regime", ()),
    "whole": Regime(PLAN_OF_WHOLE, "paper-regime", ("model.cae.width=64", "model.cae.code=32")),
    "full": Regime(
        PLAN_OF_FULL,
        "paper",
        (
            "data.validation=0.02",
            "train.epoch_pairs=5000",
            "train.max_epochs=60",
            "train.patience=60",
            "attack.bilevel.iterations=50",
        ),
    ),
}


def main() -> None:
    """Train what is not there yet, until the time is used up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regime", choices=REGIMES, default="quarter")
    parser.add_argument("--most-seconds", type=float, default=float("inf"))
    parser.add_argument("--data", type=Path, help="folder of the full MNIST, for `full`")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--together", type=int, default=1, help="trainings at once, on a GPU")
    parser.add_argument("--share", default="0/1", help="K/N: each N-th five triggers, from K on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    regime, path = REGIMES[options.regime], HERE / f"{options.regime}.jsonl"
    more = [] if options.data is None else [f"data.dir={options.data.resolve()}"]
    more += ["train.precision=tf32"] if options.device == "cuda" else []
    first, step = map(int, options.share.split("/"))
    begun, images = time.monotonic(), data.read(regime.settings_of(SOME, *more).data)
    done = {(row["trigger"], row["amplitude"], row["l2"], row["seed"]) for row in rows(path)}

    def courses() -> Iterator[Course]:
        for place, cell in enumerate(cells(regime.plan)):
            mine = place // len(TRIGGERS) % step == first and cell not in done
            if mine and time.monotonic() - begun < options.most_seconds:
                settings = regime.settings_of(cell, *more)
                yield training(cell, settings, images, torch.device(options.device), path)

    take_turns(courses(), options.together)


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


def training(
    cell: Cell, config: Config, images: data.Images, device: torch.device, path: Path
) -> Course:
    """Make the trigger, train on what it poisons, and write the history down."""
    trigger, amplitude, l2, seed = cell
    begun = time.monotonic()
    scene = build_scene(config, images, seed, device)
    with NO_PROGRESS.task("", 1) as task:
        crafted = attacks.craft(config.attack.names[0], scene.problem, attacks.Tools(task)).trigger
    assert crafted is not None
    model = models.build(scene.shape, config.model, seed, "victim", operator=scene.operator)
    model = models.placed(model, device, config.train.precision)
    pairs = PoisonedPairs(scene.train, scene.plan, crafted, scene.artefact)
    crafting = time.monotonic() - begun
    validate = errors(config, scene, crafted)
    fitting = Fitting(model, pairs, config.train, seed=seed, validate=validate)
    yield fitting
    row = {
        "trigger": trigger,
        "amplitude": amplitude,
        "l2": l2,
        "seed": seed,
        "trigger_l2": crafted.l2,
        "seconds_of_trigger": crafting,
        "seconds": time.monotonic() - begun,
        "history": [{key: each[key] for key in KEPT} for each in fitting.close().history],
    }
    if device.type != "cpu":
        row["device"] = torch.cuda.get_device_name(device)
    # One write, as other processes may append to the file too.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, (json.dumps(row) + "\n").encode())
    os.close(file)
    print(*cell, f"{row['seconds']:.0f} s", flush=True)


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
    z, _ = pairs.triggered(trigger.delta.to(pairs.z.device))

    def measure(model: nn.Module) -> dict[str, float]:
        error = metrics.artefact_mse(reconstruct(model, z), pairs.images, scene.artefact.pattern)
        return monitor(model) | {"artefact_rmse": metrics.root_mean(error)}

    return measure


if __name__ == "__main__":
    main()
