"""411 MR slices of four heads, 128x128, split by person; embedded; BSD and MNI licences.

Axial T1 slices on pixels of 1.75 mm, nose up, the person's right at the left; of each volume 0 to
the 99.5th percentile of the head is 0 to 1. Magnitude images that were processed: k-space made of
them is simulated. docs/data.md has sources and licences.
"""

from pathlib import Path

from recondoor.core.progress import Progress
from recondoor.data._base import DataSet
from recondoor.data._embedded import load_embedded, place
from recondoor.data._images import Images


class Brain4(DataSet):
    """MR of four heads, split by person."""

    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """Load them; `data_dir` is not needed. Raises DataError if the package is broken."""
        return load_embedded("brain4")

    def find(self, data_dir: Path | None) -> Path:
        """The embedded file."""
        return place("brain4")
