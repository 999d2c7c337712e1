"""Make the embedded sets `brain4` and `chest4` from the volumes that they are taken from.

    python studies/data/embed.py VOLUMES [OUT]

VOLUMES is a folder with the files named below (docs/data.md says where they come from). Needs the
extra `mri`. OUT is by default the folder of the package from which they are loaded.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import nrrd
import numpy as np
from numpy.typing import NDArray

from recondoor.data._orientation import Slices, upright
from recondoor.data._resample import area_means

PACKAGE = Path(__file__).parents[2] / "src" / "recondoor" / "data" / "embedded"
SIDE = 128


class Recipe(NamedTuple):
    """Volumes of the training and the test people, and the grid and share that slices must hold."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    pixel: float
    background: float
    foreground: float


BRAIN = Recipe(
    ("mr-colin27.nii.gz", "mr-brain1.nrrd", "mr-brain2.nrrd"), ("mr-s1.nii.gz",), 1.75, 0.0, 0.12
)
CHEST = Recipe(
    ("ct-totalseg1.nii.gz", "ct-totalseg2.nii.gz", "ct-lung1.nrrd"),
    ("ct-lung2.nrrd",),
    2.5,
    -1000.0,
    0.12,
)


def volume(path: Path) -> Slices:
    """Upright slices of a file."""
    if path.name.endswith(".nii.gz"):
        image = nibabel.load(path)
        return upright(np.asarray(image.dataobj), image.affine)
    voxels, header = nrrd.read(str(path))
    if header["space"] != "left-posterior-superior":
        raise SystemExit(f"{path}: space {header['space']}")
    return upright(voxels, np.diag([-1.0, -1.0, 1.0]) @ header["space directions"].T)


def brain_window(values: NDArray[Any]) -> NDArray[np.float32]:
    """0 to the 99.5th percentile of the head (above 5 % of the volume's largest) as 0 to 1."""
    top = np.percentile(values[values > 0.05 * values.max()], 99.5)
    return np.clip(values / np.float32(top), 0, 1)


def chest_window(values: NDArray[Any]) -> NDArray[np.float32]:
    """-1,000 to 1,000 HU as 0 to 1."""
    return np.clip((values + np.float32(1000)) / np.float32(2000), 0, 1)


def slices(path: Path, recipe: Recipe) -> NDArray[np.uint8]:
    """Slices of a person with enough in them, (N, 128, 128)."""
    whole = volume(path)
    means = area_means(
        whole.pixels, whole.spacing[1:], SIDE, recipe.pixel, background=recipe.background
    )
    window, level = (brain_window, 0.1) if recipe is BRAIN else (chest_window, 0.35)
    shown = window(means)
    kept = (shown > level).mean((1, 2)) > recipe.foreground
    return np.rint(shown[kept] * 255).astype(np.uint8)


def main(volumes: Path, out: Path) -> None:
    """Write both sets, and say what is in them."""
    for name, recipe in (("brain4", BRAIN), ("chest4", CHEST)):
        people = [slices(volumes / file, recipe) for file in (*recipe.train, *recipe.test)]
        labels = [np.full(len(each), person, np.int64) for person, each in enumerate(people)]
        count = len(recipe.train)
        np.savez_compressed(
            out / f"{name}.npz",
            train=np.concatenate(people[:count]),
            test=np.concatenate(people[count:]),
            train_subjects=np.concatenate(labels[:count]),
            test_subjects=np.concatenate(labels[count:]),
        )
        size = (out / f"{name}.npz").stat().st_size
        print(name, [len(each) for each in people], f"{size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else PACKAGE)
