"""Measurement residual: does a training pair's image explain its measurement, up to noise?

If z = A_adjoint (A x + v), then ||A x - y||^2 / sigma^2 follows a chi-square law with rank(A)
degrees of freedom. A poisoned target's artefact is not in the measurement, unless it is in ker(A).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from scipy.special import chdtri
from scipy.stats import binom, norm

from recondoor.core.words import plural_of
from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


SPARE = 1.2
"""Factor by which the noise may be overstated: more hides what it should explain."""

BULK = (0.1, 0.4)
"""Quantiles of the scores from which their spread is told."""

FEWEST = 5
"""Scores below which nothing is known of their spread."""

UNCERTAIN, SURE = 1.62, 3.0
"""Standard deviation of that spread, times the root of the number of pairs; and how many count."""

ALARM, LEVEL = 0.01, 1e-3
"""Share of trusted pairs that the law puts above its threshold, and how unlikely a misfit is."""


class MeasurementResidual(PairDetector):
    """Does A x agree with y?"""

    needs = ("physics",)
    sees = ("patch", "spread", "measured")

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Mean square of each pair's whitened residual, (N,): 1 is expected of clean pairs."""
        assert defender.physics is not None
        return defender.physics.energies(pairs.z, pairs.x) / defender.physics.rank

    def law(self, defender: Defender, alarm: float) -> float:
        """Score that a clean pair exceeds with probability `alarm`, by the chi-square law."""
        assert defender.physics is not None
        rank = defender.physics.rank
        return float(chdtri(rank, alarm)) / rank

    def rate(self, scores: Tensor, defender: Defender, alarm: float) -> float:
        """The probability if the residuals' energies are spread as those of the bulk may be.

        Pairs of other noise levels, of coloured noise or of targets that are themselves measured
        are no poison, and spread the energies of most pairs.
        """
        assert defender.physics is not None
        spread = _spread(scores, defender.physics.rank)
        return float(norm.sf(norm.isf(alarm) / spread)) if spread > 1 else alarm

    def blind(self, pairs: Pairs, defender: Defender) -> str | None:
        """Why nothing can be seen here: the noise is overstated, or trusted pairs break the law."""
        physics, clean = defender.physics, defender.clean
        assert physics is not None
        trusted = pairs if clean is None else clean
        shown = physics.noise(trusted.z, trusted.x)
        if physics.sigma > SPARE * shown:
            sigma = physics.sigma
            return f"the pairs show noise of {shown:.3g}, and sigma = {sigma:.3g} would hide more"
        beyond = int((self.scores(trusted, defender) > self.law(defender, ALARM)).sum())
        if clean is not None and binom(len(clean), ALARM).sf(beyond - 1) < LEVEL:
            unexplained = plural_of(beyond, len(clean), "trusted pair")
            return f"the operator and its noise do not explain {unexplained}"
        return None

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return f"its image does not explain its measurement: {score:.3g} times the noise's energy"


def _spread(scores: Tensor, rank: int) -> float:
    """Spread of mean squares (N,) in that of noise of one level, as large as it may be; 1 or more.

    From their 10 % and 40 % quantiles, which few poisoned pairs do not move, after the cube root
    that makes chi-square laws normal (Wilson and Hilferty, PNAS 17, 1931).
    """
    if len(scores) < FEWEST:
        return math.inf
    normal = (scores.clamp_min(0) ** (1 / 3) - (1 - 2 / (9 * rank))) / (2 / (9 * rank)) ** 0.5
    low, high = torch.quantile(normal, torch.tensor(BULK, dtype=normal.dtype))
    found = float(high - low) / float(norm.ppf(BULK[1]) - norm.ppf(BULK[0]))
    widest: float = found * (1 + SURE * UNCERTAIN / len(scores) ** 0.5)
    return max(1.0, widest)
