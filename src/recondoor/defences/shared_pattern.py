"""Shared pattern: do some pairs have the same thing between z and x that others have not?

Poison is alike in all pairs that have it, and noise is not. The detector takes from each z what its
image explains, up to what honest pipelines do (scale, offset, a gain for each frequency, and what
`_links` has), whitens what is left, and asks whether pairs agree in it more often with one sign
than with the other (`_nuisance`, `_cosines`). Pairs that stand apart in any sign are no alarm, as
those of another scanner do too, but silence says nothing then (`_standing`). It needs no operator
where all pairs went through the same one, no noise level and no clean pairs. Silence counts only
where a lesion that it plants in these very pairs is found (`_planted`). Inputs are not looked at
alone: slices of one anatomy share too much.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.core import seeding
from recondoor.core.words import plural
from recondoor.defences._base import Power, SetDetector, SetFinding
from recondoor.defences._cosines import Strength
from recondoor.defences._look import (
    EXPLAINED,
    FEWEST,
    LEVEL,
    LIMIT,
    TESTS,
    Look,
    blank,
    log_p_of,
    look,
    signs_of,
    without_borders,
)
from recondoor.defences._makes import of_another_make
from recondoor.defences._nuisance import Nuisance, fitted_to
from recondoor.defences._order import misordered
from recondoor.defences._parts import WHOLE, Part
from recondoor.defences._planted import Field, power_of
from recondoor.defences._reasons import (
    APART,
    DOUBT,
    HALVES,
    LIKE,
    UNTOLD,
    faint,
    lacking,
    makes,
    odd,
)
from recondoor.defences._standing import TWO, kurtosis_along, log_p_apart
from recondoor.defences._white import chunks
from recondoor.poisoning import Pairs

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

NEAR = 0.5
"""P value below which pairs are not acquitted.

The tests ask more than their level says: of 368 clean sets of sixteen makes none was below.
"""

OWN, COMPARED = 0.8, 200
"""Share of the inputs that their own image must explain better than another's, and how many count.

Of pairs that were shuffled it is half.
"""

BORDERS = 0.5
"""Share of what is left at the borders that these explain, or else pairs without a doubt are not
fitted again: of other filters it was 0.6 to 0.97, of other pipelines 0.27 at most."""

BLANK = 1e-6
"""Variance, over the largest, up to which an image shows nothing to know its input by."""

FAR = 6.0
"""Usual deviations of a score above the median from which a pair carries what was found."""

LOOKED = 1 << 23
"""Values of images that are looked at for pairs of another make, at most."""

TO_SIGMA = 1.4826
"""Standard deviations of a normal law in its median absolute deviation."""


class SharedPattern(SetDetector):
    """Do some pairs share a pattern that their images do not explain?"""

    needs = ()
    sees = ("patch", "spread", "measured")

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Sum of a pair's cubed absolute cosines with the others, (N,)."""
        pairs = _in_memory(pairs)
        if len(pairs) < FEWEST:
            return torch.zeros(len(pairs), dtype=torch.float64)
        return look(pairs, defender)[1].strength.size

    def test(self, pairs: Pairs, defender: Defender) -> SetFinding:
        """As the module says."""
        pairs = _in_memory(pairs)
        if len(pairs) < FEWEST:
            few = f"{plural(len(pairs), 'pair', 'are')} too few, it needs {FEWEST}"
            return _silent(torch.zeros(len(pairs), dtype=torch.float64), None, few)
        nuisance, found = look(pairs, defender)
        strange = _strange(nuisance, pairs, defender)
        if strange is not None:
            return _silent(found.strength.size, None, strange)
        given = pairs
        if _bare(found.edges.rows, pairs.z) is None:
            pairs, nuisance, found = _with_borders(pairs, nuisance, found, defender)
        scores = found.strength.size
        p_value = min(1.0, TESTS * math.exp(found.least))
        if p_value <= LEVEL:
            return _alarm(nuisance, pairs, found, p_value)
        doubt = _doubt(found)
        if doubt is not None:
            return _silent(scores, p_value, doubt)
        bare = _bare(found.edges.rows, pairs.z)
        if bare is not None and bare.any():
            return _silent(scores + bare, p_value, odd(bare))
        power = _power(nuisance, pairs, found, defender, sure=bare is not None)
        remedy = _remedy(nuisance, pairs, defender)
        reason = lacking(power, len(pairs), remedy)
        if p_value < NEAR:
            return _silent(scores, p_value, reason or faint(p_value, remedy), power)
        silent = _silent(scores, p_value, reason, power)
        if reason is None or defender.operator is None or defender.operator.varies:
            return silent
        return _less_told(silent, self.test(given, replace(defender, operator=None)))

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return f"what its image does not explain is like that of others: {score:.3g} in all"


