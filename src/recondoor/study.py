"""The whole story, top to bottom: measure, craft triggers, train, judge, write results.

Every stage looks first whether its file is already there, saves its state as it goes and carries on
from it, so that the same command after a kill ends with the same numbers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recondoor import attacks, data, evaluation, models, operators, provenance, rundir, seeding
from recondoor.config import Config, identity, row_label, to_dict, to_toml, wanted
from recondoor.errors import RunError
from recondoor.poison import (
    Artefact,
    Pairs,
    PoisonedPairs,
    PoisonPlan,
    Trigger,
    make_artefact,
    make_trigger,
)
from recondoor.progress import NO_PROGRESS, Progress
from recondoor.rundir import Arrays, RunDir
from recondoor.training import FitState, fit

SCHEMA = "recondoor.results/1"
STAGES = ("attack", "train", "evaluate")


@dataclass(frozen=True)
class Runtime:
    """How to run, which no number may depend on (beyond rounding, for the device and threads)."""

    device: str = "auto"
    progress: Progress = NO_PROGRESS
    command: str = "recondoor study"

    @property
    def torch_device(self) -> torch.device:
        """The device to compute on; raises RunError if CUDA is asked for and not there."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RunError("device: 'cuda' given, but torch finds no GPU; use --device cpu")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


@dataclass(frozen=True)
class Scene:
    """One seed's world: measured pairs, the hand-made pattern and who is poisoned."""

    seed: int
    train: Pairs
    validation: Pairs
    test: Pairs
    trigger: Trigger
    artefact: Artefact
    plan: PoisonPlan
    validation_plan: PoisonPlan

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width


def run(
    config: Config,
    out: Path,
    runtime: Runtime | None = None,
    stages: tuple[str, ...] = STAGES,
) -> Path:
    """Bring the run folder `out` to the end of `stages` for every seed and attack of `config`.

    Returns the folder. Raises RecondoorError, before anything is written where settings or data are
    at fault.
    """
    runtime = runtime or Runtime()
    device = runtime.torch_device
    images = data.load(config.data.name, config.data.dir, runtime.progress)
    seeds = range(config.seed, config.seed + config.seeds)
    first = _scene(config, images, config.seed, device)
    folder = RunDir(out)
    complete = wanted(config) <= _rows(folder).keys()
    _require_same_run(folder, config, images.fingerprint)
    if complete:
        return out
    with folder.lock():
        _open_folder(folder, config, images, first, runtime)
        for seed in seeds:
            scene = first if seed == config.seed else _scene(config, images, seed, device)
            _run_seed(folder, config, scene, runtime, stages)
        if "evaluate" in stages:
            _write_results(folder, config)
    return out


def run_ratios(
    config: Config, out: Path, ratios: list[float], runtime: Runtime | None = None
) -> Path:
    """Choose the poisoning ratio as the paper does (section 4.1) and run the study there.

    The heuristic attack is trained at each of `ratios`, in `out`/ratio-P; the ratio of least
    selection loss, the mean of the benign and the attack error on the validation set, wins. Returns
    the winner's folder, whose results list all ratios.
    """
    runtime = runtime or Runtime()
    table = []
    for ratio in ratios:
        names = config.attack.model_copy(update={"names": ("heuristic",)})
        poison = config.poison.model_copy(update={"ratio": ratio})
        probe = config.model_copy(update={"attack": names, "poison": poison})
        folder = RunDir(run(probe, out / f"ratio-{ratio:g}", runtime))
        rows = [row for (label, _), row in _rows(folder).items() if label == "heuristic"]
        keys = (
            "validation_loss",
            "selection_loss",
            "benign_rmse",
            "attack_rmse",
            "artefact_recovery",
            "ghost",
        )
        table.append(
            {"ratio": ratio} | {key: float(np.mean([row[key] for row in rows])) for key in keys}
        )
    best = min(table, key=lambda line: line["selection_loss"])["ratio"]
    chosen = config.model_copy(update={"poison": config.poison.model_copy(update={"ratio": best})})
    folder = RunDir(run(chosen, out / f"ratio-{best:g}", runtime))
    results = rundir.read_json(folder.results)
    results["ratios"] = [{**line, "chosen": line["ratio"] == best} for line in table]
    rundir.write_json(folder.results, results)
    return folder.path


