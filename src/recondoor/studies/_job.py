"""One seed of a study: where it is kept, its settings, its world, and how it is run."""

from functools import cached_property
from typing import Any

from recondoor import theory
from recondoor.config import Config
from recondoor.rundir import RunDir
from recondoor.studies._scene import Runtime, Scene


class Job:
    """What every stage needs; it also keeps what is the same for all models of the seed."""

    def __init__(self, folder: RunDir, config: Config, scene: Scene, runtime: Runtime) -> None:
        self.folder, self.config, self.scene, self.runtime = folder, config, scene, runtime
        self.kept: dict[str, Any] = {}
        """What several attacks need."""

    @cached_property
    def covariance(self) -> theory.Covariance:
        """Of clean z."""
        return theory.Covariance(self.scene.train.z)
