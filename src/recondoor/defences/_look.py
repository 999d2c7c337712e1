"""What pairs share beyond their images: residuals, their cosines, and how unusual these are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.core import seeding
from recondoor.defences._cosines import (
    Edges,
    Strength,
    log_p_few,
    log_p_signs,
    strength_among,
    strength_of,
    tail_of,
)
from recondoor.defences._dispersion import dispersion_of
from recondoor.defences._nuisance import Nuisance, fitted_to
from recondoor.defences._parts import WHOLE, Part, windows_of
from recondoor.defences._planted import planted_in
from recondoor.poisoning import Pairs

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

LEVEL = 0.01
"""Probability at most with which clean pairs are called suspicious, over all tests below."""

TESTS = 2
"""Random signs and few pairs."""

LIMIT = math.log(LEVEL / TESTS)
"""Logarithm of the p value up to which one of them is an alarm."""

DEPENDENT = 0.5
"""Factor on the logarithm of the law for few pairs, which takes edges for independent.

Clean sets of magnitudes reached p = 0.0025 by it in 1 of 8.
"""

DRAWS = 999
"""Random signs of all pairs; no p value is below 1 / (1 + DRAWS)."""

MORE, MUCH = 2.0, 0.3
"""Factor on the limit, and root mean cube of a pair's cosines, from which similar images count.

Of 86 clean sets of other pipelines and 54 of the benchmark's few pairs reached 0.8 of the limit,
and means were 0.27 at most.
"""

FEWEST = 20
"""Pairs below which there is no telling what is usual."""

EXPLAINED = 0.5
"""Share of z's energy that x must explain in the median pair, or they are no pairs of one image."""


@dataclass(frozen=True)
class Look:
    """Residuals, and how unusual their cosines are.

    Args:
        edges: of the whole image.
        strength: of all pairs, of the whole image or, where one is an alarm, of that window.
        dispersion: how far residuals of the whole image are from noise.
        log_p: logarithm of the whole image's p value.
        parts: the whole image and windows, of the pairs `sample`.
        sample: indices (n,).
        least: logarithm of the least p value of a part, as one test of `TESTS`.
        alike: whether edges between similar images tell of much that is shared.
    """

    edges: Edges
    strength: Strength
    dispersion: float
    log_p: float
    parts: tuple[Part, ...]
    sample: Tensor
    least: float
    alike: bool


def look(pairs: Pairs, defender: Defender) -> tuple[Nuisance, Look]:
    """What the pairs share, and the residuals that it leaves.

    Where these are far from noise, what lies between images and inputs may be no filter.
    """
    chosen = _chosen(pairs, defender)
    nuisance, rows, dispersion = _residuals(_fitted(pairs, defender, chosen), pairs, chosen)
    for other in (Nuisance.with_link, Nuisance.of_loud):
        if dispersion == 1 and nuisance.explained >= EXPLAINED:
            break
        again = other(nuisance, pairs.z, pairs.x, chosen)
        if again is not None:
            nuisance, rows, dispersion = _residuals(again, pairs, chosen)
    if dispersion > 1:
        evener = _residuals(nuisance.of_content(pairs.z, pairs.x, chosen), pairs, chosen)
        if evener[2] < dispersion:
            nuisance, rows, dispersion = evener
    return nuisance, _compared(pairs, nuisance, rows, dispersion, chosen, defender.seed)


def without_borders(
    pairs: Pairs, nuisance: Nuisance, defender: Defender, least: float
) -> Pairs | None:
    """Inputs less what borders explain, twice: the gain that is fitted without them tells more.

    None where borders explain less than the share `least` of what is left there.
    """
    z, share = nuisance.without_borders(pairs.z, pairs.x)
    if share < least:
        return None
    less = replace(pairs, z=z)
    again = _fitted(less, defender, _chosen(less, defender))
    return replace(less, z=again.without_borders(less.z, less.x)[0])


def _compared(
    pairs: Pairs, nuisance: Nuisance, rows: Tensor, dispersion: float, chosen: Tensor, seed: int
) -> Look:
    """Cosines of residuals over all of the image, then in windows among some pairs."""
    edges, signs = Edges.of(rows, pairs.x, chosen), signs_of(len(rows), seed)
    sample = planted_in(len(rows), seeding.torch_generator(seed, "sample"))
    strength, cosines = strength_of(edges, signs), edges.among(sample)
    log_p = min(_logs(strength, cosines, rows.shape[1])) / dispersion - math.log(WHOLE)
    shape = torch.Size(_size(pairs, nuisance))
    whole = Part(shape, None, 0.0, cosines, dispersion, WHOLE)
    windows = windows_of(edges, shape, sample, dispersion)
    draws = signs_of(len(sample), seed)
    logs = [log_p, *(log_p_of(part, draws) for part in windows)]
    best = min(range(len(logs)), key=logs.__getitem__)
    if best and logs[best] <= LIMIT:
        part = windows[best - 1]
        strength = strength_of(replace(edges, rows=part.of(edges.rows)), signs)
    parts, alike = (whole, *windows), _alike(edges, sample, dispersion, draws)
    return Look(edges, strength, dispersion, log_p, parts, sample, logs[best], alike)


