"""What lies in a folder of somebody's images: which files, of which format, of which subject."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recondoor.core.errors import DataError
from recondoor.io import arrays, gate

MOST_FILES = 1_000_000
"""Files that a folder may hold."""
DEEPEST = 5
"""Folders within folders: a subject's may hold those of its examinations and series."""

SUFFIXES = {
    ".png": "PNG",
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".h5": "HDF5",
    ".hdf5": "HDF5",
    ".cfl": "BART",
    ".dcm": "DICOM",
    ".dicom": "DICOM",
    ".ima": "DICOM",
}
"""Formats by what a file's name ends with; a DICOM file often ends with none of them."""


@dataclass(frozen=True)
class Found:
    """Files of one format in a folder, each with the subfolder that names its subject, or ''."""

    form: str
    files: tuple[tuple[str, Path], ...]


def form_of(path: Path, inside: Path | None = None) -> str | None:
    """Format of a file, by its name or, where that says nothing, by how DICOM files begin."""
    name = path.name.lower()
    for suffix, form in SUFFIXES.items():
        if name.endswith(suffix):
            return form
    known = not path.suffix or path.suffix[1:].isdecimal()
    return "DICOM" if known and _begins_as_dicom(path, inside) else None


def found_in(folder: Path) -> Found:
    """The images of a folder, in the order of their names; files of no such format are left out.

    PNGs directly in the folder are one set without subjects, whatever its subfolders hold.
    Otherwise a subfolder holds what belongs to one subject. Links are not followed. Raises
    DataError if there are none, more than one format, or too many files.
    """
    files = [
        (subject, path, form)
        for subject, path in _files(folder)
        if not path.name.startswith(".") and (form := form_of(path, folder)) is not None
    ]
    direct = [each for each in files if not each[0]]
    if any(form == "PNG" for _, _, form in direct):
        files = direct
    forms = Counter(form for _, _, form in files)
    if not forms:
        raise DataError(
            f"'{folder}' holds no PNG and no volume; expected .png files directly in it, or "
            "volumes in NIfTI, NRRD, HDF5, DICOM or BART's format"
        )
    if len(forms) > 1:
        shown = ", ".join(f"{count} {form}" for form, count in sorted(forms.items()))
        raise DataError(f"'{folder}' holds {shown} files; expected one format, so part them")
    return Found(next(iter(forms)), tuple((subject, path) for subject, path, _ in files))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Subject and path of every file, sorted by path; raises DataError beyond MOST_FILES."""
    count, waiting = 0, [(folder, "", 0)]
    found = []
    while waiting:
        place, subject, depth = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    count += 1
                    if count > MOST_FILES:
                        raise DataError(
                            f"'{folder}' holds more than {MOST_FILES:,} files; put the images into "
                            "an .npy file"
                        )
                    if entry.is_dir(follow_symlinks=False):
                        if depth < DEEPEST and not entry.name.startswith("."):
                            waiting.append((place / entry.name, subject or entry.name, depth + 1))
                    else:
                        found.append((subject, place / entry.name))
        except OSError as error:
            raise DataError(f"'{place}' cannot be read: {arrays.reason(error)}") from error
    yield from sorted(found, key=lambda each: each[1])


def _begins_as_dicom(path: Path, inside: Path | None) -> bool:
    try:
        with gate.opened(path, most=gate.ARRAYS, inside=inside) as stream:
            return stream.read(132)[128:] == b"DICM"
    except (OSError, ValueError):
        return False