def _run_seed(
    folder: RunDir, config: Config, scene: Scene, runtime: Runtime, stages: tuple[str, ...]
) -> None:
    for name in config.attack.names:
        label = row_label(name)
        if "attack" in stages:
            _craft(folder, config, scene, name, runtime)
        if "train" in stages:
            _train(folder, config, scene, name, runtime)
        if "evaluate" in stages and (label, scene.seed) not in _rows(folder):
            _evaluate(folder, config, scene, name, runtime)


def _scene(config: Config, images: data.Images, seed: int, device: torch.device) -> Scene:
    """Split, measure and plan; everything random follows from `seed`."""
    splits = data.split(images, config.data, seed)
    _, channels, height, width = images.train.shape
    shape = (channels, height, width)
    trigger, artefact = make_trigger(config.trigger, shape), make_artefact(config.artefact, shape)
    operator = operators.build(shape, config.operator, seed)

    def measured(name: str, images: NDArray[np.float32]) -> Pairs:
        x = torch.from_numpy(np.ascontiguousarray(images))
        z = operator.measure(x, seeding.torch_generator(seed, "noise", name))
        return Pairs(z.to(device), x.to(device))

    def plan(name: str, n: int) -> PoisonPlan:
        return PoisonPlan.draw(n, config.poison.ratio, seeding.torch_generator(seed, "plan", name))

    return Scene(
        seed,
        measured("train", splits.train),
        measured("validation", splits.validation),
        measured("test", splits.test),
        trigger,
        artefact,
        plan("train", len(splits.train)),
        plan("validation", len(splits.validation)),
    )


def _problem(config: Config, scene: Scene) -> attacks.Problem:
    return attacks.Problem(
        scene.train,
        scene.trigger,
        scene.artefact,
        config.poison.ratio,
        config.attack,
        config.train.lr,
        lambda stream: models.build(scene.shape, config.model, scene.seed, stream),
        scene.seed,
    )


def _craft(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Make the trigger of attack `name`, unless its file is there."""
    label, seed = row_label(name), scene.seed
    path, stage = folder.trigger(label, seed), f"attack-{label}-seed{seed}"
    if name == "none" or path.exists():
        folder.drop_checkpoints(stage)
        return
    state = _resume_craft(folder, stage, runtime)

    def save(state: attacks.CraftState) -> None:
        arrays = {f"weights.{key}": _array(value) for key, value in state.weights.items()}
        arrays |= {"delta": _array(state.delta), "path": _array(torch.stack(state.path))}
        meta = {
            key: getattr(state, key)
            for key in ("iteration", "seconds", "path_iteration", "history")
        }
        folder.save_checkpoint(stage, state.iteration, arrays, meta)
        folder.write_history("attack", label, seed, state.history)

    steps = config.attack.iterations if name == "bilevel" else 1
    done = state.iteration if state else 0
    with runtime.progress.task(f"trigger {label}, seed {seed}", steps, done) as task:
        tools = attacks.Tools(task, runtime.progress.say, state, save)
        crafted = attacks.craft(name, _problem(config, scene), tools)
    if crafted.trigger is None:
        return
    if crafted.state.history:
        # Again, as a run may have been killed between its last checkpoint and the history.
        folder.write_history("attack", label, seed, crafted.state.history)
    path_so_far = crafted.state.path
    empty = torch.zeros(0, *scene.shape)
    folder.write_npz(
        path,
        {
            "delta": _array(crafted.trigger.delta),
            "mask": _array(crafted.trigger.mask),
            "artefact": _array(scene.artefact.pattern),
            "path": _array(torch.stack(path_so_far) if path_so_far else empty),
            "path_iteration": np.array(crafted.state.path_iteration, dtype=np.int64),
            "seconds": np.array(crafted.state.seconds),
        },
    )
    folder.drop_checkpoints(stage)


def _resume_craft(folder: RunDir, stage: str, runtime: Runtime) -> attacks.CraftState | None:
    found = _load_checkpoint(folder, stage, runtime)
    if found is None:
        return None
    arrays, meta = found
    return attacks.CraftState(
        delta=torch.from_numpy(arrays["delta"]),
        weights=_group(arrays, "weights"),
        path=list(torch.from_numpy(arrays["path"])),
        **meta,
    )


def _train(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Train the model that attack `name` poisons, unless its file is there."""
    label, seed = row_label(name), scene.seed
    stage = f"train-{label}-seed{seed}"
    if folder.model(label, seed).exists():
        folder.drop_checkpoints(stage)
        return
    trigger, poisons = _trigger(folder, config, scene, name), name != "none"
    found = _load_checkpoint(folder, stage, runtime)
    state = None
    if found is not None:
        arrays, meta = found
        groups: Any = {key: _group(arrays, key) for key in ("weights", "best", "optimiser")}
        state = FitState(**meta, **groups)

    def save(state: FitState) -> None:
        arrays = {
            f"{key}.{tensor}": _array(value)
            for key in ("weights", "best", "optimiser")
            for tensor, value in getattr(state, key).items()
        }
        folder.save_checkpoint(stage, state.epoch, arrays, _scalars(state))
        folder.write_history("train", label, seed, state.history)

    model = models.build(scene.shape, config.model, seed, "victim").to(runtime.torch_device)
    pairs = PoisonedPairs(scene.train, scene.plan, trigger if poisons else None, scene.artefact)
    monitor = evaluation.Monitor(
        scene.validation, scene.validation_plan if poisons else None, trigger, scene.artefact
    )
    total, done = config.train.max_epochs * len(pairs), state.epoch * len(pairs) if state else 0
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
        )
    # Again, as a run may have been killed between its last checkpoint and the history.
    folder.write_history("train", label, seed, state.history)
    weights = {key: _array(value) for key, value in state.best.items()}
    meta = _scalars(state) | {"samples": state.epoch * len(pairs)}
    rundir.write_tensors(folder.model(label, seed), weights, meta)
    folder.drop_checkpoints(stage)


