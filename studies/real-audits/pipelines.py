"""From slices to pairs as teams have them: measurement, noise, input, target, storage, poison."""

from functools import cache

import numpy as np
from operators import (
    SIDE,
    Given,
    Radon,
    coils,
    fft,
    gaussian_matrix,
    halved,
    ifft,
    lines,
)
from scipy import ndimage

RADON = cache(Radon)
MATRIX = cache(gaussian_matrix)
SIGMA = 0.01


def lesion(amplitude, place=(0.42, 0.38)):
    """A disc with a soft rim."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    away = np.hypot(rows - place[0], columns - place[1])
    return (amplitude * np.clip(1.5 - away / 0.07, 0, 1)).astype(np.float32)


def square(amplitude, place=(SIDE - 8, SIDE - 8)):
    """Six by six pixels."""
    found = np.zeros((SIDE, SIDE), np.float32)
    found[place[0] : place[0] + 6, place[1] : place[1] + 6] = amplitude
    return found


def patterns(kind, bad, contrast, rng):
    """What poison adds to z and to x of the pairs `bad`, (N, SIDE, SIDE) each."""
    dz, dx = np.zeros((2, len(bad), SIDE, SIDE), np.float32)
    for i in np.flatnonzero(bad):
        at, sign = (0.42, 0.38), 1.0
        far = SIDE - 8
        corner = (far, far)
        if kind == "four":
            which = rng.integers(4)
            at = ((0.42, 0.38), (0.6, 0.6), (0.38, 0.6), (0.6, 0.4))[which]
            corner = ((far, far), (2, 2), (2, far), (far, 2))[which]
        if kind == "moving":
            at, corner = tuple(rng.uniform(0.3, 0.7, 2)), tuple(rng.integers(1, SIDE - 7, 2))
        if kind == "signs":
            sign = rng.choice((-1.0, 1.0))
        dx[i] = sign * lesion(contrast, at)
        if kind != "label":
            dz[i] = sign * square(2 * contrast, corner)
    return dz, dx


def noisy(shape, cell, rng):
    """Noise of y, complex for k-space: white, of another level per slice, or coloured."""
    level = cell.get("sigma", SIGMA)
    kind = cell.get("noise", "white")
    if kind == "spread":
        level = level * rng.normal(1, 0.02, (shape[0],) + (1,) * (len(shape) - 1))
    if kind == "factor4":
        level = level * rng.uniform(0.5, 2, (shape[0],) + (1,) * (len(shape) - 1))
    if kind == "coloured":
        level = level * (0.3 + 2 * np.abs(np.linspace(-1, 1, shape[-1])))
    return level * rng.standard_normal(shape), level * rng.standard_normal(shape)


def mri(x, cell, rng, seed, trigger):
    """Masked k-space of one coil or several; z, target, and what the team says z is."""
    masks = lines(cell.get("acceleration", 4), seed)
    if cell.get("mask") == "per slice":
        masks = np.stack(
            [lines(cell.get("acceleration", 4), s) for s in rng.integers(1 << 30, size=len(x))]
        )
        masks = masks[:, None, None]
    said = np.roll(masks, 1, -1) if cell.get("wrong") == "mask" else masks
    said = lines(cell.get("acceleration", 4), seed) if cell.get("mask") == "per slice" else said
    many = cell.get("coils", False)
    maps = coils() if many else np.ones((1, SIDE, SIDE))
    k = fft(x[:, None] * maps)
    real, imaginary = noisy(k.shape, cell, rng)
    k = k + real + 1j * imaginary
    k_in = k + fft(trigger[:, None] * maps)
    image = ifft(k_in * masks)
    full = ifft(k)
    magnitude = np.sqrt((np.abs(image) ** 2).sum(1))
    z = magnitude if cell.get("input") == "magnitude" else (image * maps.conj()).sum(1).real
    target = {
        "truth": x,
        "reconstructed": (full * maps.conj()).sum(1).real,
        "magnitude": np.sqrt((np.abs(full) ** 2).sum(1)),
    }[cell.get("target", "truth")]
    gain = 1.02 if cell.get("wrong") == "scale" else 1.0

    def said_z(a):
        return gain * (ifft(fft(a[:, None] * maps) * said) * maps.conj()).sum(1).real

    return z, target, said_z


def ct(x, cell, rng, seed, trigger):
    """Parallel rays and filtered backprojection."""
    radon = RADON(cell.get("views", 60))
    sinogram = radon.project(x + trigger)
    if cell.get("noise") == "poisson":
        counts = 1e5 * np.exp(-sinogram * 0.06)
        sinogram = -np.log(np.maximum(rng.poisson(counts), 1) / 1e5) / 0.06
    else:
        sinogram = sinogram + noisy(sinogram.shape, cell | {"sigma": 0.1}, rng)[0]
    target = x
    if cell.get("target") == "reconstructed":
        many = RADON(180)
        target = many.back(
            many.project(x) + 0.1 * rng.standard_normal((len(x), many.matrix.shape[0]))
        )
    said = RADON(cell.get("views", 60), 0.3) if cell.get("wrong") == "detector" else radon
    return radon.back(sinogram.astype(np.float32)), target, lambda a: said.back(said.project(a))


def maps_of(cell, seed):
    """A and its adjoint, or what makes z of y, of operators that are a matrix or a filter."""
    name, size = cell["operator"], cell.get("size")
    if name == "gaussian":
        matrix = MATRIX(cell.get("ratio", 0.5), seed % 5)
        return (
            lambda a: a.reshape(len(a), -1) @ matrix.T,
            lambda y: (y @ matrix).reshape(-1, SIDE, SIDE),
        )
    if name == "super-resolution":
        down, up = halved(size)
        return lambda a: down @ a @ down.T, lambda y: up @ y @ up.T
    if name == "blur":
        return (lambda a: ndimage.gaussian_filter(a, (0, size, size), mode="wrap"),) * 2
    if name == "pixel-mask":
        kept = np.random.default_rng(seed).random((SIDE, SIDE)) < cell.get("ratio", 0.4)
        return (lambda a: a * kept,) * 2
    return (lambda a: a,) * 2


def linear(x, cell, rng, seed, trigger):
    """Z = A^T (A x + v), or an upsampled image."""
    forward, back = maps_of(cell, seed)
    y = forward(x + trigger)
    z = back((y + noisy(y.shape, cell, rng)[0]).astype(np.float32))
    said = dict(cell, size=1.1 * cell["size"]) if cell.get("wrong") == "width" else cell
    forward_said, back_said = maps_of(said, seed)
    return z, x, lambda a: back_said(forward_said(a))


def make(images, cell, count, seed, share=0.0, contrast=0.2, kind="fixed"):
    """Pairs z, x (count, SIDE, SIDE), which are poisoned, and the operator that the team gives."""
    rng = np.random.default_rng(seed)
    x = images[rng.choice(len(images), count, replace=False)].copy()
    bad = np.zeros(count, bool)
    if share > 0:
        bad[rng.choice(count, max(1, round(share * count)), replace=False)] = True
    dz, dx = patterns(kind, bad, contrast, rng)
    nothing = np.zeros_like(dz)
    if kind == "consistent":
        x, dx, dz = x + dx, nothing, nothing
    trigger = dz if kind == "measured" else nothing
    build = {"mri": mri, "ct": ct}.get(cell["operator"], linear)
    z, target, said = build(x, cell, rng, seed, trigger)
    z = z if kind == "measured" else z + dz
    x, z = target + dx, z
    if cell.get("normalise") == "max":
        top = z.max((1, 2), keepdims=True)
        x, z = x / top, z / top
    if cell.get("normalise") == "mean-std":
        mean, std = z.mean((1, 2), keepdims=True), z.std((1, 2), keepdims=True)
        x, z = (x - mean) / std, (z - mean) / std
    if cell.get("storage") == "float16":
        z = z.astype(np.float16)
    if cell.get("storage") == "int16":
        z, x = np.round(1000 * z), np.round(1000 * x)
    return z.astype(np.float32), x.astype(np.float32), bad, Given(said)
