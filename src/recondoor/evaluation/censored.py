"""The mean of a few values of which some are known by a bound alone (imports no torch).

A training that ended before its backdoor was learnt says 'later than that'. To put its end in place
of the value makes a mean too small and its interval too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_ndtr, stdtrit

from recondoor.evaluation.statistics import LEVEL, mean_interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Censored:
    """Mean of values of which some are known by a bound alone, with its interval.

    `n` values say something, `exact` of them are known. `mean` is None where they do not tell it,
    `low` or `high` where the interval has no such end.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    exact: int


def censored_interval(
    low: Sequence[float], high: Sequence[float], level: float = LEVEL
) -> Censored:
    """Mean of n normal values, the i-th known to lie from `low`[i] to `high`[i].

    Equal ends: a value that is known; an infinite end: there is no such bound. Mean and spread are
    those of largest likelihood (Tobin, Econometrica 26, 1958). The interval has the means whose
    profile likelihood is within n log(1 + t^2 / (n - 1)) / 2 of the largest, t Student's quantile:
    without a bound it is Student's interval, to the digit.

    Where one mean fits all values exactly, so that the likelihood has no maximum, there is no mean.
    What is left is an end of Student's interval of the bounds on one side, if all values have one.
    Raises ValueError where no value says anything, an end is NaN, or ends are the wrong way round.
    """
    a, b = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if not (a <= b).all():
        raise ValueError("each value has to lie from low to high, and no end may be NaN")
    told = np.isfinite(a) | np.isfinite(b)
    a, b = a[told], b[told]
    n, exact = len(a), int((a == b).sum())
    if n == 0:
        raise ValueError("no value is known, nor bounded on any side")
    if n < 2 or a.max() <= b.min():
        return _bounds_alone(a, b, level, exact)
    centre, scale = _centre(a, b)
    fall = n * np.log1p(stdtrit(n - 1, 0.5 + level / 2) ** 2 / (n - 1)) / 2

    def loss(mean: float) -> float:
        return _profile(mean, a, b, scale)

    reach = 8 * scale
    best = minimize_scalar(loss, bounds=(centre - reach, centre + reach), method="bounded")

    def end(far: float) -> float | None:
        """Where the profile has fallen so far; None if it never has."""
        if loss(far) - best.fun <= fall:
            return None
        return float(brentq(lambda mean: loss(mean) - best.fun - fall, best.x, far))

    mean, far = float(best.x), 100 * scale
    return Censored(mean, end(mean - far), end(mean + far), n, exact)


def _bounds_alone(a: Floats, b: Floats, level: float, exact: int) -> Censored:
    """What bounds say where one mean fits them all."""
    if exact == len(a):
        known = mean_interval(list(a), level)
        return Censored(known.mean, known.low, known.high, known.n, exact)
    low = mean_interval(list(a), level).low if np.isfinite(a).all() else None
    high = mean_interval(list(b), level).high if np.isfinite(b).all() else None
    return Censored(None, low, high, len(a), exact)


def _centre(a: Floats, b: Floats) -> tuple[float, float]:
    """Middle and spread of all ends that are finite."""
    ends = np.concatenate([a[np.isfinite(a)], b[np.isfinite(b)]])
    return float(ends.mean()), float(ends.std())


def _profile(mean: float, a: Floats, b: Floats, scale: float) -> float:
    """Minus the largest log-likelihood at a mean, over the spread."""
    known = a == b

    def loss(log_spread: float) -> float:
        spread = np.exp(log_spread)
        x, y = (a - mean) / spread, (b - mean) / spread
        density = -(x[known] ** 2) / 2 - log_spread - np.log(2 * np.pi) / 2
        return -float(density.sum() + _log_mass(x[~known], y[~known]).sum())

    ends = np.log(scale) + np.array([-9.0, 9.0])
    return float(minimize_scalar(loss, bounds=ends, method="bounded").fun)


def _log_mass(x: Floats, y: Floats) -> Floats:
    """log(Phi(y) - Phi(x)) for x < y, in the tail where it does not cancel."""
    swap = x > 0
    upper, lower = np.where(swap, -x, y), np.where(swap, -y, x)
    big, small = log_ndtr(upper), log_ndtr(lower)
    return np.asarray(big + np.log1p(-np.exp(small - big)))
