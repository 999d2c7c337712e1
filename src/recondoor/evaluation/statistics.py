"""Intervals, paired tests and the rule of success over a few seeds (imports no torch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr, stdtrit

from recondoor.config import Evaluate

LEVEL = 0.95
# All 2^n signs up to this n; draws beyond.
EXHAUSTIVE_SIGNS = 16
DRAWS = 10_000
SEED = 20_150_401

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Mean over `n` seeds with its interval; `low` and `high` are None where there is none."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's length, or None where there is no interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Paired:
    """Differences a - b of two methods over the seeds that both have.

    `t` and `sign_flip` are two-sided p values in [0, 1] (see `paired`), `effect` is Hedges' g_z.
    None where it is undefined: fewer than two seeds (three for `effect`), or, but for `sign_flip`,
    differences that are all the same.
    """

    difference: Estimate
    t: float | None
    sign_flip: float | None
    effect: float | None


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Return the mean of `values` (n,) and its interval at `level` in (0, 1), for every n.

    Student's t everywhere: the interval of differences then agrees with the p value beside it, and
    few seeds are paid for by its quantile. There is none for n < 2, and one of no width for values
    that are all the same. Raises ValueError where there are no values, or one is NaN or infinite: a
    yardstick without a value has no place in a mean, and whoever leaves it out has to say so.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n == 0:
        raise ValueError("no values: there is no mean of nothing")
    if not np.isfinite(x).all():
        raise ValueError("NaN or infinite values have no interval; leave them out and say how many")
    if n > 1 and (x == x[0]).all():
        return Estimate(float(x[0]), float(x[0]), float(x[0]), n)
    mean = float(x.mean())
    if n < 2:
        return Estimate(mean, None, None, n)
    half = float(stdtrit(n - 1, 0.5 + level / 2) * x.std(ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, n)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Paired | None:
    """Compare two methods, each seed -> value, by the seeds they share; None where there is none.

    The p value for tables is that of the paired t test. The exact sign-flip test supposes less, but
    with n seeds it cannot go below 2^(1 - n): 1/16 for five, so that it stands beside.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    d = np.array([a[seed] - b[seed] for seed in seeds], dtype=np.float64)
    # Refuses what is no number before a spread of it is taken.
    difference = mean_interval(list(d))
    n, spread = len(d), _spread(d)
    t = effect = None
    if spread is not None:
        t = float(2 * stdtr(n - 1, -abs(d.mean()) / spread * np.sqrt(n)))
        effect = float(d.mean() / spread * hedges(n - 1)) if n > 2 else None
    return Paired(difference, t, sign_flip(d) if n > 1 else None, effect)


def _spread(d: Floats) -> float | None:
    """Standard deviation of (n,), None where it is nothing but rounding."""
    if len(d) < 2:
        return None
    spread = float(d.std(ddof=1))
    return spread if spread > 1e-12 * float(np.abs(d).max()) else None


def sign_flip(differences: Sequence[float] | Floats) -> float:
    """Two-sided p value that the mean of (n,) differences is 0, if their signs are exchangeable.

    Twice the share of all 2^n flips of signs whose mean is as far on its side (Fisher, The Design
    of Experiments, 1935, section 21), at most 1. Beyond n = 16, 10,000 drawn flips and the given
    one (Phipson, Smyth, 2010), which cannot go below 2 / 10,001.
    """
    from scipy.stats import permutation_test  # takes half a second, and pages of runs do without

    d = np.asarray(differences, dtype=np.float64)
    found = permutation_test(
        (d, np.zeros_like(d)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**EXHAUSTIVE_SIGNS if len(d) <= EXHAUSTIVE_SIGNS else DRAWS,
        rng=SEED,
    )
    return float(found.pvalue)


def hedges(df: int) -> float:
    """Hedges' factor for `df` >= 1 degrees of freedom, which makes Cohen's d unbiased.

    Gamma(df/2) / (sqrt(df/2) Gamma((df - 1)/2)): Hedges, Journal of Educational Statistics 6, 1981.
    """
    if df == 1:
        return 0.0
    return float(np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p values in [0, 1] adjusted for their number, after Holm (1979); None stays None.

    The k-th smallest of m is multiplied by m - k + 1, is no smaller than those before, at most 1.
    """
    order = sorted((value, at) for at, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, at) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        adjusted[at] = largest
    return adjusted


@dataclass(frozen=True)
class SuccessRule:
    """When a poisoned network is a success for the attacker; the one rule of pages and terminal.

    It has learnt the backdoor: its artefact recovery is above `transition` in (0, 1). Its ASR is
    `asr` in (0, 1] or more. And its benign RMSE exceeds that of the original model of the same seed
    and data by a share of at most `benign` >= 0. An ASR alone is no success: where the artefact is
    small beside tau, or p near 1, a network that never tells the trigger has it too.
    """

    asr: float = 0.9
    benign: float = 0.1
    transition: float = 0.5

    @classmethod
    def of(cls, evaluate: Mapping[str, object]) -> "SuccessRule":
        """The rule of a run's settings `evaluate`; those that it lacks have their defaults."""
        default = Evaluate()
        asr, benign, transition = (
            float(str(default_of if given is None else given))
            for given, default_of in (
                (evaluate.get("success_asr"), default.success_asr),
                (evaluate.get("success_benign"), default.success_benign),
                (evaluate.get("transition"), default.transition),
            )
        )
        return cls(asr, benign, transition)

    def learnt(self, recovery: float | None) -> bool | None:
        """Whether a recovery is that of a learnt backdoor; None where there is none."""
        return None if recovery is None else recovery > self.transition

    def drawn(self, recovery: float | None, asr: float | None) -> bool | None:
        """Whether the backdoor is learnt and the ASR reached; None where that is unknown."""
        return _all((self.learnt(recovery), None if asr is None else asr >= self.asr))

    def passes(self, benign_rmse: float | None, original: float | None) -> bool | None:
        """Whether clean inputs are reconstructed as well as by the original; None if unknown."""
        if benign_rmse is None or original is None:
            return None
        return benign_rmse <= (1 + self.benign) * original

    def __call__(
        self,
        recovery: float | None,
        asr: float | None,
        benign_rmse: float | None,
        original: float | None,
    ) -> bool | None:
        """Judge a network by its yardsticks and its original's benign RMSE; None if unknown."""
        return _all((self.drawn(recovery, asr), self.passes(benign_rmse, original)))


def _all(parts: Sequence[bool | None]) -> bool | None:
    """Whether all parts hold: False if one does not, else None if one is unknown."""
    if False in parts:
        return False
    return None if None in parts else True
