"""Measurement residual: does a training pair's image explain its measurement, up to noise?

If z = A_adjoint (A x + v), then ||A x - y||^2 / sigma^2 follows a chi-square law with rank(A)
degrees of freedom. A poisoned target's artefact is not in the measurement, unless it is in ker(A).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scipy.special import chdtri

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poison import Pairs

KIND: Literal["pairs"] = "pairs"
NEEDS = ("physics",)


def scores(pairs: Pairs, defender: Defender) -> Tensor:
    """Mean square of each pair's whitened residual, (N,): 1 is expected of clean pairs."""
    assert defender.physics is not None
    return defender.physics.residual(pairs.z, pairs.x).square().mean(1)


def law(defender: Defender, alarm: float) -> float:
    """Score that a clean pair exceeds with probability `alarm`, by the chi-square law."""
    assert defender.physics is not None
    rank = defender.physics.rank
    return float(chdtri(rank, alarm)) / rank


def in_words(score: float) -> str:
    """Why a pair of this score is suspicious."""
    return f"its image does not explain its measurement: {score:.3g} times the noise's energy"
