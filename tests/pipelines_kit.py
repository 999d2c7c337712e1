"""Pairs as teams have them, small: blobs behind a Cartesian mask, and what pipelines do to them."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from recondoor.poisoning import Pairs

SIDE = 32
Array = NDArray[np.float64]


def heads(count: int, seed: int, side: int = SIDE) -> Array:
    """Ellipses with a few bright and dark blobs in them, (N, side, side), in [0, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    x = np.zeros((count, side, side))
    for image in x:
        high, wide = rng.uniform(0.33, 0.45, 2)
        image += 0.5 * np.clip(8 * (1 - np.hypot(rows / high, columns / wide)), 0, 1)
        for _ in range(6):
            at, size = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.04, 0.12)
            away = ((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / size**2
            image += rng.uniform(-0.3, 0.5) * np.exp(-away / 2)
    return x.clip(0, 1)


def mask(seed: int, side: int = SIDE) -> NDArray[np.bool_]:
    """Columns of k-space that are measured, in the order of the FFT."""
    rng, kept = np.random.default_rng(seed), np.zeros(side, bool)
    kept[[0, 1, 2, -1, -2]] = True
    kept[rng.choice(np.flatnonzero(~kept), side // 3 - 5, replace=False)] = True
    return kept


def fft(x: Array) -> NDArray[np.complex128]:
    return np.fft.fft2(x, norm="ortho")


def ifft(k: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.fft.ifft2(k, norm="ortho")


def complex_noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.complex128]:
    return 0.01 * (rng.standard_normal(shape) + 1j * rng.standard_normal(shape))


def plain(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The exact model: z is the zero-filled image, x the truth."""
    return ifft((fft(x) + complex_noise(x.shape, rng)) * mask(3, x.shape[-1])).real, x


def by_maximum(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    z, x = plain(x, rng)
    top = z.max((1, 2), keepdims=True)
    return z / top, x / top


def by_mean_and_spread(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    z, x = plain(x, rng)
    mean, spread = z.mean((1, 2), keepdims=True), z.std((1, 2), keepdims=True)
    return (z - mean) / spread, (x - mean) / spread


def other_levels(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    louder = rng.uniform(0.5, 2, (len(x), 1, 1))
    return ifft((fft(x) + louder * complex_noise(x.shape, rng)) * mask(3)).real, x


def coloured(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    shape = 0.3 + 4 * np.abs(np.fft.fftfreq(SIDE))
    return ifft((fft(x) + shape * complex_noise(x.shape, rng)) * mask(3)).real, x


def reconstructed(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """The target is made of the same noisy k-space."""
    full = fft(x) + complex_noise(x.shape, rng)
    return ifft(full * mask(3)).real, ifft(full).real


def reconstructed_magnitude(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    full = fft(x) + complex_noise(x.shape, rng)
    return ifft(full * mask(3)).real, np.abs(ifft(full))


def half_precision(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    z, x = plain(x, rng)
    return z.astype(np.float16).astype(float), x


def magnitude(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    return np.abs(ifft((fft(x) + complex_noise(x.shape, rng)) * mask(3))), x


def mask_per_slice(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    masks = np.stack([mask(100 + i) for i in range(len(x))])[:, None]
    return ifft((fft(x) + complex_noise(x.shape, rng)) * masks).real, x


def coils(x: Array) -> NDArray[np.complex128]:
    """Four smooth maps whose squares add up to 1, times each image, (N, 4, side, side)."""
    rows, columns = np.mgrid[: x.shape[1], : x.shape[2]] / x.shape[1] - 0.5
    angles = np.arange(4)[:, None, None] * np.pi / 2
    away = (rows - 0.6 * np.sin(angles)) ** 2 + (columns - 0.6 * np.cos(angles)) ** 2
    maps = np.exp(-away / 0.5 + 1j * (angles + 2 * columns * np.cos(angles)))
    found: NDArray[np.complex128] = x[:, None] * maps / np.sqrt((np.abs(maps) ** 2).sum(0))
    return found


def root_sum_of_squares(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    k = fft(coils(x)) + complex_noise((len(x), 4, *x.shape[1:]), rng)
    return np.sqrt((np.abs(ifft(k * mask(3))) ** 2).sum(1)), x


def kept_pixels(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    kept = np.random.default_rng(3).random(x.shape[1:]) < 0.5
    return kept * (x + 0.01 * rng.standard_normal(x.shape)), x


def half_as_many_pixels(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Means of 2 x 2 pixels, and linear interpolation."""
    y = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean((2, 4))
    y = y + 0.01 * rng.standard_normal(y.shape)
    return ndimage.zoom(y, (1, 2, 2), order=1, grid_mode=True, mode="nearest"), x


def counted(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Photons, two hundred where an image is 1: noise follows what it shows."""
    return rng.poisson(200 * x) / 200, x


def blurred(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Another border than a circular filter has, in images that reach it."""
    x = x[:, 4:-4, 4:-4]
    z = ndimage.gaussian_filter(x, (0, 1, 1), mode="nearest")
    return z + 0.01 * rng.standard_normal(z.shape), x


Pipeline = Callable[[Array, np.random.Generator], tuple[Array, Array]]
PIPELINES: tuple[Pipeline, ...] = (
    plain,
    by_maximum,
    by_mean_and_spread,
    other_levels,
    coloured,
    reconstructed,
    reconstructed_magnitude,
    half_precision,
    magnitude,
    mask_per_slice,
    root_sum_of_squares,
    kept_pixels,
    half_as_many_pixels,
    counted,
    blurred,
)


def disc(contrast: float, side: int = SIDE) -> Array:
    rows, columns = np.mgrid[:side, :side] / side
    away = np.hypot(rows - 0.42, columns - 0.38)
    return contrast * np.clip(1.5 - away / 0.07, 0, 1)


def made(
    pipeline: Pipeline, count: int = 100, seed: int = 0, poisoned: int = 0, contrast: float = 0.4
) -> Pairs:
    """Pairs of which the first `poisoned` have a disc in their targets."""
    z, x = pipeline(heads(count, seed), np.random.default_rng(seed + 1))
    spread = x.max((1, 2), keepdims=True) - x.min((1, 2), keepdims=True)
    x = x.copy()
    x[:poisoned] += (spread * disc(contrast, x.shape[-1]))[:poisoned]
    return of(z, x)


def of(z: Array, x: Array) -> Pairs:
    return Pairs(torch.from_numpy(z).float()[:, None], torch.from_numpy(x).float()[:, None])
