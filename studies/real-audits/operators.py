"""Operators as plain maps, small enough to read: a measurement, its network input, and noise."""

import os

import numpy as np
import torch
from scipy import ndimage, sparse

from recondoor.operators import LinearOperator

SIDE = int(os.environ.get("SIDE", "64"))


def fft(x):
    """Centred and orthonormal."""
    return np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(x, axes=(-2, -1)), norm="ortho"), axes=(-2, -1)
    )


def ifft(y):
    """The inverse of `fft`."""
    return np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(y, axes=(-2, -1)), norm="ortho"), axes=(-2, -1)
    )


def lines(acceleration, seed, centre=0.08):
    """Cartesian mask: a full centre and random other lines, in centred order, (SIDE,)."""
    rng, full, mask = np.random.default_rng(seed), round(SIDE * centre), np.zeros(SIDE, bool)
    first = (SIDE - full + 1) // 2
    mask[first : first + full] = True
    others = np.flatnonzero(~mask)
    mask[rng.choice(others, round(SIDE / acceleration) - full, replace=False)] = True
    return mask


COILS = 6


def coils():
    """Smooth complex sensitivities whose squares add up to 1, (COILS, SIDE, SIDE)."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    maps = []
    for angle in np.arange(COILS) * 2 * np.pi / COILS:
        away = (rows - 0.6 * np.sin(angle)) ** 2 + (columns - 0.6 * np.cos(angle)) ** 2
        phase = angle + 2 * columns * np.cos(angle) + 2 * rows * np.sin(angle)
        maps.append(np.exp(-away / 0.5 + 1j * phase))
    maps = np.stack(maps)
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


class Radon:
    """Parallel rays by linear splats, and filtered backprojection."""

    def __init__(self, views, shift=0.0):
        places = np.arange(SIDE) - (SIDE - 1) / 2
        x, y = np.meshgrid(places, places)
        self.views, self.bins = views, int(np.ceil(SIDE * 1.45)) | 1
        rows, columns, values = [], [], []
        for i, angle in enumerate(np.arange(views) * np.pi / views):
            u = (x * np.cos(angle) + y * np.sin(angle)).ravel() + self.bins // 2 + shift
            low = np.floor(u).astype(int)
            for at, weight in ((low, 1 - u + low), (low + 1, u - low)):
                rows.append(i * self.bins + at)
                columns.append(np.arange(SIDE * SIDE))
                values.append(weight)
        shape = (views * self.bins, SIDE * SIDE)
        entries = (np.concatenate(rows), np.concatenate(columns))
        self.matrix = sparse.csr_matrix(
            (np.concatenate(values).astype(np.float32), entries), shape=shape
        )

    def project(self, x):
        """Sinograms (N, views * bins) of images."""
        return (self.matrix @ x.reshape(len(x), -1).T).T

    def back(self, y):
        """Images of sinograms, by filtered backprojection."""
        ramp = np.abs(np.fft.fftfreq(256)) * 2
        spectrum = np.fft.fft(y.reshape(len(y), self.views, self.bins), 256, axis=-1) * ramp
        filtered = np.fft.ifft(spectrum, axis=-1).real[..., : self.bins].reshape(len(y), -1)
        z = (self.matrix.T @ filtered.astype(np.float32).T).T * np.pi / (2 * self.views)
        return z.reshape(-1, SIDE, SIDE)


def halved(factor):
    """Mean over blocks of `factor` pixels, and linear interpolation back, as matrices."""
    small = SIDE // factor
    down = np.zeros((small, SIDE), np.float32)
    for i in range(small):
        down[i, i * factor : (i + 1) * factor] = 1 / factor
    up = ndimage.zoom(np.eye(small), (factor, 1), order=1, grid_mode=True, mode="nearest")
    return down, up.astype(np.float32)


def gaussian_matrix(ratio, seed):
    """Independent entries of variance 1 / m, (m, pixels)."""
    rows = round(ratio * SIDE * SIDE)
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, SIDE * SIDE)) / np.sqrt(rows)).astype(np.float32)


class Given(LinearOperator):
    """What a team says of its pipeline, as an operator: a linear map from an image to z.

    Audits ask for A_adjoint A alone. Here A is the map itself, and its adjoint is never needed.
    """

    def __init__(self, apply):
        object.__setattr__(self, "shape", (1, SIDE, SIDE))
        object.__setattr__(self, "sigma", 0.0)
        object.__setattr__(self, "apply", apply)

    def A(self, x):
        """Network inputs of noiseless images."""
        images = x[:, 0].numpy().astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(self.apply(images)))[:, None]

    def A_adjoint(self, y):
        """The same: A is the whole map."""
        return y
