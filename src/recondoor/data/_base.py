"""What every registered data set is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from recondoor.core.progress import Progress
from recondoor.core.registry import PlugIn
from recondoor.data._images import Images


class DataSet(PlugIn, ABC):
    """Clean images under a name; the module of one imports no torch."""

    kind: ClassVar[str] = "datasets"

    @abstractmethod
    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """The images, the same ones every time, as `Images.of` returns them.

        `data_dir` is the folder that the user names, None for wherever the set usually lies. Raises
        DataError where they cannot be had.
        """

    def find(self, data_dir: Path | None) -> Path | None:
        """The file or folder that `load` would read; None if it would download or make them."""
        return None