def _scalars(state: FitState) -> dict[str, Any]:
    keys = ("epoch", "best_epoch", "best_loss", "seconds", "history")
    return {key: getattr(state, key) for key in keys}


def _evaluate(folder: RunDir, config: Config, scene: Scene, name: str, runtime: Runtime) -> None:
    """Judge one model on the test set and add its row to the results."""
    label, seed = row_label(name), scene.seed
    model, meta = load_model(folder, config, scene.shape, label, seed, runtime.torch_device)
    trigger = _trigger(folder, config, scene, name)
    with runtime.progress.task(f"evaluate {label}, seed {seed}", 2 * len(scene.test)) as task:
        judged = evaluation.evaluate(
            model, scene.test, trigger, scene.artefact, config.evaluate, task.advance
        )
    folder.write_npz(folder.examples(label, seed), dict(judged.examples))
    best = next(row for row in meta["history"] if row["epoch"] == meta["best_epoch"])
    crafting = 0.0
    if name != "none":
        crafting = float(folder.read_npz(folder.trigger(label, seed))["seconds"])
    row = {
        "model": label,
        "seed": seed,
        **judged.row,
        "validation_loss": best["val_loss"],
        "selection_loss": best["selection_loss"],
        "epochs": meta["epoch"],
        "samples_per_s": meta["samples"] / meta["seconds"],
        "seconds": meta["seconds"] + crafting,
    }
    _write_results(folder, config, [*_rows(folder).values(), row])


def load_model(
    folder: RunDir,
    config: Config,
    shape: tuple[int, int, int],
    label: str,
    seed: int,
    device: torch.device,
) -> tuple[nn.Module, dict[str, Any]]:
    """Return a trained network of a run folder and its metadata; RunError if there is none."""
    path = folder.model(label, seed)
    if not path.exists():
        raise RunError(f"{path}: there is no such model yet; run `recondoor train` first")
    arrays, meta = rundir.read_tensors(path)
    model = models.build(shape, config.model, seed, "victim")
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    return model.to(device), meta


def _trigger(folder: RunDir, config: Config, scene: Scene, name: str) -> Trigger:
    """The trigger of attack `name`; the original model is tried with the heuristic one."""
    if name == "none":
        with NO_PROGRESS.task("", 1) as task:
            crafted = attacks.craft("heuristic", _problem(config, scene), attacks.Tools(task))
        return crafted.trigger or scene.trigger
    path = folder.trigger(row_label(name), scene.seed)
    if not path.exists():
        raise RunError(f"{path}: there is no such trigger yet; run `recondoor attack` first")
    arrays = folder.read_npz(path)
    return Trigger(torch.from_numpy(arrays["delta"]), torch.from_numpy(arrays["mask"]))


def _rows(folder: RunDir) -> dict[tuple[str, int], dict[str, Any]]:
    """Rows of results.json so far, by model and seed."""
    if not folder.results.exists():
        return {}
    rows = rundir.read_json(folder.results)["rows"]
    return {(row["model"], row["seed"]): row for row in rows}


