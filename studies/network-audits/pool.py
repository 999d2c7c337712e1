"""Pairs of the bank's training people, made as the bank's training pairs were, with other draws.

Slices of three people each, turned, scaled, shifted and mirrored at random, and measured. BANK has
them in slices.npz. 200 are 5 % of what a network of the bank was trained on.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recondoor.poisoning import Pairs

SIDE, VIEWS = 64, 30
SIGMA = {"mr_real": 0.01, "mr_mag": 0.01, "mr_complex": 0.01, "ct": 0.1, "sr": 0.01}
PEOPLE = {"mr": ("colin27", "brain1", "brain2"), "ct": ("totalseg1", "totalseg2", "lung1")}
ANOTHER = {"mr": ("s1",), "ct": ("lung2",)}
"""Whom no network was trained on."""

Whose = dict[str, tuple[str, ...]]


def slices(
    folder: Path, what: str, count: int, generator: torch.Generator, whose: Whose = PEOPLE
) -> Tensor:
    """Images (count, 1, 64, 64), the largest value of each 1; `what` is "mr" or "ct"."""
    with np.load(folder / "slices.npz", allow_pickle=False) as file:
        names = [f"{what}_{who}{cut}_{SIDE}" for who in whose[what] for cut in ("", "_sag", "_cor")]
        found = np.concatenate([file[name] for name in names if name in file.files])
    base = torch.from_numpy(found).float()[:, None] / 255
    drawn = torch.rand(count, 7, generator=generator)
    turn, zoom = (drawn[:, 0] - 0.5) * math.radians(20), 0.85 + 0.3 * drawn[:, 1]
    flip = torch.where(drawn[:, 2] < 0.5, -1.0, 1.0)
    down, right = ((drawn[:, k] - 0.5) * 0.12 for k in (3, 4))
    rows = (
        torch.stack([flip * zoom * turn.cos(), -zoom * turn.sin(), down], 1),
        torch.stack([flip * zoom * turn.sin(), zoom * turn.cos(), right], 1),
    )
    grid = functional.affine_grid(torch.stack(rows, 1), [count, 1, SIDE, SIDE], align_corners=False)
    chosen = base[torch.randint(len(base), (count,), generator=generator)]
    x = functional.grid_sample(chosen, grid, align_corners=False).clamp(0, 1)
    x = x ** (0.8 + 0.5 * drawn[:, 5])[:, None, None, None]
    x = x / x.amax((1, 2, 3), keepdim=True).clamp_min(1e-3)
    return x * _disc() if what == "ct" else x


def _disc() -> Tensor:
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    return ((at[:, None].square() + at.square()).sqrt() < SIDE / 2 - 1).float()


def measured(pipe: str, x: Tensor, mask: Tensor | None, generator: torch.Generator) -> Tensor:
    """Inputs z of images x (N, 1, 64, 64), by the bank's pipeline of that name."""
    if pipe == "ct":
        project, back = (torch.from_numpy(each) for each in projections())
        y = x.flatten(1) @ project.T
        y = y + SIGMA[pipe] * torch.randn(y.shape, generator=generator)
        return (y @ back.T).view_as(x)
    if pipe == "sr":
        y = functional.avg_pool2d(x, 2)
        y = y + SIGMA[pipe] * torch.randn(y.shape, generator=generator)
        return functional.interpolate(y, scale_factor=2, mode="bicubic", align_corners=False)
    assert mask is not None
    image = x[:, 0].to(torch.complex64)
    if pipe == "mr_mag":
        image = image * torch.polar(torch.ones_like(x[:, 0]), _phases(len(x), generator))
    noise = torch.randn(2, *image.shape, generator=generator)
    y = _centred(torch.fft.fft2, image) + SIGMA[pipe] * torch.complex(noise[0], noise[1])
    z = _centred(torch.fft.ifft2, mask * y)
    parts = {"mr_real": [z.real], "mr_mag": [z.abs()], "mr_complex": [z.real, z.imag]}
    return torch.stack(parts[pipe], 1).contiguous()


def _centred(transform: object, image: Tensor) -> Tensor:
    assert callable(transform)
    moved = torch.fft.ifftshift(image, dim=(-2, -1))
    return torch.fft.fftshift(transform(moved, norm="ortho"), dim=(-2, -1))


def _phases(count: int, generator: torch.Generator) -> Tensor:
    at, w = torch.arange(SIDE) / SIDE, torch.randn(4, count, 1, 1, generator=generator)
    down, right = at[:, None], at[None]
    return 3 * w[0] + 1.2 * w[1] * right + 1.2 * w[2] * down + w[3] * right * down


def projections() -> tuple[np.ndarray, np.ndarray]:
    """Parallel projections of 30 views, and filtered back-projection after Kak and Slaney."""
    a = np.zeros((VIEWS, SIDE, SIDE * SIDE), np.float32)
    down, right = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    for view, turn in enumerate(np.linspace(0, np.pi, VIEWS, endpoint=False)):
        at = (right * np.cos(turn) + down * np.sin(turn)).ravel() + (SIDE - 1) / 2
        low = np.floor(at).astype(int)
        for place, weight in ((low, 1 - (at - low)), (low + 1, at - low)):
            inside = (place >= 0) & (place < SIDE)
            np.add.at(a[view], (place[inside], np.flatnonzero(inside)), weight[inside])
    away = np.arange(2 * SIDE) - SIDE
    odd = -1 / (np.pi * np.where(away == 0, 1, away)) ** 2
    ramp = np.where(away == 0, 0.25, np.where(away % 2 != 0, odd, 0))
    between = np.arange(SIDE)[:, None] - np.arange(SIDE)[None] + SIDE
    filtered = np.einsum("vbp,bc->pvc", a, (2 * ramp[between]).astype(np.float32))
    back = filtered.reshape(SIDE * SIDE, -1) * (np.pi / (2 * VIEWS))
    return a.reshape(VIEWS * SIDE, -1), back.astype(np.float32)


def pairs(
    folder: Path,
    run: dict[str, object],
    mask: Tensor | None,
    count: int,
    seed: int = 0,
    whose: Whose = PEOPLE,
) -> Pairs:
    """Clean ones, of the training people of a network of the bank or of others."""
    generator, pipe = torch.Generator().manual_seed(seed), str(run["pipe"])
    x = slices(folder, "ct" if pipe == "ct" else "mr", count, generator, whose)
    z = measured(pipe, x, mask, generator)
    missing = z.shape[1] - x.shape[1]
    return Pairs(z, torch.cat((x, torch.zeros_like(x)), 1) if missing else x)