def _alike(edges: Edges, sample: Tensor, dispersion: float, draws: Tensor) -> bool:
    """Whether pairs share much where edges between similar images count as well.

    Poison can make images alike, or be in alike ones, and then the edges that tell of it are left
    out. Neighbours and copies of one object share residuals too, so that more is asked.
    """
    cosines = replace(edges, limit=math.inf).among(sample)
    found = strength_among(cosines, draws)
    few, signs = (each / dispersion for each in _logs(found, cosines, edges.rows.shape[1]))
    mean = math.cbrt(float((found.signed / found.edges.clamp_min(1)).max()))
    return few <= MORE * LIMIT or (signs <= LIMIT and mean >= MUCH)


def log_p_of(part: Part, draws: Tensor) -> float:
    """Logarithm of a part's p value over its share of the level; `draws` are signs of pairs.

    Of windows few pairs count alone: images that differ in all else may agree there, and what they
    leave, however little, has one sign in hundreds of them.
    """
    few, signs = _logs(strength_among(part.cosines, draws), part.cosines, part.values)
    found = few if part.window is not None else min(few, signs)
    return found / part.dispersion - math.log(part.level)


def _chosen(pairs: Pairs, defender: Defender) -> Tensor:
    """Indices of the pairs that shared quantities are fitted to: blank ones only beside few."""
    generator = seeding.torch_generator(defender.seed, "fitted")
    shown = torch.nonzero(~blank(pairs.z))[:, 0]
    if len(shown) < FEWEST:
        shown = torch.arange(len(pairs))
    return shown[fitted_to(len(shown), pairs.x[0].numel(), generator)]


def blank(z: Tensor) -> Tensor:
    """Which inputs (N, C, H, W) show nothing, bool (N,)."""
    flat = z.flatten(1)
    return flat.amax(1) == flat.amin(1)


def _size(pairs: Pairs, nuisance: Nuisance) -> list[int]:
    """(C, H, W) of residuals."""
    channels, *size = pairs.x.shape[1:]
    return [channels, *(-(-each // nuisance.step) for each in size)]


def _residuals(nuisance: Nuisance, pairs: Pairs, chosen: Tensor) -> tuple[Nuisance, Tensor, float]:
    """What the fit leaves, white and less its mean, and how far it is from noise."""
    nuisance, rows = nuisance.centred(nuisance.rows(pairs.z, pairs.x, torch.arange(len(pairs))))
    residuals = rows[chosen].view(-1, *_size(pairs, nuisance))
    return nuisance, rows, dispersion_of(residuals, nuisance.held(chosen))


def _logs(found: Strength, cosines: Tensor, values: int) -> Iterator[float]:
    """Logarithms of the tests' p values; `cosines` (n, n) give the law of the edges.

    The law for few pairs is not proved, so it has a control. Poison makes no cliques of cosines of
    the wrong sign: as much as the law makes of those, it makes of nothing.
    """
    tail = tail_of(cosines, values)
    few = log_p_few(found.near, tail)
    yield DEPENDENT * (few if few > LIMIT else few - log_p_few(found.against, tail))
    yield log_p_signs(found)


def _fitted(pairs: Pairs, defender: Defender, chosen: Tensor) -> Nuisance:
    """What the pairs share, with the operator or without it, whichever explains more of z.

    Masks of each slice explain more, but what they leave has another spectrum in each pair, and the
    one whitening of all pairs buries lesions in it: there the operator is left out.
    """
    plain = Nuisance.of(pairs.z, pairs.x, None, chosen)
    if defender.operator is None or defender.operator.varies:
        return plain
    measured = Nuisance.of(pairs.z, pairs.x, defender.operator, chosen)
    return plain if plain.explained > measured.explained else measured


def signs_of(count: int, seed: int) -> Tensor:
    """Random signs of pairs, (N, DRAWS)."""
    generator = seeding.torch_generator(seed, "signs", count)
    return torch.randint(0, 2, (count, DRAWS), generator=generator).float() * 2 - 1
