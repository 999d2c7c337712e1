"""The training pairs of a run folder, poisoned as the study poisons them."""

from dataclasses import dataclass
from pathlib import Path

import torch

from recondoor import config, data, records, rundir, studies
from recondoor.audit._pairs._source import Given
from recondoor.config import Config
from recondoor.core.errors import ConfigError, RunError
from recondoor.core.progress import Progress
from recondoor.poisoning import Pairs, PoisonPlan, Trigger

ORIGINAL = config.row_label("none")


@dataclass(frozen=True)
class Run:
    """One seed of a run folder.

    Args:
        folder: where it lies.
        settings: its own.
        label: model that is meant; 'original' has no trigger.
        scene: its measured pairs.
    """

    folder: Path
    settings: Config
    label: str
    scene: studies.Scene

    def trigger(self) -> Trigger | None:
        """The trigger of the model that is meant; raises RunError if there is none yet."""
        if self.label == ORIGINAL:
            return None
        run = _sealed(self.folder)
        path = run.trigger(self.label, self.scene.seed)
        if not path.exists():
            raise RunError(f"{path}: there is no such trigger yet; run `recondoor attack` first")
        return studies.stored_trigger(run, self.scene, self.label)


def read_run(
    folder: Path,
    attack: str | None,
    seed: int | None,
    data_dir: Path | None,
    progress: Progress,
    trust_paths: bool = False,
) -> Given:
    """Training pairs of model `attack` (default: the first poisoned one) and `seed` of a run.

    `attack` may be 'original', for the clean pairs. The truth about them is known. `trust_paths`:
    whether files that the run's own settings name may be opened.

    Raises:
        RunError: no trigger or plan there, a damaged file, or other images than the run's.
        DataError: no folder of a run.
        ConfigError: a label or seed that the run does not have, or a path that is not trusted.
    """
    run = open_run(folder, attack, seed, data_dir, progress, trust_paths)
    pairs, truth = run.scene.train, torch.zeros(len(run.scene.train), dtype=torch.bool)
    trigger = run.trigger()
    if trigger is not None:
        pairs, truth = _poisoned(run, trigger)
    name = f"{folder.resolve().name}-{run.label}"
    return Given(
        name=name,
        pairs=pairs,
        operator=run.scene.world.range_of,
        noise_known=True,
        poisoned=truth.numpy(),
        attack=run.label,
        seed=run.scene.seed,
    )


def open_run(
    folder: Path,
    attack: str | None,
    seed: int | None,
    data_dir: Path | None,
    progress: Progress,
    trust_paths: bool = False,
) -> Run:
    """Measure the images of a run again; arguments and errors as of `read_run`."""
    settings = rundir.settings(folder, trusted_paths=trust_paths, data_dir=data_dir)
    seed = settings.seed if seed is None else seed
    if seed not in range(settings.seed, settings.seed + settings.seeds):
        raise ConfigError(
            f"--seed: {seed} given; this run has {settings.seed} to "
            f"{settings.seed + settings.seeds - 1}"
        )
    label = _label(settings, attack)
    images = data.read(settings.data, progress)
    run = rundir.RunDir(folder)
    if run.provenance.exists():
        made_of = run.read_provenance()["data"]["fingerprint"]
        if made_of != images.fingerprint:
            raise RunError(f"{folder} was made of other images than '{settings.data.name}' is now")
    scene = studies.build_scene(settings, images, seed, torch.device("cpu"))
    return Run(folder, settings, label, scene)


def _poisoned(run: Run, trigger: Trigger) -> tuple[Pairs, torch.Tensor]:
    scene, folder = run.scene, _sealed(run.folder)
    specs = records.plan_specs(len(scene.train), len(scene.validation))
    plans = folder.read_npz(folder.plan(scene.seed), specs)
    plan = PoisonPlan(torch.from_numpy(plans["train"]))
    z, x = scene.poisoned(run.settings, trigger, plan).batch(torch.arange(len(scene.train)))
    return Pairs(z, x), plan.poisoned


def _sealed(folder: Path) -> rundir.RunDir:
    """The run, whose files have to be its own where its provenance says what that is."""
    run = rundir.RunDir(folder)
    return rundir.sealed_by_itself(folder) if run.provenance.exists() else run


def _label(settings: Config, attack: str | None) -> str:
    labels = [config.row_label(name) for name in settings.attack.names]
    if attack is None:
        return next((label for label in labels if label != ORIGINAL), ORIGINAL)
    if attack not in (*labels, ORIGINAL):
        raise ConfigError(f"--attack: '{attack}' given; this run has {', '.join(labels)}")
    return attack
