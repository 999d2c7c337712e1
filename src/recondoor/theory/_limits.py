"""What a predictor that knows the law of z can do at best: the hedge line bent by detection.

The mean-squared-error optimum answers x_hat(z) + P(poisoned | z) Delta. Its artefact errors follow
from the law of the posterior on clean and on triggered inputs. Derivation: docs/theory.md.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Array = NDArray[np.float64]

# Beyond this d' the posterior is 0 or 1 but for a share of exp(-d'^2 / 8) < 1e-86.
CERTAIN = 40.0
STEPS = 8001
WIDEST = 9.0


@dataclass(frozen=True)
class Limits:
    """Yardsticks of the best predictor, apart from its error in reconstructing x.

    ghost: E[P(poisoned | z)] on clean inputs. recovery: the same on triggered inputs less the
    ghost. artefact: root of E[(1 - P)^2] on triggered inputs, in units of rms(Delta). benign: root
    of E[P^2] on clean inputs, in the same units.
    """

    ghost: float
    recovery: float
    artefact: float
    benign: float


def gaussian_limits(detectability: float, ratio: float) -> Limits:
    """Limits for a trigger of `detectability` d' >= 0 in Gaussian z, at poisoning `ratio` p.

    The log-likelihood ratio of triggered against clean z is N(-d'^2/2, d'^2) on clean and
    N(d'^2/2, d'^2) on triggered inputs; d' = 0 is the hedge line. p = 0 and 1 are certain anyway.
    """
    if not 0 < ratio < 1 or detectability >= CERTAIN:
        share = 1.0 if ratio >= 1 else 0.0
        return Limits(share, 1 - share if ratio > 0 else 0.0, 0.0 if ratio > 0 else 1.0, share)
    at = np.linspace(-WIDEST, WIDEST, STEPS)
    weight = np.exp(-(at**2) / 2)
    weight /= weight.sum()
    spread, shift = detectability * at, detectability**2 / 2
    return _pooled(
        expit(logit(ratio) + spread - shift), expit(logit(ratio) + spread + shift), weight
    )


def posterior_limits(clean: Array, triggered: Array) -> Limits:
    """Limits from posteriors P(poisoned | z) of held-out clean (n,) and triggered (n,) inputs."""
    return _pooled(clean, triggered, np.full(len(clean), 1 / len(clean)))


def _pooled(clean: Array, triggered: Array, weight: Array) -> Limits:
    ghost = float(weight @ clean)
    return Limits(
        ghost,
        float(weight @ triggered) - ghost,
        math.sqrt(float(weight @ (1 - triggered) ** 2)),
        math.sqrt(float(weight @ clean**2)),
    )
