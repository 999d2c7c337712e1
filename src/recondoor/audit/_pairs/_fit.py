"""Does the operator given fit the pairs? If it does not, what physics flags is no sign of poison.

Of a clean pair the whitened residual is N(0, I), whatever its image is. Poisoned pairs add to it, a
wrong operator does so to all of them, by what their images are. So the pairs with the smaller
residuals tell: with the right operator most of them are clean, and their residuals have the energy
of noise, no direction, and nothing to do with the image (docs/limits.md).
"""

import math

import torch
from scipy.special import chdtri
from scipy.stats import binom
from torch import Tensor

from recondoor import defences
from recondoor.audit._judgement import LEVEL
from recondoor.audit._pairs._doubts import FEW, is_noisy
from recondoor.audit._pairs._residuals import calm_as_noise, follow, has_bulk, structure
from recondoor.defences import Defender, Physics, evenly, parts_of
from recondoor.poisoning import Pairs

THEIRS = 0.1
"""Share of the pairs that must agree with an operator and a noise level that were given."""

MOST = 0.5
"""The same where the noise level is estimated, which holds while fewer than half are poisoned."""

MOST_VALUES = 20_000_000
"""Values of images that are compared with the operator, at most: of more, some pairs tell."""

VISIBLE = 0.25
"""Share of the pairs with visible images that must agree, where many others are blank."""


