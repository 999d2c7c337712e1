"""The training pairs of a run folder, poisoned as the study poisons them."""

import tomllib
from pathlib import Path
from typing import Any

import torch

from recondoor import config, data, operators, rundir, study
from recondoor.audit._given import Given
from recondoor.config import Config
from recondoor.errors import ConfigError, DataError, RunError
from recondoor.poison import Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.progress import Progress

ORIGINAL = config.row_label("none")


def read_run(
    folder: Path, attack: str | None, seed: int | None, data_dir: Path | None, progress: Progress
) -> Given:
    """Training pairs of model `attack` (default: the first poisoned one) and `seed` of a run.

    `attack` may be 'original', for the clean pairs. The truth about them is known.

    Raises:
        RunError: no trigger or plan there, a damaged file, or other images than the run's.
        DataError: no folder of a run.
        ConfigError: a label or seed that the run does not have.
    """
    settings = _settings(folder, data_dir)
    seed = settings.seed if seed is None else seed
    if seed not in range(settings.seed, settings.seed + settings.seeds):
        raise ConfigError(
            f"--seed: {seed} given; this run has {settings.seed} to "
            f"{settings.seed + settings.seeds - 1}"
        )
    label = _label(settings, attack)
    images = data.load(settings.data.name, settings.data.dir, progress)
    run = rundir.RunDir(folder)
    if run.provenance.exists():
        made_of = rundir.read_json(run.provenance)["data"]["fingerprint"]
        if made_of != images.fingerprint:
            raise RunError(f"{folder} was made of other images than '{settings.data.name}' is now")
    scene = study.build_scene(settings, images, seed, torch.device("cpu"))
    exact = operators.build(scene.shape, settings.operator, seed, torch.float64)
    pairs, truth = scene.train, torch.zeros(len(scene.train), dtype=torch.bool)
    if label != ORIGINAL:
        pairs, truth = _poisoned(run, label, settings, scene)
    return Given(f"{folder.resolve().name}-{label}", pairs, exact, True, truth.numpy(), label, seed)


def _poisoned(
    run: rundir.RunDir, label: str, settings: Config, scene: study.Scene
) -> tuple[Pairs, torch.Tensor]:
    seed, clean = scene.seed, scene.train
    path = run.trigger(label, seed)
    if not path.exists():
        raise RunError(f"{path}: there is no such trigger yet; run `recondoor attack` first")
    plan_path = run.path / f"plan-seed{seed}.npz"
    found, plans = run.read_npz(path), run.read_npz(plan_path)
    try:
        plan = PoisonPlan(torch.from_numpy(plans["train"]))
        trigger = Trigger(torch.from_numpy(found["delta"]), torch.from_numpy(found["mask"]))
        poisoned = PoisonedPairs(clean, plan, trigger, scene.planted(settings, trigger))
        z, x = poisoned.batch(torch.arange(len(clean)))
    except (KeyError, RuntimeError, IndexError) as error:
        raise RunError(f"{path} and {plan_path.name} do not fit the run's data: {error}") from None
    return Pairs(z, x), plan.poisoned


def _settings(folder: Path, data_dir: Path | None) -> Config:
    path = folder / "config.toml"
    if not path.exists():
        raise DataError(
            f"'{folder}' is no folder of a run (it has no config.toml); give one, or an .npz or "
            ".h5 file of pairs"
        )
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    if data_dir is not None:
        tree.setdefault("data", {})["dir"] = str(data_dir)
    return config.from_dict(tree)


def _label(settings: Config, attack: str | None) -> str:
    labels = [config.row_label(name) for name in settings.attack.names]
    if attack is None:
        return next((label for label in labels if label != ORIGINAL), ORIGINAL)
    if attack not in (*labels, ORIGINAL):
        raise ConfigError(f"--attack: '{attack}' given; this run has {', '.join(labels)}")
    return attack