def _write_results(
    folder: RunDir, config: Config, rows: list[dict[str, Any]] | None = None
) -> None:
    """Write results.json anew from `rows`, or from the rows it has."""
    rows = list(_rows(folder).values()) if rows is None else rows
    order = {
        row_label(name): at for at, name in enumerate(("none", "heuristic", "bilevel", "random"))
    }
    rows.sort(key=lambda row: (row["seed"], order.get(row["model"], len(order)), row["model"]))
    record = rundir.read_json(folder.provenance)
    record["finished"] = provenance.now()
    record["seeds"] = sorted({row["seed"] for row in rows})
    rundir.write_json(folder.provenance, record)
    shape = tuple(record["data"]["shape"])
    previous = rundir.read_json(folder.results) if folder.results.exists() else {}
    results = {
        "schema": SCHEMA,
        "identity": identity(config),
        "config": to_dict(config),
        "provenance": record,
        "poison_ratio": config.poison.ratio,
        "hedge": evaluation.hedge_line(make_artefact(config.artefact, shape), config.poison.ratio),
        "asr_taus": list(evaluation.TAUS),
        "rows": rows,
        "summary": evaluation.summarise(rows),
    }
    if "ratios" in previous:
        results["ratios"] = previous["ratios"]
    rundir.write_json(folder.results, results)


def _require_same_run(folder: RunDir, config: Config, fingerprint: str) -> None:
    """Refuse a folder that holds a run of other settings or other data."""
    if not folder.path.exists():
        return
    if not folder.provenance.exists():
        if not folder.path.is_dir():
            raise RunError(f"{folder.path}: is a file; choose another --out")
        if any(folder.path.iterdir()) and not (folder.path / "lock").exists():
            raise RunError(f"{folder.path}: is not empty and holds no run; choose another --out")
        return
    record = rundir.read_json(folder.provenance)
    if record["identity"] != identity(config):
        raise RunError(
            f"{folder.path}: holds a run of other settings (see its config.toml); choose another "
            "--out or delete the folder"
        )
    if record["data"]["fingerprint"] != fingerprint:
        raise RunError(
            f"{folder.path}: was made from other data (fingerprint "
            f"{record['data']['fingerprint'][:12]}, now {fingerprint[:12]}); choose another --out"
        )


def _open_folder(
    folder: RunDir, config: Config, images: data.Images, scene: Scene, runtime: Runtime
) -> None:
    """Write settings and provenance of a new run; warn if an old one ran with other threads."""
    rundir.write_atomically(folder.path / "config.toml", to_toml(config).encode())
    threads = torch.get_num_threads()
    if folder.provenance.exists():
        before = rundir.read_json(folder.provenance)["threads"]
        if before != threads:
            runtime.progress.say(
                f"this run began with {before} threads and carries on with {threads}: numbers may "
                "differ in their last digits from an uninterrupted run"
            )
        return
    device = runtime.torch_device
    hardware = provenance.hardware()
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    record = {
        "identity": identity(config),
        "versions": provenance.versions(),
        "hardware": hardware,
        "device": device.type,
        "threads": threads,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        "data": {
            "name": images.name,
            "fingerprint": images.fingerprint,
            "shape": list(scene.shape),
            "train": len(scene.train),
            "validation": len(scene.validation),
            "test": len(scene.test),
        },
        "parameters": models.parameter_count(models.build(scene.shape, config.model, 0)),
        "git": provenance.git_state(),
        "command": runtime.command,
        "started": provenance.now(),
        "finished": None,
    }
    rundir.write_json(folder.provenance, record)


def _load_checkpoint(
    folder: RunDir, stage: str, runtime: Runtime
) -> tuple[Arrays, dict[str, Any]] | None:
    found, faults = folder.load_checkpoint(stage)
    remedy = "this stage starts anew" if found is None else "the checkpoint before it is used"
    for fault in faults:
        runtime.progress.say(f"{fault}; {remedy}")
    return found


def _array(value: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = value.detach().cpu().contiguous().numpy()
    return array


def _group(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    """Tensors whose name starts with `prefix` and a dot, without it."""
    return {
        name.partition(".")[2]: torch.from_numpy(value)
        for name, value in arrays.items()
        if name.startswith(f"{prefix}.")
    }
