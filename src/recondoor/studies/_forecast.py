"""Predict what a study would find, without training its networks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recondoor import attacks, data, models, rundir, theory
from recondoor.config import Config, checked, row_label
from recondoor.core import caller
from recondoor.core.errors import ConfigError
from recondoor.evaluation import metrics
from recondoor.poisoning import Trigger
from recondoor.records import Seal
from recondoor.rundir import RunDir
from recondoor.studies._own_code import faults_told, require_trainable
from recondoor.studies._scene import (
    Runtime,
    Scene,
    build_scene,
    digest_of_patterns,
    require_poison,
    require_range,
    without_dropout,
)
from recondoor.studies._stored import stored_trigger
from recondoor.training.loop import epoch_pairs

FITTED_ON = "cae"
"""The network of the runs that the constants of `theory` were fitted on."""

AMPLITUDE, NEAR = 1.0, 0.1
"""The artefact's root mean square there, and by what share another may differ."""


def plan_of(config: Config, scene: Scene, constants: theory.Constants | None = None) -> theory.Plan:
    """What the theory needs to know of a training on `scene`."""
    network = without_dropout(config.model)
    return theory.Plan(
        pairs=scene.train,
        artefact=scene.problem.artefact,
        operator=scene.world.range_of,
        build=lambda stream: models.build(
            scene.shape, network, scene.seed, stream, operator=scene.operator
        ),
        ratio=config.poison.ratio,
        batch=config.train.batch,
        lr=config.train.lr,
        budget=config.train.max_epochs * epoch_pairs(len(scene.train), config.train),
        seed=scene.seed,
        transition=config.evaluate.transition,
        constants=constants,
        doubt=None if constants else _doubt(config, metrics.artefact_rms(scene.artefact.pattern)),
    )


def _doubt(config: Config, rms: float) -> str | None:
    """A sentence where the constants that ship are those of other trainings.

    `rms` is the artefact's, on its support: a fainter one is learnt later than they say.
    """
    told = [
        f"{key}={value}"
        for key, value, fitted in (
            ("model.name", config.model.name, FITTED_ON),
            ("train.loss", config.train.loss, "mse"),
            ("artefact.target", config.artefact.target, "pattern"),
            ("poison.choice", config.poison.choice, "random"),
        )
        if value != fitted
    ]
    if abs(rms / AMPLITUDE - 1) > NEAR:
        told.append(f"an artefact of root mean square {rms:.2g}")
    if not told:
        return None
    return (
        f"probability and images are not calibrated for {' and '.join(told)}: the constants were "
        f"fitted on {FITTED_ON} trained with mse alone, on pairs poisoned at random, and an "
        f"artefact of {AMPLITUDE:g}"
    )


@caller.afresh()
def predict(
    config: Config, out: Path, runtime: Runtime | None = None, images: data.Images | None = None
) -> dict[str, theory.Prediction]:
    """Return a prediction for each attack of `config`, at its first seed.

    Triggers are taken from the run folder `out` if they are there; those of attacks that train
    nothing are made on the spot; the others are left out, with a note. Raises ConfigError if that
    leaves none.
    """
    config = rundir.as_spelled(out, checked(config))
    runtime = runtime or Runtime()
    with faults_told(config):
        return _predicted(config, out, runtime, images)


def _predicted(
    config: Config, out: Path, runtime: Runtime, images: data.Images | None
) -> dict[str, theory.Prediction]:
    images = images or data.read(config.data, runtime.progress)
    scene = build_scene(config, images, config.seed, runtime.torch_device)
    require_poison(config, len(scene.train), len(scene.validation))
    require_range(config, scene)
    require_trainable(config, scene)
    seal = Seal.of(config, images.fingerprint, digest_of_patterns(config, images))
    triggers = dict(_triggers(RunDir(out, seal), config, scene, runtime))
    if not triggers:
        raise ConfigError(
            "attack.names: no trigger to predict; name one that is found without training, as in "
            "--attack heuristic, or run `recondoor attack` with the same options first"
        )
    plan = plan_of(config, scene)
    with runtime.progress.task("predict", len(triggers)) as task:
        found = {}
        for name, trigger in triggers.items():
            found[row_label(name)] = theory.predict(plan, trigger)
            task.advance(1, name)
    return found


def _triggers(
    folder: RunDir, config: Config, scene: Scene, runtime: Runtime
) -> Iterator[tuple[str, Trigger]]:
    for name in config.attack.names:
        path, attack = folder.trigger(row_label(name), scene.seed), attacks.load(name)
        problem = replace(scene.problem, settings=config.attack.at(name))
        searched = problem.settings.mask == "search"
        if attack.differs:
            runtime.progress.say(
                f"{name}: left out, as a prediction is of one pattern for all inputs, and its "
                "trigger differs from input to input"
            )
        elif path.exists():
            yield name, stored_trigger(folder, scene, row_label(name))
        elif attack.poisons and (attack.trains or searched):
            what = "trigger has to be learned" if attack.trains else "place has to be searched"
            runtime.progress.say(
                f"{name}: its {what} first; run `recondoor attack` with the same options"
            )
        elif attack.poisons:
            with runtime.progress.task(f"trigger {name}", 1) as task:
                crafted = attacks.craft(name, problem, attacks.Tools(task))
            if crafted.trigger is not None:
                yield name, crafted.trigger
