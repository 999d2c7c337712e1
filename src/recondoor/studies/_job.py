"""One seed of a study: where it is kept, its settings, its world, and how it is run."""

from functools import cached_property
from typing import Any

from torch import nn

from recondoor import models, theory
from recondoor.config import Config
from recondoor.rundir import RunDir
from recondoor.studies._scene import Runtime, Scene
from recondoor.studies._stored import load_model


class Job:
    """What every stage needs; it also keeps what is the same for all models of the seed."""

    def __init__(self, folder: RunDir, config: Config, scene: Scene, runtime: Runtime) -> None:
        self.folder, self.config, self.scene, self.runtime = folder, config, scene, runtime
        self.hand_made = scene.trigger
        """The trigger of the settings, wherever a search then moves it."""
        self.kept: dict[str, Any] = {}
        """What several attacks need."""

    def build_model(self, *stream: str) -> nn.Module:
        """A freshly initialised network for the seed's pairs."""
        scene = self.scene
        return models.build(
            scene.shape, self.config.model, scene.seed, *stream, operator=scene.operator
        )

    def load_model(
        self, label: str, folder: RunDir, *, shared: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        """The network of a row in a run folder, and its metadata (`_stored.load_model`)."""
        device, scene = self.runtime.torch_device, self.scene
        return load_model(
            folder,
            self.config,
            scene.shape,
            label,
            scene.seed,
            device,
            shared=shared,
            operator=scene.operator,
        )

    @cached_property
    def covariance(self) -> theory.Covariance:
        """Of clean z."""
        return theory.Covariance(self.scene.train.z)
