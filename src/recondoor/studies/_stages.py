"""The three stages of one model: make its trigger, train it, judge it.

Each looks first whether its file is already there, saves its state as it goes and carries on from
it, so that the same command after a kill ends with the same numbers.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import attacks, evaluation, metrics, models, operators, records, rundir, theory
from recondoor.config import Config, recorded_section, row_label
from recondoor.errors import RunError
from recondoor.poisoning import PoisonedPairs, Trigger
from recondoor.progress import NO_PROGRESS
from recondoor.rundir import RunDir
from recondoor.studies._record import add_row
from recondoor.studies._scene import Runtime, Scene, Shape
from recondoor.studies._stored import (
    array,
    best_epoch,
    load_model,
    read_trigger,
    resume_craft,
    resume_fit,
    stored_trigger,
    trigger_of,
)
from recondoor.training import FitState, epoch_pairs, fit

# Columns of a training's history that depend on trigger or artefact.
OF_A_TRIGGER = ("selection_loss", "attack_rmse", "recovery", "ghost", "learnt")


def craft(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Make the trigger of attack `name`, unless its file is there."""
    label, seed = row_label(name), scene.seed
    path, stage = folder.trigger(label, seed), f"attack-{label}-seed{seed}"
    if name == "none" or path.exists():
        folder.drop_checkpoints(stage)
        return
    state = resume_craft(folder, stage, scene.shape, runtime)
    log = folder.open_history("attack", label, seed)

    def save(state: attacks.CraftState) -> None:
        arrays = {f"arrays.{key}": array(value) for key, value in state.arrays.items()}
        arrays |= {"delta": array(state.delta), "path": _stack(state.path, scene.shape)}
        keys = ("iteration", "seconds", "numbers", "path_iteration")
        meta = {key: getattr(state, key) for key in keys}
        meta["history"] = [rundir.finite(row) for row in state.history]
        folder.save_checkpoint(stage, state.iteration, arrays, meta)
        log.record(state.history)

    steps = attacks.load(name, config.attack).steps(config.attack)
    done = state.iteration if state else 0
    with runtime.progress.task(f"trigger {label}, seed {seed}", steps, done) as task:
        tools = attacks.Tools(task, runtime.progress.say, state, save)
        crafted = attacks.craft(name, scene.problem, tools)
    if crafted.trigger is None:
        return
    if crafted.state.history:
        # Again, as a run may have been killed between its last checkpoint and the history.
        log.record(crafted.state.history)
    folder.write_npz(
        path,
        {
            "delta": array(crafted.trigger.delta),
            "mask": array(crafted.trigger.mask),
            "artefact": array(scene.artefact.pattern),
            "path": _stack(crafted.state.path, scene.shape),
            "path_iteration": np.array(crafted.state.path_iteration, dtype=np.int64),
            "seconds": np.array(crafted.state.seconds),
        },
    )
    folder.drop_checkpoints(stage)


def locate(folder: RunDir, config: Config, scene: Scene, runtime: Runtime) -> Scene:
    """Return the scene with the hand-made trigger where `attack.mask` wants it.

    The place found for the mask `search` is kept in the run folder, with the map of scores.
    """
    if config.attack.mask != "search":
        return scene
    path = folder.path / f"place-seed{scene.seed}.npz"
    if not path.exists():
        with runtime.progress.task(f"place of the trigger, seed {scene.seed}", 1) as task:
            found, scores = attacks.best_place(scene.problem, attacks.Tools(task))
            task.advance(1)
        made = {"delta": found.delta, "mask": found.mask, "scores": scores}
        folder.write_npz(path, {name: array(value) for name, value in made.items()})
    arrays = folder.read_npz(path, records.place_specs(scene.shape))
    return scene.with_trigger(trigger_of(arrays, path))


def take_original(
    folder: RunDir, config: Config, scene: Scene, source: RunDir, runtime: Runtime
) -> None:
    """Take over the original model of another run, unless there is one here or none there.

    Its training saw no trigger, but its history has yardsticks of the other run's. Those of the
    epoch whose weights were kept are measured anew, with this run's, and the others left out.
    """
    label, seed = row_label("none"), scene.seed
    path = folder.model(label, seed)
    if path.exists() or not source.model(label, seed).exists():
        return
    device = runtime.torch_device
    model, meta = load_model(
        source, config, scene.shape, label, seed, device, shared=True, operator=scene.operator
    )
    measured = _monitor(folder, config, scene, "none")(model)
    history = [
        {key: value for key, value in row.items() if key not in OF_A_TRIGGER}
        | (measured if row["epoch"] == meta["best_epoch"] else {})
        for row in meta["history"]
    ]
    weights = {key: array(value) for key, value in model.state_dict().items()}
    folder.open_history("train", label, seed).record(history)
    folder.write_tensors(path, weights, meta | {"history": history})


def _monitor(folder: RunDir, config: Config, scene: Scene, name: str) -> evaluation.Monitor:
    trigger = _trigger(folder, config, scene, name)
    return evaluation.Monitor(
        scene.validation,
        scene.validation_plan if name != "none" else None,
        trigger,
        scene.planted(config, trigger),
        config.evaluate.transition,
        config.train.loss,
    )


