"""Clean images: registered data sets, a user's own files, seeded splits, fingerprints.

A new data set is a class that derives from `DataSet` and returns ``Images.of(name, train, test)``.
"""

from pathlib import Path
from typing import cast

from recondoor.config import Data
from recondoor.core import registry
from recondoor.core.errors import DataError, nearest
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.data._base import DataSet
from recondoor.data._content import first_of_each, shared
from recondoor.data._files import read_path
from recondoor.data._hdf5 import KSpace, read_kspace
from recondoor.data._images import Images
from recondoor.data._prepared import prepared
from recondoor.data._published import with_home
from recondoor.data._splits import Splits, remarks, repeats, split

__all__ = [
    "DataSet",
    "Images",
    "KSpace",
    "Splits",
    "find",
    "first_of_each",
    "load",
    "prepared",
    "read",
    "read_kspace",
    "remarks",
    "repeats",
    "shared",
    "source",
    "split",
]


def read(settings: Data, progress: Progress = NO_PROGRESS) -> Images:
    """The images of a study: loaded by `data.name`, `.dir` and `.window`, and then prepared.

    `settings.foreground`, `.size` and `.phase` say how. Raises as `load`, and ConfigError where a
    setting does not fit the images.
    """
    found = load(settings.name, settings.dir, progress, window=settings.limits)
    return prepared(found, settings)


def source(settings: Data) -> Data:
    """The settings that `read` looks at, the others at their defaults."""
    rest = {"validation", "test", "limit"}
    fields = Data.model_fields
    return settings.model_copy(update={name: fields[name].default for name in rest})


def load(
    name_or_path: str,
    data_dir: str | Path | None = None,
    progress: Progress = NO_PROGRESS,
    *,
    window: tuple[float, float] | None = None,
) -> Images:
    """Load a registered data set, one's own by MODULE:NAME, or the images at a path.

    A path is that of a file or folder of images or volumes, as docs/data.md lists them. A
    registered name wins over a file of that name (write ``./mnist`` for the file). `data_dir` is
    the folder with a registered set's files and has no effect on paths; `window` are the values of
    volumes that become 0 and 1, and have an effect on volumes alone.

    Raises:
        DataError: in one line: there is no such set or file, or its content is not what it should
            be.

    Example:
        >>> import recondoor as rd
        >>> rd.load_images("brain4").train.shape  # slices of three people, of 128 x 128 pixels
        (212, 1, 128, 128)
    """
    known, told = registry.names("datasets"), f"data.name: '{name_or_path}'"
    if name_or_path not in known and not _is_own_code(name_or_path):
        return read_path(_path(name_or_path, known), progress, window)
    if window is not None:
        raise DataError(f"data.window: given, but '{name_or_path}' is no file of volumes; leave it")
    plug_in = _load(name_or_path)
    with registry.told(plug_in, told):
        images: object = plug_in.load(None if data_dir is None else Path(data_dir), progress)
    if not isinstance(images, Images):
        raise DataError(f"{told} gives {type(images).__name__}; expected Images, by Images.of")
    return images


def find(name_or_path: str, data_dir: Path | None = None) -> Path | None:
    """Where `load` would read from; None if it would have to download or has nothing to read.

    Reads no images. Raises DataError as `load` does for unknown names and missing folders.
    """
    known = registry.names("datasets")
    if name_or_path in known or _is_own_code(name_or_path):
        plug_in = _load(name_or_path)
        with registry.told(plug_in, f"data.name: '{name_or_path}'"):
            return plug_in.find(data_dir)
    return _path(name_or_path, known)


def _load(name: str) -> DataSet:
    return cast("type[DataSet]", registry.load("datasets", name))()


def _is_own_code(name: str) -> bool:
    """Whether a name is MODULE:NAME; a file of that name is a file."""
    return registry.is_own_code(name) and not Path(name).exists()


def _path(name_or_path: str, known: tuple[str, ...]) -> Path:
    path = with_home(Path(name_or_path), "data.name")
    if not name_or_path or not path.exists():
        raise DataError(
            f"data.name: '{name_or_path}' is neither a file or folder nor a registered data set; "
            f"there "
            f"are {', '.join(known)}, or give MODULE:NAME, a class of your own"
            + nearest(name_or_path, known)
        )
    return path
