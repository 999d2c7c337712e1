"""Sets that lie in the package: 8-bit slices of people, with a label for each person."""

from importlib.resources import files
from pathlib import Path

from recondoor.core.errors import DataError
from recondoor.data._images import Images
from recondoor.io import arrays, gate


def place(name: str) -> Path:
    """The file of the embedded set `name`."""
    return Path(str(files("recondoor.data"))) / "embedded" / f"{name}.npz"


def load_embedded(name: str) -> Images:
    """Images of the embedded set `name`; raises DataError if its file is missing or damaged."""
    path = place(name)
    try:
        with gate.opened(path, most=gate.RECORD) as stream, arrays.load(stream) as held:
            return Images.of(
                name,
                held["train"],
                held["test"],
                train_subjects=held["train_subjects"],
                test_subjects=held["test_subjects"],
            )
    except arrays.UNREADABLE as error:
        told = arrays.failure(path, error, ".npz file")
        raise DataError(f"{told}; install recondoor again") from error
