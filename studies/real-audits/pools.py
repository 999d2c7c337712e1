"""Slices of real volumes: two pools that share no person.

    python pools.py [--side 64] [--count 1200] VOLUMES OUT [POOL ...]

A pool that is there is not made again. VOLUMES holds the files that `POOLS` names. k-space and
sinograms made of these slices are simulated from processed magnitude images (Shimron et al., PNAS
2022).
"""

import argparse
from pathlib import Path

import nibabel
import nrrd
import numpy as np
from scipy import ndimage

POOLS = {
    "design-mr": ("mr-colin27.nii.gz",),
    "design-ct": ("ct-lung1.nrrd", "ct-lung2.nrrd"),
    "score-mr": ("mr-s1.nii.gz", "mr-brain1.nrrd", "mr-brain2.nrrd"),
    "score-ct": ("ct-totalseg1.nii.gz", "ct-totalseg2.nii.gz"),
}


def volume(path):
    """A volume with values in [0, 1]."""
    if path.suffix == ".nrrd":
        values = nrrd.read(str(path))[0].astype(np.float32)
    else:
        values = np.asarray(nibabel.load(path).dataobj, np.float32)
    if path.name.startswith("ct"):
        return np.clip((values + 1000) / 2000, 0, 1)
    return np.clip(values / np.percentile(values, 99.8), 0, 1)


def cut(image, side, rng):
    """One slice, turned, zoomed, mirrored and with another gamma at random."""
    wide = max(image.shape)
    image = np.pad(image, [((wide - a) // 2, wide - a - (wide - a) // 2) for a in image.shape])
    zoom = wide / side * rng.uniform(0.9, 1.1)
    angle = np.deg2rad(rng.uniform(-10, 10))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    image = ndimage.gaussian_filter(image, 0.35 * zoom)
    start = wide / 2 - turn @ np.full(2, side / 2)
    image = ndimage.affine_transform(image, turn, start, (side, side), order=1)
    image = image[:, ::-1] if rng.random() < 0.5 else image
    return np.clip(image, 0, None) ** rng.uniform(0.8, 1.3)


def pool(name, folder, side, count):
    """Slices of the volumes of a pool, (count, side, side)."""
    rng = np.random.default_rng(sorted(POOLS).index(name))
    volumes = [volume(folder / each) for each in POOLS[name]]
    inside = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2)) < side / 2 - 1
    found = np.empty((count, side, side), np.float32)
    for i in range(count):
        one = volumes[rng.integers(len(volumes))]
        thick = min(one.shape) < 0.4 * max(one.shape)
        axis = 2 if thick or name.endswith("ct") else rng.integers(3)
        image = cut(np.take(one, int(one.shape[axis] * rng.uniform(0.3, 0.7)), axis), side, rng)
        image = image * inside if name.endswith("ct") else image
        found[i] = image / max(image.max(), 1e-3)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("volumes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("pools", nargs="*", default=list(POOLS))
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--count", type=int, default=1200, help="slices of each pool")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.pools:
        if not (given.out / f"{name}.npy").exists():
            np.save(given.out / f"{name}.npy", pool(name, given.volumes, given.side, given.count))
