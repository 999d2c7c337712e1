"""Whether a folder can be where the user wants it, known before anything is computed."""

import errno
import os
from pathlib import Path

from recondoor.core.errors import RunError

SUFFIXES = {".npz", ".h5", ".hdf5", ".npy", ".png", ".safetensors", ".onnx", ".toml"}
"""Ends of file names that say the kind of the file; other dots belong to the name."""

LONGEST_NAME = 255
"""Bytes of a name on Linux's file systems."""


def bare_name(path: Path) -> str:
    """The last name of a path, without its suffix if that is a known one."""
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def require_place(path: Path, remedy: str = "choose another --out") -> None:
    """Refuse a folder that can neither be there nor be made; raises RunError."""
    for part in (path, *path.parents):
        if len(os.fsencode(part.name)) > LONGEST_NAME:
            raise RunError(
                f"{part}: the name has {len(os.fsencode(part.name))} bytes, and a name may have "
                f"{LONGEST_NAME}; {remedy}"
            )
    for part in (path, *path.parents):
        try:
            if part.is_symlink() and not part.exists():
                raise RunError(
                    f"{part}: leads to nowhere ({part.readlink()} is not there); {remedy}"
                )
            if part.exists():
                if not part.is_dir():
                    raise RunError(f"{part}: is a file; {remedy}")
                return
        except OSError as error:
            if error.errno == errno.ENOTDIR:
                continue  # a file further up, which is told
            raise RunError(f"{part}: {error.strerror}; {remedy}") from None
