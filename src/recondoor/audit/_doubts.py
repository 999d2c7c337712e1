"""Why pairs that no detector finds suspicious cannot be called clean."""

from collections.abc import Sequence

from scipy.special import chdtri
from scipy.stats import binom
from torch import Tensor

from recondoor import defences
from recondoor.audit._judgement import LEVEL, Judged
from recondoor.defences import Physics
from recondoor.poisoning import Pairs

REMEDY = "give operator.sigma or --clean"

FEW = 20
"""Pairs below which their own median residual says too little about the noise."""

RARE = 1e-6
"""Probability at most with which clean pairs are said not to have the residuals of noise."""

SMALL = 0.01
"""Share of the residuals of noise that are called small."""

ABOVE = 100.0
"""Energy of the noise, in that of rounding errors, above which residuals must have its law."""


def of_noise(physics: Physics, pairs: Pairs) -> list[str]:
    """What speaks against a noise level that was estimated from the suspected pairs themselves.

    It is right while fewer than half of them are poisoned. If more are, the residuals of the clean
    ones are too small for it, or, as one trigger and one artefact are in all, their mean is not 0.
    """
    if len(pairs) < FEW:
        few = f"the noise level is estimated from {len(pairs)} pairs, which are too few for that"
        return [f"{few}; {REMEDY}"]
    noisy = physics.sigma**2 > ABOVE * float(physics.rounding(pairs.z).mean())
    if _is_noise(physics.residual(pairs.z, pairs.x), noisy):
        return []
    why = (
        "the noise level was estimated from the pairs themselves, and their residuals are not "
        "those of noise: more than half may be poisoned, or the operator is not quite theirs"
    )
    return [f"{why}; {REMEDY}"]


def _is_noise(whitened: Tensor, noisy: bool) -> bool:
    """Whether whitened residuals (N, rank) have mean 0, and no more small ones than noise has."""
    count, rank = whitened.shape
    mean = count * float(whitened.mean(0).square().sum())
    small = int((whitened.square().sum(1) < chdtri(rank, 1 - SMALL)).sum())
    usual = not noisy or binom.sf(small - 1, count, SMALL) > RARE
    return bool(mean < chdtri(rank, RARE) and usual)


def of_rankings(judged: Sequence[Judged], pairs: Pairs) -> list[str]:
    """What a detector that only ranks shows, where a few pairs are of another make than others."""
    found = []
    for each in judged:
        apart = None
        if each.threshold is None:
            apart = defences.pair_detector(each.name).apart(pairs)
        many = 0 if apart is None else int(apart.sum())
        if many:
            found.append(
                f"{many} of {len(each.scores)} pairs stand apart from the others by {each.name}, "
                "which may be natural; give --clean to decide"
            )
    return found


def of_numbers(judged: Sequence[Judged]) -> list[str]:
    """Whether a detector's silence is none, as so few pairs could not have been suspicious."""
    tests = [each for each in judged if each.p_value is not None]
    silent = [each for each in tests if each.least is not None and each.least > LEVEL / len(tests)]
    if not silent:
        return []
    few = f"{len(silent[0].scores)} pairs are too few: {silent[0].name} would prove nothing even if"
    return [f"{few} all were flagged; give more, or a lower --alarm"]
