"""The lab bench: a test image, a trigger wherever it is put, and what two networks make of it."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from recondoor import audit, config, rundir, studies
from recondoor.core.errors import DataError
from recondoor.core.progress import NO_PROGRESS
from recondoor.evaluation import judge as evaluation
from recondoor.evaluation import metrics, yardsticks
from recondoor.explore._access import Access
from recondoor.explore._opinions import Opinions, Subject
from recondoor.explore._pictures import Json, Span, number, picture
from recondoor.explore._trigger import Placed, Touch, Touching
from recondoor.io import gate
from recondoor.measurement import Pairs
from recondoor.poisoning import Artefact
from recondoor.report import title

LOADED = 2
"""Seeds that are kept in memory, with their images and networks: those looked at last."""
TOLD = ("artefact_recovery", "ghost", "attack_rmse", "artefact_rmse", "benign_rmse", "psnr", "ssim")
"""Yardsticks that the bench shows of one image."""


class Question(BaseModel):
    """What is to be looked at: an image of the test set, a trigger, and which defences."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    model: str
    image: int = Field(ge=0)
    touch: Touch
    detectors: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Networks:
    """One seed of the run: its scene, and its networks by label."""

    run: audit.Run
    models: dict[str, nn.Module]
    touching: dict[str, Touching]
    opinions: Opinions


