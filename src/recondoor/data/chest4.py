"""412 CT slices of four trunks, 128x128, split by person; embedded; BSD and Apache licences.

Axial slices on pixels of 2.5 mm, front up, the person's right at the left; -1,000 to 1,000 HU is
0 to 1. Sinograms made of these images are simulated. docs/data.md has sources and licences.
"""

from pathlib import Path

from recondoor.core.progress import Progress
from recondoor.data._base import DataSet
from recondoor.data._embedded import load_embedded, place
from recondoor.data._images import Images


class Chest4(DataSet):
    """CT of four trunks, split by person."""

    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """Load them; `data_dir` is not needed. Raises DataError if the package is broken."""
        return load_embedded("chest4")

    def find(self, data_dir: Path | None) -> Path:
        """The embedded file."""
        return place("chest4")
