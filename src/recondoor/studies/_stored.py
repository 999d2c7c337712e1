"""What a run folder holds, as networks, triggers and states; checked to be the run's own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recondoor import attacks, models, operators, records, rundir
from recondoor.config import Config, row_label
from recondoor.core.errors import ConfigError, RunError
from recondoor.poisoning import Trigger
from recondoor.rundir import ANEW, Arrays, RunDir
from recondoor.studies._scene import Runtime, Scene
from recondoor.studies._world import Shape
from recondoor.training.loop import FitState


def load_model(
    folder: RunDir,
    config: Config,
    shape: Shape,
    label: str,
    seed: int,
    device: torch.device,
    *,
    shared: bool = False,
    operator: operators.LinearOperator | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a trained network of a run folder and its metadata; RunError if there is none.

    `shared`: the folder may be that of another run that has the same original model. `operator`:
    that of the settings and the seed, which is built unless given.
    """
    arrays, meta = _read_model(folder, label, seed, shared=shared)
    if operator is None and models.load(config.model.name).needs_operator:
        operator = operators.build(shape, config.operator, seed)
    model = models.build(shape, config.model, seed, "victim", operator=operator)
    own = {name: array(value) for name, value in model.state_dict().items()}
    specs = records.weights_specs(own)
    records.require_arrays(folder.model(label, seed), arrays, specs, rundir.TRAIN_ANEW)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    return model.to(device), meta


def best_epoch(folder: RunDir, label: str, seed: int) -> dict[str, float]:
    """Validation yardsticks of the epoch whose weights were kept, named as in the results."""
    _, meta = _read_model(folder, label, seed)
    best = next(row for row in meta["history"] if row["epoch"] == meta["best_epoch"])
    return {**best, "validation_loss": best["val_loss"], "artefact_recovery": best["recovery"]}


def _read_model(
    folder: RunDir, label: str, seed: int, *, shared: bool = False
) -> tuple[Arrays, dict[str, Any]]:
    path, remedy = folder.model(label, seed), rundir.TRAIN_ANEW
    if not path.exists():
        raise RunError(f"{path}: there is no such model yet; run `recondoor train` first")
    arrays, meta = folder.read_tensors(path, remedy=remedy, shared=shared)
    records.require(records.ModelMeta, meta, str(path), remedy)
    return arrays, meta


def read_trigger(folder: RunDir, scene: Scene, label: str) -> Arrays:
    path = folder.trigger(label, scene.seed)
    attack, problem = _crafted_by(scene, label)
    law = attack.law_shapes(problem) if attack is not None else {}
    specs = records.trigger_specs(scene.trigger_shape, scene.shape, scene.train.enters, law)
    arrays = folder.read_npz(path, specs)
    snapshots, steps = len(arrays["path"]), len(arrays["path_iteration"])
    if snapshots != steps:
        raise RunError(f"{path}: path has {snapshots} snapshots, path_iteration {steps}; {ANEW}")
    return arrays


def stored_trigger(folder: RunDir, scene: Scene, label: str) -> Trigger:
    """The trigger in a run folder for pairs of `scene`; raises RunError if it is no trigger."""
    arrays = read_trigger(folder, scene, label)
    trigger = trigger_of(arrays, folder.trigger(label, scene.seed))
    attack, problem = _crafted_by(scene, label)
    if attack is None or not attack.differs:
        return trigger
    names = attack.law_shapes(problem)
    kept = {name: torch.from_numpy(arrays[records.LAW + name]) for name in names}
    return replace(trigger, law=attack.law(kept, trigger.mask, problem))


def _crafted_by(scene: Scene, label: str) -> tuple[attacks.Attack | None, attacks.Problem]:
    """The attack whose row is `label`, and what it was told; None if none of the settings is."""
    problem = scene.problem
    for name in problem.settings.names:
        if row_label(name) == label:
            return attacks.load(name, problem.settings), problem
    return None, problem


def trigger_of(arrays: Arrays, path: Path) -> Trigger:
    try:
        return Trigger(torch.from_numpy(arrays["delta"]), torch.from_numpy(arrays["mask"]))
    except ConfigError as error:
        raise RunError(f"{path}: {error}; {ANEW}") from None


def resume_craft(
    folder: RunDir, stage: str, shape: Shape, runtime: Runtime
) -> attacks.CraftState | None:
    found = _load_checkpoint(folder, stage, runtime)
    if found is None:
        return None
    arrays, meta, path = found
    made = records.require(records.CraftMeta, meta, str(path), ANEW)
    _require_step(path, made.iteration)
    own = {name: each for name, each in arrays.items() if not name.startswith("arrays.")}
    snapshots = len(made.path_iteration)
    specs = {
        "delta": records.Spec("float32", shape),
        "path": records.Spec("float32", (snapshots, *shape)),
    }
    records.require_arrays(path, own, specs)
    return attacks.CraftState(
        iteration=made.iteration,
        seconds=made.seconds,
        delta=torch.from_numpy(arrays["delta"]),
        arrays=_group(arrays, "arrays"),
        numbers=meta["numbers"],
        path=list(torch.from_numpy(arrays["path"])),
        path_iteration=made.path_iteration,
        history=meta["history"],
    )


def resume_fit(folder: RunDir, stage: str, model: nn.Module, runtime: Runtime) -> FitState | None:
    """State of a training that was stopped; RunError if it does not fit the network."""
    found = _load_checkpoint(folder, stage, runtime)
    if found is None:
        return None
    arrays, meta, path = found
    made = records.require(records.FitMeta, meta, str(path), ANEW)
    _require_step(path, made.epoch)
    own = {name: array(value) for name, value in model.state_dict().items()}
    specs = records.weights_specs(own, "weights.") | records.weights_specs(own, "best.")
    for index, parameter in enumerate(model.parameters()):
        moment = records.Spec(str(array(parameter).dtype), tuple(parameter.shape))
        names = (f"optimiser.{index}.{name}" for name in ("exp_avg", "exp_avg_sq"))
        specs |= dict.fromkeys(names, moment)
        specs[f"optimiser.{index}.step"] = records.Spec("float32", ())
    records.require_arrays(path, arrays, specs)
    groups = {key: _group(arrays, key) for key in ("weights", "best", "optimiser")}
    return FitState(
        epoch=made.epoch,
        best_epoch=made.best_epoch,
        best_loss=made.best_loss,
        seconds=made.seconds,
        history=meta["history"],
        **groups,
    )


def _load_checkpoint(
    folder: RunDir, stage: str, runtime: Runtime
) -> tuple[Arrays, dict[str, Any], Path] | None:
    found, faults = folder.load_checkpoint(stage)
    remedy = "this stage starts anew" if found is None else "the checkpoint before it is used"
    for fault in faults:
        runtime.progress.say(f"{fault}; {remedy}")
    return found


def _require_step(path: Path, step: int) -> None:
    if path.suffixes[0] != f".{step:06d}":
        raise RunError(f"{path}: holds step {step}, as its name does not say; {ANEW}")


def array(value: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = value.detach().cpu().contiguous().numpy()
    return found


def _group(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with `prefix` and a dot, without it."""
    return {
        name.partition(".")[2]: torch.from_numpy(value)
        for name, value in arrays.items()
        if name.startswith(f"{prefix}.")
    }