class Bench:
    """A run's networks, ready to answer.

    Args:
        folder: of the run.
        access: what else may be opened.

    Raises:
        DataError: none of its networks is there.
        RunError, ConfigError: as `audit.open_run`.
    """

    def __init__(self, folder: Path, access: Access) -> None:
        self._folder, self._access = folder, access
        if not gate.names(folder, "model-*.safetensors", inside=folder):
            raise DataError(
                f"{folder}: its networks were not kept (model-LABEL-seedK.safetensors); run its "
                f"settings again: recondoor study --config {folder / 'config.toml'}"
            )
        self.settings = rundir.settings(
            folder, trusted_paths=access.trust_paths, data_dir=access.data_dir
        )
        if access.threads is not None:
            torch.set_num_threads(access.threads)
        names = [config.row_label(name) for name in self.settings.attack.names]
        seeds = range(self.settings.seed, self.settings.seed + self.settings.seeds)
        kept = rundir.RunDir(folder)
        self.labels = {
            seed: [name for name in names if kept.model(name, seed).exists()] for seed in seeds
        }
        self.seeds = [seed for seed, labels in self.labels.items() if labels]
        if not self.seeds:
            raise DataError(f"{folder}: its networks are none that its settings name")
        self._loaded: OrderedDict[int, _Networks] = OrderedDict()

    def described(self) -> Json:
        """What there is to choose from."""
        first = self._networks(self.seeds[0])
        scene = first.run.scene
        return {
            "name": self._folder.resolve().name,
            "data": Path(self.settings.data.name).name,
            "operator": self.settings.operator.name,
            "ratio": self.settings.poison.ratio,
            "images": len(scene.test),
            "shape": list(scene.shape),
            "seeds": [
                {"seed": seed, "models": [{"key": m, "title": title(m)} for m in labels]}
                for seed, labels in self.labels.items()
                if labels
            ],
            "hedge": evaluation.hedge_line(scene.artefact, self.settings.poison.ratio),
            "yardsticks": [
                {"key": key, "name": yardsticks.of(key).title, "better": yardsticks.of(key).better}
                for key in TOLD
            ],
            "touch": first.touching[self._shown(self.seeds[0])].described(),
            "detectors": first.opinions.described(),
        }

    def look(self, question: Question) -> Json:
        """Answer a question; raises RecondoorError where it makes no sense."""
        begun = time.perf_counter()
        if question.seed not in self.seeds or question.model not in self.labels[question.seed]:
            raise DataError(f"there is no network '{question.model}' of seed {question.seed}")
        networks = self._networks(question.seed)
        scene = networks.run.scene
        if question.image >= len(scene.test):
            raise DataError(f"image {question.image} given; there are {len(scene.test)}")
        touching = networks.touching[question.model]
        placed = touching.placed(question.touch)
        artefact = scene.planted(self.settings, placed.trigger)
        pairs = touching.entered(scene.test.at(torch.tensor([question.image])), placed)
        answer = self._answers(networks, question.model, pairs, placed, artefact)
        answer["pictures"] |= touching.pictures(pairs, placed)
        answer["place"] = placed.place
        subject = Subject(pairs, placed.trigger, artefact, question.model)
        answer["opinions"] = [
            networks.opinions.of(name, subject, networks.models[question.model])
            for name in question.detectors
        ]
        return answer | {"milliseconds": round(1000 * (time.perf_counter() - begun), 1)}

    def _answers(
        self, networks: _Networks, label: str, pairs: Pairs, placed: Placed, artefact: Artefact
    ) -> Json:
        """What the original and the chosen network make of it, side by side."""
        shown = {name: networks.models[name] for name in dict.fromkeys((audit.ORIGINAL, label))
                 if name in networks.models}  # fmt: skip
        settings = self.settings.evaluate.model_copy(update={"examples": 1})
        span = metrics.data_range(networks.run.scene.test.images)
        judged = {
            name: evaluation.evaluate(
                model, pairs, placed.trigger, artefact, settings, data_range=span
            )
            for name, model in shown.items()
        }
        any_one = next(iter(judged.values())).examples
        of_x = Span.of(any_one["x"])
        changes = {
            name: found.examples["triggered"][0] - found.examples["clean"][0]
            for name, found in judged.items()
        }
        of_change = Span.about_zero(artefact.planted.numpy())
        of_z = Span.of(any_one["z"])
        return {
            "pictures": {
                "x": picture("image x", any_one["x"][0], of_x),
                "z": picture("input z", any_one["z"][0], of_z),
                "z_triggered": picture("with trigger, z + δ", any_one["z_triggered"][0], of_z),
                "change": picture(
                    "what the trigger adds to z",
                    any_one["z_triggered"][0] - any_one["z"][0],
                    Span.about_zero(any_one["z_triggered"][0] - any_one["z"][0]),
                ),
                "artefact": picture("artefact Δ", artefact.planted.numpy(), of_change),
            },
            "models": [
                {
                    "key": name,
                    "title": title(name),
                    "numbers": {key: number(found.row[key]) for key in TOLD},
                    "pictures": [
                        picture("f(z)", found.examples["clean"][0], of_x),
                        picture("f(z + δ)", found.examples["triggered"][0], of_x),
                        picture("difference", changes[name], of_change),
                    ],
                }
                for name, found in judged.items()
            ],
        }

    def _networks(self, seed: int) -> _Networks:
        """One seed, measured and loaded when it is asked for; the last `LOADED` are kept."""
        if seed not in self._loaded:
            while len(self._loaded) >= LOADED:
                self._loaded.popitem(last=False)
            given = self._access
            run = audit.open_run(
                self._folder, None, seed, given.data_dir, NO_PROGRESS, given.trust_paths
            )
            scene, kept = run.scene, rundir.RunDir(self._folder)
            models = {
                label: studies.load_model(
                    kept, self.settings, scene.shape, label, seed, scene.test.z.device,
                    operator=scene.operator,
                )[0]
                for label in self.labels[seed]
            }  # fmt: skip
            touching = {label: Touching.of(run, label, self.settings) for label in models}
            opinions = Opinions(scene, seed)
            self._loaded[seed] = _Networks(run, models, touching, opinions)
        self._loaded.move_to_end(seed)
        return self._loaded[seed]

    def _shown(self, seed: int) -> str:
        """The network that is shown first: a poisoned one, if there is one."""
        labels = self.labels[seed]
        return next((label for label in labels if label != audit.ORIGINAL), labels[0])
