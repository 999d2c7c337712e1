"""The three stages of one model: make its trigger, train it, judge it.

Each looks first whether its file is already there, saves its state as it goes and carries on from
it, so that the same command after a kill ends with the same numbers.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import attacks, models, records, rundir, theory
from recondoor.config import recorded_section, row_label
from recondoor.core.errors import RunError
from recondoor.core.progress import NO_PROGRESS
from recondoor.core.words import plural
from recondoor.evaluation import judge, metrics, yardsticks
from recondoor.poisoning import PoisonPlan, Trigger
from recondoor.rundir import RunDir
from recondoor.studies._job import Job
from recondoor.studies._record import add_row
from recondoor.studies._scene import Scene
from recondoor.studies._stored import (
    array,
    best_epoch,
    read_trigger,
    resume_craft,
    resume_fit,
    stored_trigger,
    trigger_of,
)
from recondoor.studies._world import Shape
from recondoor.training.loop import FitState, Fitting, epoch_pairs
from recondoor.training.together import Course

# Columns of a training's history that depend on trigger or artefact.
OF_A_TRIGGER = ("selection_loss", "attack_rmse", "recovery", "ghost", "learnt")


def craft(job: Job, name: str) -> None:
    """Make the trigger of attack `name`, unless its file is there."""
    label, seed = row_label(name), job.scene.seed
    path, stage = job.folder.trigger(label, seed), f"attack-{label}-seed{seed}"
    if name == "none" or path.exists():
        job.folder.drop_checkpoints(stage)
        return
    state = resume_craft(job.folder, stage, job.scene.trigger_shape, job.runtime)
    log = job.folder.open_history("attack", label, seed)

    def save(state: attacks.CraftState) -> None:
        arrays = {f"arrays.{key}": array(value) for key, value in state.arrays.items()}
        arrays |= {"delta": array(state.delta), "path": _stack(state.path, job.scene.trigger_shape)}
        keys = ("iteration", "seconds", "numbers", "path_iteration")
        meta = {key: getattr(state, key) for key in keys}
        meta["history"] = [rundir.finite(row) for row in state.history]
        job.folder.save_checkpoint(stage, state.iteration, arrays, meta)
        log.record(state.history)

    steps = attacks.load(name, job.config.attack).steps(job.config.attack)
    done = state.iteration if state else 0
    with job.runtime.progress.task(f"trigger {label}, seed {seed}", steps, done) as task:
        tools = attacks.Tools(task, job.runtime.progress.say, state, save, job.kept)
        crafted = attacks.craft(name, _problem(job, name), tools)
    if crafted.trigger is None:
        return
    if crafted.state.history:
        # Again, as a run may have been killed between its last checkpoint and the history.
        log.record(crafted.state.history)
    job.folder.write_npz(
        path,
        {
            "delta": array(crafted.trigger.delta),
            "mask": array(crafted.trigger.mask),
            "artefact": array(job.scene.problem.artefact.pattern),
            **_seen(job.scene, crafted.trigger),
            **{records.LAW + name: array(value) for name, value in crafted.arrays.items()},
            "path": _stack(crafted.state.path, job.scene.trigger_shape),
            "path_iteration": np.array(crafted.state.path_iteration, dtype=np.int64),
            "seconds": np.array(crafted.state.seconds),
        },
    )
    job.folder.drop_checkpoints(stage)


def _seen(scene: Scene, trigger: Trigger) -> dict[str, NDArray[Any]]:
    """What the trigger adds to z on average, where it enters before z is made."""
    return {"shift": array(trigger.shift(scene.train))} if scene.train.enters else {}


def choose(job: Job) -> Scene:
    """Return the scene with the training pairs poisoned that `poison.choice` wants.

    Pairs that are not drawn are looked for once, and then stand in the run folder's plan.
    """
    scene, config = job.scene, job.config
    if config.poison.choice == "random":
        return scene
    path, expected = job.folder.plan(scene.seed), int(scene.plan.poisoned.sum())
    if path.exists():
        specs = records.plan_specs(len(scene.train), len(scene.validation))
        plan = PoisonPlan(torch.from_numpy(job.folder.read_npz(path, specs)["train"]))
        if (found := int(plan.poisoned.sum())) != expected:
            raise RunError(
                f"{path}: poisons {plural(found, 'pair')}, this run {expected}; {rundir.ANEW}"
            )
        return replace(scene, plan=plan)
    with job.runtime.progress.task(f"choice of pairs, seed {scene.seed}", 1) as task:
        scores = attacks.alignment(scene.problem, attacks.Tools(task, kept=job.kept))
        task.advance(1)
    return replace(scene, plan=PoisonPlan.highest(scores, config.poison.ratio))


def locate(job: Job) -> Scene:
    """Return the scene with the hand-made trigger where `attack.mask` wants it."""
    if job.config.attack.mask != "search":
        return job.scene
    return job.scene.with_trigger(_best_place(job))


def _problem(job: Job, name: str) -> attacks.Problem:
    """What the attack `name` is told, at a mask of its own if it has one."""
    usual, settings = job.scene.problem, job.config.attack.at(name)
    if settings.mask == job.config.attack.mask:
        return usual
    trigger = _best_place(job) if settings.mask == "search" else job.hand_made
    return replace(usual, settings=settings, trigger=trigger)


def _best_place(job: Job) -> Trigger:
    """The hand-made trigger where it is learnt fastest.

    The place is kept in the run folder, with the map of scores.
    """
    seed = job.scene.seed
    path = job.folder.path / f"place-seed{seed}.npz"
    if not path.exists():
        with job.runtime.progress.task(f"place of the trigger, seed {seed}", 1) as task:
            tools = attacks.Tools(task, kept=job.kept)
            problem = replace(job.scene.problem, trigger=job.hand_made)
            found, scores = attacks.best_place(problem, tools)
            task.advance(1)
        made = {"delta": found.delta, "mask": found.mask, "scores": scores}
        job.folder.write_npz(path, {name: array(value) for name, value in made.items()})
    arrays = job.folder.read_npz(path, records.place_specs(job.scene.trigger_shape))
    return trigger_of(arrays, path)


def take_original(job: Job, source: RunDir) -> None:
    """Take over the original model of another run, unless there is one here or none there.

    Its training saw no trigger, but its history has yardsticks of the other run's. Those of the
    epoch whose weights were kept are measured anew, with this run's, and the others left out.
    """
    label, seed = row_label("none"), job.scene.seed
    path = job.folder.model(label, seed)
    if path.exists() or not source.model(label, seed).exists():
        return
    model, meta = job.load_model(label, source, shared=True)
    measured = _monitor(job, "none")(model)
    history = [
        {key: value for key, value in row.items() if key not in OF_A_TRIGGER}
        | (measured if row["epoch"] == meta["best_epoch"] else {})
        for row in meta["history"]
    ]
    weights = {key: array(value) for key, value in model.state_dict().items()}
    job.folder.open_history("train", label, seed).record(history)
    job.folder.write_tensors(path, weights, meta | {"history": history})


def _monitor(job: Job, name: str) -> judge.Monitor:
    trigger = _trigger(job, name)
    return judge.Monitor(
        job.scene.validation,
        job.scene.validation_plan if name != "none" else None,
        trigger,
        job.scene.planted(job.config, trigger),
        job.config.evaluate.transition,
        job.config.train.loss,
        job.config.poison.changes,
    )


def train(job: Job, name: str) -> Course:
    """Train the model that attack `name` poisons, unless its file is there.

    The training is handed out, for the caller to bring to its end.
    """
    label, seed = row_label(name), job.scene.seed
    stage = f"train-{label}-seed{seed}"
    if job.folder.model(label, seed).exists():
        job.folder.drop_checkpoints(stage)
        return
    precision = job.config.train.precision
    model = models.placed(job.build_model("victim"), job.runtime.torch_device, precision)
    state = resume_fit(job.folder, stage, model, job.runtime)
    log = job.folder.open_history("train", label, seed)

    def save(state: FitState) -> None:
        arrays = {
            f"{key}.{tensor}": array(value)
            for key in ("weights", "best", "optimiser")
            for tensor, value in getattr(state, key).items()
        }
        job.folder.save_checkpoint(stage, state.epoch, arrays, _scalars(state))
        log.record(state.history)

    trigger = None if name == "none" else _trigger(job, name)
    pairs = job.scene.poisoned(job.config, trigger)
    monitor = _monitor(job, name)
    one = epoch_pairs(len(pairs), job.config.train)
    total, done = job.config.train.max_epochs * one, state.epoch * one if state else 0
    with job.runtime.progress.task(f"train {label}, seed {seed}", total, done) as task:
        fitting = Fitting(
            model,
            pairs,
            job.config.train,
            seed=seed,
            validate=monitor,
            task=task,
            state=state,
            on_epoch=save,
            enough=lambda row: job.config.train.stop == "transition" and bool(row["learnt"]),
        )
        if not fitting.finished:
            yield fitting
    state = fitting.close()
    # Again, as a run may have been killed between its last checkpoint and the history.
    log.record(state.history)
    weights = {key: array(value) for key, value in state.best.items()}
    own = recorded_section(job.config.model)  # so that the file says itself what it is
    meta = _scalars(state) | {"samples": state.epoch * one, "model": own}
    job.folder.write_tensors(job.folder.model(label, seed), weights, meta)
    job.folder.drop_checkpoints(stage)


def _scalars(state: FitState) -> dict[str, Any]:
    keys = ("epoch", "best_epoch", "best_loss", "seconds")
    history = [rundir.finite(row) for row in state.history]
    return {key: getattr(state, key) for key in keys} | {"history": history}


def evaluate(job: Job, name: str) -> None:
    """Judge one model on the test set and add its row to the results."""
    label, seed = row_label(name), job.scene.seed
    model, meta = job.load_model(label, job.folder)
    trigger = _trigger(job, name)
    artefact = job.scene.planted(job.config, trigger)
    with job.runtime.progress.task(
        f"evaluate {label}, seed {seed}", 2 * len(job.scene.test)
    ) as task:
        judged = judge.evaluate(
            model,
            job.scene.test,
            trigger,
            artefact,
            job.config.evaluate,
            task.advance,
            volumes=job.scene.world.test_volumes,
        )
    job.folder.write_npz(job.folder.examples(label, seed), dict(judged.examples))
    limits = _limits(job, trigger)
    best = best_epoch(job.folder, label, seed)
    crafting = 0.0
    if name != "none":
        crafting = float(read_trigger(job.folder, job.scene, label)["seconds"])
    row = {
        "model": label,
        "seed": seed,
        **{key: _finite_or_none(value) for key, value in (judged.row | limits).items()},
        "validation_loss": best["validation_loss"],
        "selection_loss": best["selection_loss"],
        "transition_samples": (
            _transition(meta["history"], job.config.evaluate.transition) if name != "none" else None
        ),
        "samples": meta["samples"],
        "epochs": meta["epoch"],
        "samples_per_s": meta["samples"] / meta["seconds"],
        "seconds": meta["seconds"] + crafting,
    }
    add_row(job.folder, job.config, row, artefact)


def _limits(job: Job, trigger: Trigger) -> dict[str, float]:
    """How far the trigger can be told from clean inputs, and what that leaves at best.

    Nothing of a trigger that differs from input to input: both are known of one pattern for all.
    """
    if trigger.law is not None:
        return {}
    scene, shift = job.scene, job.scene.train.shift(trigger.delta)
    exact = scene.world.range_of
    size, share = theory.detectability(lambda: job.covariance, exact, shift)
    best = theory.gaussian_limits(size, job.config.poison.ratio)
    pattern = scene.artefact.on(scene.test.images.cpu()).double()
    on_support = metrics.artefact_rms(pattern)
    return {
        "detectability": size,
        "limit_ghost": best.ghost,
        "limit_artefact_rmse": best.artefact * on_support,
        "limit_attack_rmse": best.artefact * float(pattern.square().mean().sqrt()),
    } | ({} if exact is None else {"range_share": share})


def _finite_or_none(value: yardsticks.Measured) -> yardsticks.Measured:
    """None for an infinite PSNR or detectability, which JSON cannot hold."""
    return value if value is None or isinstance(value, list) or math.isfinite(value) else None


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


def _trigger(job: Job, name: str) -> Trigger:
    """The trigger of attack `name`; the original model is tried with the heuristic one."""
    if name == "none":
        with NO_PROGRESS.task("", 1) as task:
            crafted = attacks.craft("heuristic", job.scene.problem, attacks.Tools(task))
        return crafted.trigger or job.scene.trigger
    trigger = stored_trigger(job.folder, job.scene, row_label(name))
    if trigger.fault is not None:
        path = job.folder.trigger(row_label(name), job.scene.seed)
        raise RunError(f"{path}: {trigger.fault}; {rundir.ANEW}")
    return trigger


def _stack(path: list[Tensor], shape: Shape) -> NDArray[Any]:
    """Snapshots as one array (K, C, H, W); K = 0 for an attack that keeps none."""
    return array(torch.stack(path) if path else torch.zeros(0, *shape))