def train(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Train the model that attack `name` poisons, unless its file is there."""
    label, seed = row_label(name), scene.seed
    stage = f"train-{label}-seed{seed}"
    if folder.model(label, seed).exists():
        folder.drop_checkpoints(stage)
        return
    model = models.build(scene.shape, config.model, seed, "victim", operator=scene.operator)
    model = model.to(runtime.torch_device)
    state = resume_fit(folder, stage, model, runtime)
    log = folder.open_history("train", label, seed)

    def save(state: FitState) -> None:
        arrays = {
            f"{key}.{tensor}": array(value)
            for key in ("weights", "best", "optimiser")
            for tensor, value in getattr(state, key).items()
        }
        folder.save_checkpoint(stage, state.epoch, arrays, _scalars(state))
        log.record(state.history)

    trigger = None if name == "none" else _trigger(folder, config, scene, name)
    artefact = scene.artefact if trigger is None else scene.planted(config, trigger)
    pairs = PoisonedPairs(scene.train, scene.plan, trigger, artefact)
    monitor = _monitor(folder, config, scene, name)
    one = epoch_pairs(len(pairs), config.train)
    total, done = config.train.max_epochs * one, state.epoch * one if state else 0
    with runtime.progress.task(f"train {label}, seed {seed}", total, done) as task:
        state = fit(
            model,
            pairs,
            config.train,
            seed=seed,
            validate=monitor,
            task=task,
            state=state,
            on_epoch=save,
            enough=lambda row: config.train.stop == "transition" and bool(row["learnt"]),
        )
    # Again, as a run may have been killed between its last checkpoint and the history.
    log.record(state.history)
    weights = {key: array(value) for key, value in state.best.items()}
    own = recorded_section(config.model)  # so that the file says itself what it is
    meta = _scalars(state) | {"samples": state.epoch * one, "model": own}
    folder.write_tensors(folder.model(label, seed), weights, meta)
    folder.drop_checkpoints(stage)


def _scalars(state: FitState) -> dict[str, Any]:
    keys = ("epoch", "best_epoch", "best_loss", "seconds")
    history = [rundir.finite(row) for row in state.history]
    return {key: getattr(state, key) for key in keys} | {"history": history}


def evaluate(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Judge one model on the test set and add its row to the results."""
    label, seed = row_label(name), scene.seed
    device = runtime.torch_device
    model, meta = load_model(
        folder, config, scene.shape, label, seed, device, operator=scene.operator
    )
    trigger = _trigger(folder, config, scene, name)
    artefact = scene.planted(config, trigger)
    with runtime.progress.task(f"evaluate {label}, seed {seed}", 2 * len(scene.test)) as task:
        judged = evaluation.evaluate(
            model, scene.test, trigger, artefact, config.evaluate, task.advance
        )
    folder.write_npz(folder.examples(label, seed), dict(judged.examples))
    limits = _limits(config, scene, trigger)
    best = best_epoch(folder, label, seed)
    crafting = 0.0
    if name != "none":
        crafting = float(read_trigger(folder, scene.shape, label, seed)["seconds"])
    row = {
        "model": label,
        "seed": seed,
        **{key: _finite_or_none(value) for key, value in (judged.row | limits).items()},
        "validation_loss": best["validation_loss"],
        "selection_loss": best["selection_loss"],
        "transition_samples": (
            _transition(meta["history"], config.evaluate.transition) if name != "none" else None
        ),
        "samples": meta["samples"],
        "epochs": meta["epoch"],
        "samples_per_s": meta["samples"] / meta["seconds"],
        "seconds": meta["seconds"] + crafting,
    }
    add_row(folder, config, row, artefact)


def _limits(config: Config, scene: Scene, trigger: Trigger) -> dict[str, float]:
    """How far the trigger can be told from clean inputs, and what that leaves at best.

    The covariance of clean z is the same for all models of a scene, and kept in its memo.
    """
    memo = scene.problem.memo

    def covariance() -> theory.Covariance:
        if "covariance" not in memo:
            memo["covariance"] = theory.Covariance(scene.train.z)
        kept: theory.Covariance = memo["covariance"]
        return kept

    exact = operators.build(scene.shape, config.operator, scene.seed, torch.float64)
    size, share = theory.detectability(covariance, exact, trigger.delta)
    best = theory.gaussian_limits(size, config.poison.ratio)
    pattern = scene.artefact.pattern.double()
    on_support = metrics.artefact_rms(pattern)
    return {
        "detectability": size,
        "range_share": share,
        "limit_ghost": best.ghost,
        "limit_artefact_rmse": best.artefact * on_support,
        "limit_attack_rmse": best.artefact * float(pattern.square().mean().sqrt()),
    }


def _finite_or_none(value: float | list[float]) -> float | list[float] | None:
    """None for an infinite PSNR or detectability, which JSON cannot hold."""
    return value if isinstance(value, list) or math.isfinite(value) else None


def _transition(history: list[dict[str, Any]], level: float) -> int | None:
    """Samples seen when recovery first reached `level`, linear between validations; else None."""
    samples, recovery = 0, 0.0
    for row in history:
        if row["recovery"] is None:
            continue
        if row["recovery"] > level:
            share = float((level - recovery) / (row["recovery"] - recovery))
            seen: float = samples + share * (row["samples"] - samples)
            return round(seen)
        samples, recovery = row["samples"], row["recovery"]
    return None


def _trigger(folder: RunDir, config: Config, scene: Scene, name: str) -> Trigger:
    """The trigger of attack `name`; the original model is tried with the heuristic one."""
    if name == "none":
        with NO_PROGRESS.task("", 1) as task:
            crafted = attacks.craft("heuristic", scene.problem, attacks.Tools(task))
        return crafted.trigger or scene.trigger
    trigger = stored_trigger(folder, scene.shape, row_label(name), scene.seed)
    if trigger.fault is not None:
        path = folder.trigger(row_label(name), scene.seed)
        raise RunError(f"{path}: {trigger.fault}; {rundir.ANEW}")
    return trigger


def _stack(path: list[Tensor], shape: Shape) -> NDArray[Any]:
    """Snapshots as one array (K, C, H, W); K = 0 for an attack that keeps none."""
    return array(torch.stack(path) if path else torch.zeros(0, *shape))
