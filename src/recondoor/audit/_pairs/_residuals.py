"""Tests of whitened residuals: what noise has, what poison adds, what an operator gives away."""

import math

import torch
from scipy.special import chdtri, ndtr
from scipy.stats import binom
from torch import Tensor

from recondoor.audit._pairs._directions import RARE, has_directions
from recondoor.audit._pairs._doubts import FEW

CALM = (0.002, 0.02, 0.1, 0.2)
"""Probabilities of the noise's law, all below its median, at which small residuals are counted."""

SCALES = 50
"""Noise levels that are tried between those of no poisoned pair and of as many as there may be."""

QUIET = 0.01
"""Probability with which noise is as small as what is called quiet along one direction."""

RIDGE = 0.01
"""Share of the images' mean energy that is added to their own when residuals are learnt."""

LEARNT = 2_000
"""Pairs at most from which residuals are learnt, and of which they are foretold."""

TRIGGERS, STEPS = 4, 10
"""Groups of alike residuals that poison may make, and steps in which they are found."""

EXPLAINED = 0.5
"""Share of flagged residuals' energy, and of what groups leave of it, that images must explain."""


def structure(white: Tensor, x: Tensor) -> str | None:
    """What whitened residuals (N, rank) of images x (N, pixels) show that noise does not.

    One half of the pairs is learnt from, the calm ones of the other are told; then the other way.
    """
    energy, rank = white.square().sum(1), white.shape[1]
    calm = energy <= min(float(energy.median()), float(chdtri(rank, 0.5)))
    even = torch.arange(len(white)) % 2 == 0
    for learnt in (even, ~even):
        known, new = (torch.nonzero(part)[:LEARNT, 0] for part in (learnt, calm & ~learnt))
        if len(new) < FEW // 2 or rank < 3:
            continue
        main = _main_direction(white[known])
        if too_quiet(white[~learnt] @ main):
            return "the noise along a direction that it measures is lacking in them"
        rest = white - (white @ main)[:, None] * main
        rest = rest / rest.norm(dim=1, keepdim=True).clamp_min(1e-300)
        if foretold(rest[known], x[known], rest[new], x[new], rank - 1):
            return "their residuals follow from their images"
        if has_directions(rest[new], rank - 1):
            return "their residuals have directions, which noise has not"
    return None


def has_bulk(energy: Tensor, rank: int, noise_known: bool, share: float) -> bool:
    """Whether at least a `share` of these energies (N,), the smaller ones, may be those of noise.

    What is poisoned has larger ones (a noncentral chi-square law, whose ratio to the central one
    increases). So of those below the median of noise, no larger share than noise has is smaller
    still. The noise may be overstated, as poisoned pairs raise the median; then one of the levels
    down to that at which half are poisoned has to fit.
    """
    found, middle = energy.sort().values, float(chdtri(rank, 0.5))
    least = int(binom.ppf(RARE, len(found), share / 2))
    first = max(1, least)
    places = torch.linspace(first, max(first, math.ceil(len(found) / 2)), SCALES)
    tried = [(1 + 1e-9) * float(found[k - 1]) / middle for k in places.round().int().tolist()]
    # Noise that was given is not smaller than the truth: that would be an alarm of its own.
    scales = [1.0, *(each for each in tried if each < 1)] if noise_known else tried
    return any(
        int((found <= scale * middle).sum()) >= least
        and calm_as_noise(found / max(scale, 1e-300), rank)
        for scale in scales
    )


def calm_as_noise(energy: Tensor, rank: int) -> bool:
    below = int((energy <= float(chdtri(rank, 0.5))).sum())
    smaller = [(p, int((energy <= float(chdtri(rank, 1 - p))).sum())) for p in CALM]
    return all(binom.sf(count - 1, below, 2 * p) > RARE for p, count in smaller)


def _main_direction(white: Tensor) -> Tensor:
    """The direction with most energy, (rank,): that of a trigger, where one is in many pairs."""
    if len(white) < white.shape[1]:
        found = torch.linalg.eigh(white @ white.T).eigenvectors[:, -1] @ white
        unit: Tensor = found / found.norm().clamp_min(1e-300)
        return unit
    direction: Tensor = torch.linalg.eigh(white.T @ white).eigenvectors[:, -1]
    return direction


def too_quiet(along: Tensor) -> bool:
    """Whether more of these (N,) than of noise are next to 0; poisoned ones are so less often."""
    low = math.sqrt(float(chdtri(1, 1 - QUIET)))
    count = int((along.abs() < low).sum())
    return bool(binom.sf(count - 1, len(along), QUIET) < RARE)


def foretold(known: Tensor, images: Tensor, new: Tensor, others: Tensor, rank: int) -> bool:
    """Whether a linear map that is learnt from the `known` directions tells the `new` ones.

    Along any direction that does not depend on it, a uniform unit vector has mean 0 and variance
    1 / rank.
    """
    told = _map(known, images, others)
    told = told / told.norm(dim=1, keepdim=True).clamp_min(1e-300)
    sure = float((told * new).sum()) * math.sqrt(rank / len(new))
    return bool(ndtr(-sure) < RARE)


def follow(parts: Tensor, x: Tensor, flagged: Tensor) -> bool:
    """Whether what is odd about `flagged` pairs (N,), `parts` (N, ...), follows from images x.

    A linear map that is learnt from half of all pairs tells it for the flagged ones of the other
    half, and better than that some triggers each leave the same.
    """
    even = torch.arange(len(parts)) % 2 == 0
    known = torch.nonzero(even)[:LEARNT, 0]
    alike, new = torch.nonzero(even & flagged)[:LEARNT, 0], torch.nonzero(~even & flagged)[:, 0]
    if min(len(alike), len(new)) < FEW // 2:
        return False
    truth = parts[new]
    left = float((truth - _map(parts[known], x[known], x[new])).square().sum())
    # A clean pair that is flagged by chance has noise alone.
    groups = torch.cat((_groups(parts[alike]), torch.zeros_like(truth[:1])))
    nearest = torch.cdist(truth, groups).amin(1).square().sum()
    return left < (1 - EXPLAINED) * min(float(truth.square().sum()), float(nearest))


def _map(known: Tensor, images: Tensor, others: Tensor) -> Tensor:
    """What a linear map, learnt from `known` (N, ...) of images (N, D), makes of others (M, D)."""
    energy = images @ images.T
    energy.diagonal().add_(RIDGE * float(energy.diagonal().mean()) + 1e-300)
    told: Tensor = others @ images.T @ torch.linalg.solve(energy, known)
    return told


def _groups(points: Tensor) -> Tensor:
    """Means of groups of `points` (N, D), (k, D): Lloyd's k-means, begun far apart."""
    centres = points.mean(0, keepdim=True)
    while len(centres) < TRIGGERS:
        far = torch.cdist(points, centres).amin(1).argmax()
        centres = torch.cat((centres, points[far : far + 1]))
    for _ in range(STEPS):
        nearest = torch.cdist(points, centres).argmin(1)
        filled = [nearest == k for k in range(len(centres))]
        centres = torch.stack([points[mine].mean(0) for mine in filled if mine.any()])
    return centres