def _own(nuisance: Nuisance, pairs: Pairs) -> float:
    """Share of inputs that their own image explains better than one from half the set away."""
    some = torch.linspace(0, len(pairs) - 1, min(COMPARED, len(pairs))).round().long()
    energy = (pairs.x[some] / nuisance.of_x).flatten(1).var(dim=1, correction=0)
    some = some[energy > BLANK * energy.max()]
    if len(some) == 0:
        return 0.0
    other = (some + len(pairs) // 2) % len(pairs)
    own, others = (nuisance.unexplained(pairs.z[some], pairs.x[k], some) for k in (some, other))
    return float((own < others).float().mean())


def _strange(nuisance: Nuisance, pairs: Pairs, defender: Defender) -> str | None:
    """Why these are no pairs of an image and its input; None if they are."""
    own = _own(nuisance, pairs)
    if nuisance.explained >= EXPLAINED and own >= OWN:
        return None
    if order := misordered(pairs):
        return order
    if nuisance.explained >= EXPLAINED:
        return (
            f"only {own:.0%} of the inputs are explained better by their own image than by "
            "another's: z and x are not in the same order, or the images are nearly all the same"
        )
    remedy = "" if defender.operator is not None else "; give --operator if they are"
    return (
        f"images explain {max(0.0, nuisance.explained):.0%} of their inputs in the median pair, "
        "which is too little: z and x are not of one image, or what lies between them is not known"
        + remedy
    )


def _with_borders(
    pairs: Pairs, nuisance: Nuisance, found: Look, defender: Defender
) -> tuple[Pairs, Nuisance, Look]:
    """The same of inputs less what borders explain, if nothing is left then; else as it was.

    What leaves residuals further from noise explains nothing.
    """
    told = found.least <= LIMIT or _doubt(found) is not None
    if not told and found.dispersion == 1:
        return pairs, nuisance, found
    less = without_borders(pairs, nuisance, defender, 0.0 if told else BORDERS)
    if less is None:
        return pairs, nuisance, found
    again, other = look(less, defender)
    if other.dispersion > found.dispersion or other.least <= LIMIT or _doubt(other) is not None:
        return pairs, nuisance, found
    return less, again, other


def _alarm(nuisance: Nuisance, pairs: Pairs, found: Look, p_value: float) -> SetFinding:
    """What is suspicious, unless the pairs that are may be of another make."""
    scores, limit = found.strength.size, _threshold(found.strength.size)
    order = scores.argsort(descending=True)
    above = order[scores[order] > limit]
    most = max(FEWEST, LOOKED // pairs.x[0].numel())
    some = torch.linspace(0, len(pairs) - 1, min(most, len(pairs))).round().long()
    mean, noise = nuisance.residual_power(pairs.z[some], pairs.x[some], some)
    first = above[:most]
    left = nuisance.residual(pairs.z[first], pairs.x[first], first) - mean
    if of_another_make(left, pairs.x[first], noise):
        # Clean pairs of two makes share as much.
        return _silent(scores, 1.0, makes(above))
    pattern = _pattern(nuisance, pairs, found.strength)
    return SetFinding(scores, limit, p_value, LEVEL, pattern=pattern, power=None)


def _doubt(found: Look) -> str | None:
    """Why pairs that are no alarm may be poisoned all the same; None if nothing says so."""
    if (found.log_p + math.log(WHOLE)) * found.dispersion - math.log(WHOLE) <= LIMIT:
        return DOUBT
    apart = log_p_apart(found.strength.size, found.strength.edges)
    if apart <= LIMIT * found.dispersion:
        return APART
    if found.alike:
        return LIKE
    return HALVES if kurtosis_along(found.edges.rows) < TWO else None


def _power(nuisance: Nuisance, pairs: Pairs, found: Look, defender: Defender, sure: bool) -> Power:
    """What would have been seen; `sure` where whatever images do not explain is."""
    field = Field.of(pairs, nuisance, found.edges, found.sample, found.parts)
    draws = signs_of(len(found.sample), defender.seed)

    def seen(part: Part) -> bool:
        return sure or log_p_of(part, draws) <= LIMIT

    return power_of(field, seen, seeding.torch_generator(defender.seed, "planted"))


def _bare(rows: Tensor, z: Tensor) -> Tensor | None:
    """Which pairs have residuals (N, D), where most have none at all; None where most have some.

    Blank inputs count for neither.
    """
    some = rows.any(1)
    return some if 2 * int(some.sum()) < len(rows) - int(blank(z).sum()) else None


def _less_told(found: SetFinding, other: SetFinding) -> SetFinding:
    """What is said where the operator leaves too little to see, and the `other` look had none."""
    if other.p_value is None or found.p_value is None:
        return found
    if other.p_value <= LEVEL:
        return replace(found, lacking=UNTOLD)
    if other.lacking is not None:
        return found
    return replace(
        found, p_value=min(found.p_value, other.p_value), lacking=None, power=other.power
    )


def _remedy(nuisance: Nuisance, pairs: Pairs, defender: Defender) -> str:
    """What may give the test more power."""
    if defender.operator is not None:
        return "more pairs"
    some = fitted_to(len(pairs), pairs.x[0].numel(), torch.Generator().manual_seed(defender.seed))
    if nuisance.is_noise_on(pairs.z[some], pairs.x[some], some):
        return "--operator identity, as z is x and noise, or more pairs"
    return "--operator, or more pairs"


def _silent(
    scores: Tensor, p_value: float | None, lacking: str | None, power: Power | None = None
) -> SetFinding:
    highest = float(scores.max()) if len(scores) else 0.0
    return SetFinding(scores, highest, p_value, LEVEL, lacking, power)


def _threshold(scores: Tensor) -> float:
    """Beyond the usual scores, by their median and median absolute deviation."""
    middle = float(scores.median())
    spread = TO_SIGMA * float((scores - middle).abs().median())
    return min(middle + FAR * spread, float(scores.max()) * (1 - 1e-9))


def _pattern(nuisance: Nuisance, pairs: Pairs, strength: Strength) -> Tensor:
    """Mean residual of the pairs, by how far each sides with the others, (C, H, W)."""
    weights = strength.signed.clamp_min(0)
    if float(weights.sum()) <= 0:
        weights = strength.size
    weights = weights / weights.sum()
    places = torch.arange(len(pairs))
    total, usual = torch.zeros(pairs.x.shape[1:]), torch.zeros(pairs.x.shape[1:])
    for part in chunks(len(pairs), pairs.x[0].numel()):
        left = nuisance.residual(pairs.z[part], pairs.x[part], places[part])
        total += torch.einsum("n,nchw->chw", weights[part].float(), left)
        usual += left.sum(0) / len(pairs)
    return total - usual


def _in_memory(pairs: Pairs) -> Pairs:
    return Pairs(pairs.z.float().cpu(), pairs.x.float().cpu())
