"""Data sets published as a pair of IDX files: where they are looked for, and how far trusted.

Look-up order: the folder given, then the folder in RECONDOOR_DATA, /usr/share/datasets (where
Debian puts them), the user's cache, and last a one-time download into that cache.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from recondoor.core.errors import DataError
from recondoor.core.progress import Progress
from recondoor.data._download import PublishedFile, fetch
from recondoor.data._idx import parse_images, read_bytes
from recondoor.data._images import Images
from recondoor.io import gate

SYSTEM_FOLDER = Path("/usr/share/datasets")
VARIABLE = "RECONDOOR_DATA"


@dataclass(frozen=True)
class PublishedSet:
    """Training and test images of one set, the folder names they go by, and their mirrors.

    A mirror is a URL to which ``<file name>.gz`` is appended.
    """

    name: str
    train: PublishedFile
    test: PublishedFile
    folders: tuple[str, ...]
    mirrors: tuple[str, ...]


def load_published(source: PublishedSet, data_dir: Path | None, progress: Progress) -> Images:
    """Load `source` from the first place that has it; see the module for the order.

    Raises DataError if `data_dir` is given and does not have the files, if files found are
    damaged or not those of this set, and if they are nowhere and no mirror delivers.
    """
    found = locate(source, data_dir)
    if found is None:
        contents: list[bytes | bytearray] = [
            _from_cache(source, file, progress) for file in (source.train, source.test)
        ]
        where: tuple[Path | str, ...] = (source.train.name, source.test.name)
    else:
        contents = [read_bytes(path) for path in found]
        where = found
    train, test = (parse_images(*pair) for pair in zip(contents, where, strict=True))
    if found is not None:
        for file, content, path in zip((source.train, source.test), contents, found, strict=True):
            _check_identity(source, file, content, path, progress)
    return Images.of(source.name, train, test)


def locate(source: PublishedSet, data_dir: Path | None) -> tuple[Path, Path] | None:
    """Paths of the training and test images in a given or system folder; None if in neither.

    The user's cache is not looked at. Raises DataError if a folder that the user named does not
    exist, or if `data_dir` lacks the files.
    """
    if data_dir is not None:
        found = _pair(source, _existing(data_dir, "data.dir"))
        if found is None:
            raise DataError(
                f"data.dir: '{data_dir}' has no {source.train.name} (or .gz), neither directly "
                f"nor in a subfolder {source.folders[0]}"
            )
        return found
    named = os.environ.get(VARIABLE)
    found = _pair(source, _existing(Path(named), VARIABLE)) if named else None
    return found or _pair(source, SYSTEM_FOLDER, direct=False)


def cached(source: PublishedSet) -> Path | None:
    """The user's cache folder for this set if both files are there, whatever is in them."""
    try:
        folder = _cache_folder(source)
    except DataError:
        return None
    complete = all((folder / file.name).is_file() for file in (source.train, source.test))
    return folder if complete else None


def with_home(path: Path, key: str) -> Path:
    """`path` with the home folder for a leading ~; DataError if there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise DataError(
            f"{key}: '{path}' begins with ~, but no home folder is known; write the path out"
        ) from None


def _existing(folder: Path, key: str) -> Path:
    folder = with_home(folder, key)
    if not folder.is_dir():
        raise DataError(f"{key}: '{folder}' is not a folder; expected one with the data files")
    return folder


def _pair(source: PublishedSet, folder: Path, direct: bool = True) -> tuple[Path, Path] | None:
    # Sets share file names, so the subfolder that says which set it is goes first.
    for place in (*(folder / name for name in source.folders), *([folder] if direct else [])):
        train, test = (_file(place, file.name) for file in (source.train, source.test))
        if train and test:
            return train, test
        present = train or test
        if present:
            missing = source.test.name if train else source.train.name
            raise DataError(f"'{place}' has {present.name} but no {missing} (or .gz)")
    return None


def _file(folder: Path, name: str) -> Path | None:
    # Some unpackers write the last hyphen but one as a dot: train-images.idx3-ubyte.
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
        if (folder / candidate).is_file():
            return folder / candidate
    return None


def _cache_folder(source: PublishedSet) -> Path:
    try:
        folder = platformdirs.user_cache_path("recondoor")
    except RuntimeError:
        folder = Path("~")
    # Older versions of platformdirs give back the ~ that they cannot resolve.
    if not folder.is_absolute():
        raise DataError(
            f"{source.name}: no home folder is known to keep it in; set XDG_CACHE_HOME, or give "
            "the folder with the files as --data-dir"
        )
    return folder / source.name


def _from_cache(source: PublishedSet, file: PublishedFile, progress: Progress) -> bytes:
    path = _cache_folder(source) / file.name
    if path.is_file():
        content = _intact(path, file)
        if content is not None:
            return content
        progress.say(f"{source.name}: '{path}' is damaged and is downloaded again")
    try:
        content = _intact(fetch(file, source.mirrors, path.parent, progress), file)
    except DataError as error:
        raise DataError(f"{source.name}: {error}") from error
    if content is None:
        raise DataError(f"{source.name}: '{path}' changed after it was downloaded; try again")
    return content


def _intact(path: Path, file: PublishedFile) -> bytes | None:
    try:
        content = gate.read_bytes(path, most=file.size)
    except (OSError, gate.Refused):
        return None
    return content if _digest(content) == file.sha256 else None


def _check_identity(
    source: PublishedSet,
    file: PublishedFile,
    content: bytes | bytearray,
    path: Path,
    progress: Progress,
) -> None:
    digest = _digest(content)
    if digest == file.sha256:
        return
    if len(content) == file.size:
        raise DataError(
            f"'{path}' is damaged or another data set's: as large as {source.name}'s {file.name} "
            f"but its SHA-256 is {digest[:12]}..., expected {file.sha256[:12]}..."
        )
    progress.say(f"{source.name}: '{path}' is not the published file; using it as it is")


def _digest(content: bytes | bytearray) -> str:
    return hashlib.sha256(content).hexdigest()
