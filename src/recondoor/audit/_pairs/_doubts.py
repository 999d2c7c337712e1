"""Why pairs that no detector finds suspicious cannot be called clean."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import chdtri
from scipy.stats import binom
from torch import Tensor

from recondoor import defences
from recondoor.audit._judgement import LEVEL, Judged, counted, suspicious
from recondoor.audit._pairs._directions import RARE, has_directions, has_directions_along
from recondoor.core.words import plural, plural_of
from recondoor.defences import Physics, evenly, parts_of
from recondoor.poisoning import Pairs

RESIDUAL = "measurement-residual"
"""The detector whose flags may be noise that is louder than the others'."""

FEW = 20
"""Pairs below which their own median residual says too little about the noise."""

UNUSUAL = 0.01
"""Probability from which a count of flags is one of chance, over all detectors."""

SMALL = 0.01
"""Share of the residuals of noise that are called small."""

MOST = 20_000_000
"""Values of images of which residuals are compared with noise, at most."""

ABOVE = 100.0
"""Energy of the noise, in that of rounding errors, above which residuals must have its law."""


def of_noise(physics: Physics, pairs: Pairs) -> list[str]:
    """What speaks against a noise level that was estimated from the suspected pairs themselves.

    It is right while fewer than half of them are poisoned. If more are, the residuals of the clean
    ones are too small for it, or, as one trigger and one artefact are in all, their mean is not 0.
    """
    if len(pairs) < FEW:
        few = f"the noise level is estimated from {plural(len(pairs), 'pair')}, too few for that"
        return [f"{few}; {_remedy(physics)}"]
    some = evenly(len(pairs), MOST // max(1, pairs.x[0].numel()))
    physics, pairs = physics.rows(some), Pairs(pairs.z[some], pairs.x[some])
    signal = torch.cat(
        [physics.rows(part).measured(pairs.x[part]).square().sum(1) for part in parts_of(pairs.x)]
    )
    if physics.rank * physics.sigma**2 > float(signal.median()):
        absurd = (
            f"the noise estimated, sigma = {physics.sigma:.3g}, has more energy than the images"
        )
        return [f"{absurd}: x does not explain y; {_remedy(physics)}"]
    if _is_noise(physics, pairs, is_noisy(physics, pairs.z)):
        return []
    why = (
        "the noise level was estimated from the pairs themselves, and their residuals are not "
        "those of noise: more than half may be poisoned, or the operator is not quite theirs"
    )
    return [f"{why}; {_remedy(physics)}"]


def is_noisy(physics: Physics, z: Tensor) -> bool:
    """Whether the noise is so far above rounding that residuals must have its law."""
    parts = [physics.rows(part).rounding(z[part]).mean(1) for part in parts_of(z)]
    return bool(physics.sigma**2 > ABOVE * float(torch.cat(parts).mean()))


def _is_noise(physics: Physics, pairs: Pairs, noisy: bool) -> bool:
    """Whether whitened residuals have mean 0, and no more small ones than noise has."""
    whitened, count, rank = physics.residual(pairs.z, pairs.x), len(pairs), physics.rank
    mean, freedom = physics.in_common(whitened)
    small = int((whitened.square().sum(1) < chdtri(rank, 1 - SMALL)).sum())
    usual = not noisy or binom.sf(small - 1, count, SMALL) > RARE
    return bool(mean < chdtri(freedom, RARE) and usual)


def of_rankings(judged: Sequence[Judged], pairs: Pairs, varies: bool = False) -> list[str]:
    """What a detector that only ranks shows, where a few pairs are of another make than others.

    `varies`: whether slices have masks of their own, which trusted pairs keep from being tested.
    """
    alone = " and leave --operator out" if varies else ""
    found = []
    for each in judged:
        apart = None
        if each.threshold is None:
            apart = defences.pair_detector(each.name).apart(pairs)
        many = 0 if apart is None else int(apart.sum())
        if many:
            told = plural_of(many, len(each.scores), "pair", "stand")
            found.append(
                f"{told} apart from the others by {each.name}, "
                f"which may be natural; give --clean{alone} to decide"
            )
    return found


def of_numbers(judged: Sequence[Judged], waiting: int = 0) -> list[str]:
    """Whether a detector's silence is none, as so few pairs could not have been suspicious.

    The level is split over `waiting` tests besides those that looked.
    """
    tests = counted(judged)
    level = LEVEL / max(1, len(tests) + waiting)
    silent = [each for each in tests if each.least is not None and each.least > level]
    if not silent:
        return []
    told = plural(len(judged[0].scores), "pair", "are")
    few = f"{told} too few: {silent[0].name} would prove nothing even if"
    return [f"{few} all were flagged; give more, or a lower --alarm"]


def of_louder(physics: Physics | None, pairs: Pairs, judged: Sequence[Judged]) -> list[str]:
    """Whether what the residual flags is noise like that of the others, but louder.

    Poison has a direction, or few; the noise of a worse coil or a lower dose has none.
    """
    mine = [each for each in judged if each.name == RESIDUAL and each.threshold is not None]
    if physics is None or not mine or not suspicious(mine):
        return []
    flagged = torch.from_numpy(mine[0].flagged)
    physics = physics.rows(flagged)
    white = physics.residual(pairs.z[flagged], pairs.x[flagged])
    unit = white / white.norm(dim=1, keepdim=True).clamp_min(1e-300)
    if len(unit) < 2 or physics.rank < 3 or _have_directions(unit, physics):
        return []
    why = "it has no direction, as what is drawn into images has"
    found = f"{plural(len(unit), 'pair', 'have')} more noise than the others, and {why}"
    return [f"{found}; {_apart(physics, len(unit))}"]


def _remedy(physics: Physics) -> str:
    """What mends a noise level that was estimated; trusted pairs do where one operator fits all."""
    return "give operator.sigma" if physics.varies else "give operator.sigma or --clean"


def _apart(physics: Physics, louder: int) -> str:
    """What mends noise of two levels; in a file of its own each is estimated from its own pairs."""
    if not physics.varies:
        return "look at them, or give --clean to decide"
    few = f" (fewer than {FEW} need their own operator.sigma)" if louder < FEW else ""
    return f"look at them, and audit them and the others in files of their own{few}"


def _have_directions(unit: Tensor, physics: Physics) -> bool:
    if physics.lines is None:
        return has_directions(unit, physics.rank)
    return has_directions_along(unit, physics.lines)


def of_flags(judged: Sequence[Judged], waiting: int = 0) -> list[str]:
    """Counts of flags that are too many for chance and too few for proof; `waiting` as above."""
    tests, by_law = counted(judged), {each.name for each in judged if each.basis == "law"}
    split = max(1, len(tests) + waiting)
    return [
        f"{each.name} flags {each.flagged}, where {each.expected:.3g} are expected: too many for "
        f"chance (p = {each.p_value:.2g}) and too few for proof; look at them, or "
        + ("audit more pairs at once" if each.name in by_law else "give more trusted ones")
        for each in tests
        if LEVEL / split <= each.p_value < UNUSUAL / split
    ]


def of_gaps(judged: Sequence[Judged]) -> list[str]:
    """Scores far above all others, which a count of flags does not tell from others just above.

    Of a tail that falls off as 1 / score or faster, the k-th largest score is beyond the next by
    a factor of more than f with probability f^-k at most (spacings of a Pareto law).
    """
    found = []
    for each in judged:
        if each.threshold is None or each.whole is not None:
            continue
        ordered = np.sort(each.scores[each.scores > each.threshold])[::-1]
        below = each.scores[each.scores <= each.threshold]
        steps = np.append(ordered, below.max() if len(below) else 0.0)
        if len(ordered) == 0 or steps[-1] <= 0 or 2 * len(ordered) > len(each.scores):
            continue
        places = np.arange(1, len(steps))
        jumps = places * np.log(steps[:-1] / steps[1:])
        most = int(jumps.argmax())
        if len(steps) * np.exp(-jumps[most]) < LEVEL:
            found.append(
                f"{most + 1} of {len(each.scores)} stand far apart from all others by {each.name}: "
                f"scores from {steps[most]:.3g}, where the next is {steps[most + 1]:.3g}; look at "
                "them"
            )
    return found
