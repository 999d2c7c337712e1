"""Clean images: registered data sets, a user's own files, seeded splits, fingerprints.

A new data set is one file in this folder with a one-line docstring and
``load(data_dir, progress) -> Images``, which returns ``Images.of(name, train, test)``.
"""

from pathlib import Path

from recondoor import registry
from recondoor.data._content import first_of_each, shared
from recondoor.data._files import read_path
from recondoor.data._images import Images
from recondoor.data._published import with_home
from recondoor.data._splits import Splits, repeats, split
from recondoor.errors import DataError, nearest
from recondoor.progress import NO_PROGRESS, Progress

__all__ = ["Images", "Splits", "find", "first_of_each", "load", "repeats", "shared", "split"]


def load(
    name_or_path: str, data_dir: Path | None = None, progress: Progress = NO_PROGRESS
) -> Images:
    """Load a registered data set, or the .npz or .npy file or folder of PNGs at a path.

    A registered name wins over a file of that name (write ``./mnist`` for the file). `data_dir`
    is the folder with a registered set's files and has no effect on paths. Raises DataError, one
    line, if there is no such set or file or its content is not what it should be.
    """
    known = registry.names("datasets")
    if name_or_path in known:
        images: Images = registry.load("datasets", name_or_path).load(data_dir, progress)
        return images
    return read_path(_path(name_or_path, known), progress)


def find(name_or_path: str, data_dir: Path | None = None) -> Path | None:
    """Where `load` would read from; None if it would have to download or has nothing to read.

    Reads no images. Raises DataError as `load` does for unknown names and missing folders.
    """
    known = registry.names("datasets")
    if name_or_path in known:
        module = registry.load("datasets", name_or_path)
        found: Path | None = module.find(data_dir) if hasattr(module, "find") else None
        return found
    return _path(name_or_path, known)


def _path(name_or_path: str, known: tuple[str, ...]) -> Path:
    path = with_home(Path(name_or_path), "data.name")
    if not name_or_path or not path.exists():
        raise DataError(
            f"data.name: '{name_or_path}' is neither a file or folder nor a registered data set; "
            f"there are {', '.join(known)}" + nearest(name_or_path, known)
        )
    return path