def misfit(physics: Physics, pairs: Pairs, alarm: float, noise_known: bool) -> str | None:
    """Why the operator did not measure these pairs, fewer than half of which may be poisoned.

    None if it may have. Where the noise was given, more may be poisoned: those that agree with it
    agree by no chance.
    """
    some = evenly(len(pairs), MOST_VALUES // max(1, pairs.x[0].numel()))
    physics, pairs = physics.rows(some), Pairs(pairs.z[some], pairs.x[some])
    inside = ~_outside(physics, pairs)
    if int(inside.sum()) < THEIRS * len(pairs):
        return _cannot_give(int((~inside).sum()), len(pairs))
    if by_images := misfit_by_images(physics, pairs, alarm):
        return by_images
    shown = inside & _visible(physics, pairs.x, alarm)
    if not shown.any():
        return None
    left, count = Pairs(pairs.z[shown], pairs.x[shown]), int(shown.sum())
    # An artefact makes a blank image visible, so that poisoned pairs may be more than half of them.
    least = max(VISIBLE * count, count - MOST * len(pairs))
    return _contradiction(physics.rows(shown), left, alarm, noise_known, least)


def _contradiction(
    physics: Physics, pairs: Pairs, alarm: float, noise_known: bool, least: float
) -> str | None:
    """What residuals of visible pairs, with a z that the operator can give, say against it.

    `least` of them have to agree with it, or fewer where the noise is known.
    """
    white, count, x = physics.residual(pairs.z, pairs.x), len(pairs), pairs.x.flatten(1).double()
    energy = white.square().sum(1)
    beyond = ~(energy <= physics.rank * _limit(physics, alarm))
    noisy = is_noisy(physics, pairs.z)
    fitting = int((~beyond).sum())
    if noise_known and noisy and _by_no_chance(energy[~beyond], physics.rank):
        least = min(least, max(FEW, THEIRS * count))
    if fitting < least:
        return _does_not_explain(int(beyond.sum()), count)
    if not noisy:
        return None
    silent = _silent(physics, pairs.z)
    if silent:
        return f"in {silent} directions that it measures their z have nothing, not even noise"
    if not has_bulk(energy, physics.rank, noise_known, least / count):
        return "their residuals have another law than noise"
    if noise_known and (shown := _more_noise(energy, physics, alarm)):
        return shown
    return None if physics.varies else structure(white, x)


def _silent(physics: Physics, z: Tensor) -> int:
    """Directions along which none of z (N, C, H, W) has anything."""
    parts = [
        (physics.rows(part).seen(physics.basis.along(z[part].flatten(1).double())) == 0).all(0)
        for part in parts_of(z)
    ]
    return 0 if physics.varies else int(torch.stack(parts).all(0).sum())


def _by_no_chance(fitting: Tensor, rank: int) -> bool:
    """Whether those of the energies (N,) that agree with the noise are spread as noise is.

    Half of noise is below its median; what an operator only nearly explains is above it.
    """
    below = int((fitting <= float(chdtri(rank, 0.5))).sum())
    return bool(binom.cdf(below, len(fitting), 0.5) > LEVEL)


def _more_noise(energy: Tensor, physics: Physics, alarm: float) -> str | None:
    """Whether noise that is above the one given explains what is beyond its threshold."""
    count, limit = len(energy), physics.rank * _limit(physics, alarm)
    scale = float(energy.median()) / float(chdtri(physics.rank, 0.5))

    def usual(values: Tensor) -> bool:
        return bool(binom.sf(int((values > limit).sum()) - 1, count, alarm) > LEVEL)

    if (
        usual(energy)
        or not usual(energy / scale)
        or not calm_as_noise(energy / scale, physics.rank)
    ):
        return None
    return f"noise of {physics.sigma * scale**0.5:.3g} explains them, but less was given"


def misfit_by_images(physics: Physics, pairs: Pairs, alarm: float) -> str | None:
    """Whether what contradicts the operator follows from the images, however many pairs do."""
    some = evenly(len(pairs), MOST_VALUES // max(1, pairs.x[0].numel()))
    physics, pairs = physics.rows(some), Pairs(pairs.z[some], pairs.x[some])
    x, outside = pairs.x.flatten(1).double(), _outside(physics, pairs)
    if follow((pairs.z - physics.project(pairs.z)).flatten(1), x, outside):
        return f"what {int(outside.sum())} z have that it cannot give follows from their images"
    white = physics.residual(pairs.z, pairs.x)
    beyond = (white.square().mean(1) > _limit(physics, alarm)) & ~outside
    if follow(white[~outside], x[~outside], beyond[~outside]):
        return f"the residuals of {int(beyond.sum())} of {len(pairs)} follow from their images"
    return None


def misfit_of_trusted(physics: Physics, trusted: Pairs, alarm: float) -> str | None:
    """Why the operator did not measure these clean pairs; None if it may have."""
    outside = int(_outside(physics, trusted).sum())
    if outside:
        return _cannot_give(outside, len(trusted))
    scores = defences.pair_detector("measurement-residual").scores(
        trusted, Defender(physics=physics)
    )
    beyond = int((scores > _limit(physics, alarm)).sum())
    return _does_not_explain(beyond, len(trusted)) if 2 * beyond > len(trusted) else None


def other_units(physics: Physics, pairs: Pairs, alarm: float) -> str | None:
    """How z must be rescaled, where the operator then explains these pairs; None if it does not.

    The factor is the median over pairs of each one's by least squares.
    """
    some = evenly(len(pairs), MOST_VALUES // max(1, pairs.x[0].numel()))
    physics, pairs = physics.rows(some), Pairs(pairs.z[some], pairs.x[some])
    slopes = []
    for part in parts_of(pairs.x):
        mine, z, x = physics.rows(part), pairs.z[part], pairs.x[part]
        said = mine.measured(x)
        energy = said.square().sum(1)
        along = ((mine.contradiction(z, x) + said) * said).sum(1) / energy.clamp_min(1e-300)
        slopes.append(along[energy > 0])
    every = torch.cat(slopes)
    scale = float(every.median()) if len(every) else 0.0
    if not (scale > 0 and math.isfinite(scale)):
        return None
    # What an estimated noise level cures is no matter of units.
    as_it_is, scaled = (
        misfit(physics.estimated(each.z, each.x), each, alarm, False)
        for each in (pairs, Pairs(pairs.z / scale, pairs.x))
    )
    if scaled is not None or as_it_is is None:
        return None
    return (
        f"the measurements are {scale:.3g} times what the operator makes of the images, and but "
        f"for that it explains them: give y, or z, times {1 / scale:.3g}, and operator.sigma in "
        "those units"
    )


def _cannot_give(many: int, count: int) -> str:
    return f"{many} of {count} have a z that it cannot give"


def _does_not_explain(many: int, count: int) -> str:
    return f"{many} of {count} have an image that does not explain the measurement"


def _outside(physics: Physics, pairs: Pairs) -> Tensor:
    """Which pairs the range test flags, (N,); scores that are no numbers speak against nothing."""
    test, defender = defences.pair_detector("range-test"), Defender(physics=physics)
    limit = test.law(defender, 0.5)
    return test.scores(pairs, defender) > (math.inf if limit is None else limit)


def _limit(physics: Physics, alarm: float) -> float:
    limit = defences.pair_detector("measurement-residual").law(Defender(physics=physics), alarm)
    return math.inf if limit is None else limit


def _visible(physics: Physics, x: Tensor, alarm: float) -> Tensor:
    """Which images x (N, C, H, W) could contradict the operator, (N,): a blank one fits any."""
    measured = torch.cat(
        [physics.rows(part).measured(x[part]).square().sum(1) for part in parts_of(x)]
    )
    excess = float(chdtri(physics.rank, alarm)) - physics.rank
    seen: Tensor = measured > max(excess, 1.0) * physics.sigma**2
    return seen & (measured > 0)
