"""The training pairs of a run folder, poisoned as the study poisons them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recondoor import config, data, operators, rundir, study
from recondoor.audit._given import Given
from recondoor.config import Config
from recondoor.errors import ConfigError, DataError, RunError
from recondoor.poison import Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.progress import Progress
from recondoor.tables import parse_toml

ORIGINAL = config.row_label("none")


@dataclass(frozen=True)
class Run:
    """One seed of a run folder.

    Args:
        folder: where it lies.
        settings: its own.
        label: model that is meant; 'original' has no trigger.
        scene: its measured pairs.
        operator: of float64.
    """

    folder: Path
    settings: Config
    label: str
    scene: study.Scene
    operator: operators.LinearOperator

    def trigger(self) -> Trigger | None:
        """The trigger of the model that is meant; raises RunError if there is none yet."""
        if self.label == ORIGINAL:
            return None
        run = rundir.RunDir(self.folder)
        path = run.trigger(self.label, self.scene.seed)
        if not path.exists():
            raise RunError(f"{path}: there is no such trigger yet; run `recondoor attack` first")
        found = run.read_npz(path)
        try:
            return Trigger(torch.from_numpy(found["delta"]), torch.from_numpy(found["mask"]))
        except (KeyError, RuntimeError) as error:
            raise RunError(f"{path} does not fit the run's data: {error}") from None


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
    run = open_run(folder, attack, seed, data_dir, progress)
    pairs, truth = run.scene.train, torch.zeros(len(run.scene.train), dtype=torch.bool)
    trigger = run.trigger()
    if trigger is not None:
        pairs, truth = _poisoned(run, trigger)
    name = f"{folder.resolve().name}-{run.label}"
    return Given(name, pairs, run.operator, True, truth.numpy(), run.label, run.scene.seed)


def open_run(
    folder: Path, attack: str | None, seed: int | None, data_dir: Path | None, progress: Progress
) -> Run:
    """Measure the images of a run again; arguments and errors as of `read_run`."""
    settings = run_settings(folder, data_dir)
    seed = settings.seed if seed is None else seed
    if seed not in range(settings.seed, settings.seed + settings.seeds):
        raise ConfigError(
            f"--seed: {seed} given; this run has {settings.seed} to "
            f"{settings.seed + settings.seeds - 1}"
        )
    label = _label(settings, attack)
    images = data.load(settings.data.name, settings.data.dir, progress)
    made = rundir.RunDir(folder).provenance
    if made.exists():
        made_of = rundir.read_json(made)["data"]["fingerprint"]
        if made_of != images.fingerprint:
            raise RunError(f"{folder} was made of other images than '{settings.data.name}' is now")
    scene = study.build_scene(settings, images, seed, torch.device("cpu"))
    exact = operators.build(scene.shape, settings.operator, seed, torch.float64)
    return Run(folder, settings, label, scene, exact)


def _poisoned(run: Run, trigger: Trigger) -> tuple[Pairs, torch.Tensor]:
    scene, folder = run.scene, rundir.RunDir(run.folder)
    path = folder.path / f"plan-seed{scene.seed}.npz"
    plans = folder.read_npz(path)
    try:
        plan = PoisonPlan(torch.from_numpy(plans["train"]))
        poisoned = PoisonedPairs(scene.train, plan, trigger, scene.planted(run.settings, trigger))
        z, x = poisoned.batch(torch.arange(len(scene.train)))
    except (KeyError, RuntimeError, IndexError) as error:
        raise RunError(f"{path} does not fit the run's data: {error}") from None
    return Pairs(z, x), plan.poisoned


def run_settings(folder: Path, data_dir: Path | None) -> Config:
    """Settings of the run in `folder`; raises DataError, RunError or ConfigError."""
    path = folder / "config.toml"
    if not path.exists():
        raise DataError(
            f"'{folder}' is no folder of a run (it has no config.toml); give one, or an .npz or "
            ".h5 file of pairs"
        )
    try:
        tree: dict[str, Any] = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
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
