"""From scores to numbers: how many pairs are flagged, and would false alarms explain it?"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import betabinom, binom
from scipy.stats.distributions import rv_frozen
from sklearn.metrics import roc_auc_score

from recondoor import defences
from recondoor.audit._sight import Sight, sight
from recondoor.core import registry
from recondoor.core.errors import ConfigError, nearest
from recondoor.defences import Defender, SetDetector, SetFinding
from recondoor.poisoning import Pairs

Array = NDArray[np.float64]

LEVEL = 1e-3
"""Probability at most with which clean pairs are called suspicious, over all detectors."""


RARER = 8
"""Alarm rates at which flags are counted: the one given, its square, the square of that, ..."""

OWN, OWN_SHARE = 64, 0.2
"""Clean pairs that detectors compare with, at most and as a share; thresholds take the others."""


WHAT: Mapping[defences.Kind, str] = {
    "pairs": "a detector of pairs",
    "input": "a detector of inputs",
    "model": "a detector of networks",
    "scans": "a detector of scans",
    "repair": "a repair",
}


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one detector found.

    Args:
        name: of the detector.
        scores: of each pair, (N,).
        threshold: score above which a pair is flagged; None if the detector only ranks.
        basis: what the threshold comes from.
        expected: false alarms to expect among N clean pairs.
        p_value: probability of as many flagged pairs or more if all are clean.
        least: the same if all were flagged: no count can be more surprising.
        seconds: how long it took.
        whole: what a test of all pairs together found; None for detectors of single pairs.
    """

    name: str
    scores: Array
    threshold: float | None
    basis: Literal["law", "clean pairs"] | None
    expected: float | None
    p_value: float | None
    least: float | None
    seconds: float
    whole: SetFinding | None = None

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Which pairs are above the threshold, (N,)."""
        if self.threshold is None:
            return np.zeros(len(self.scores), dtype=np.bool_)
        return np.asarray(self.scores > self.threshold)


class Counted(NamedTuple):
    """A count of flags, and how surprising it is."""

    name: str
    p_value: float
    least: float | None
    flagged: int
    expected: float


def choose(
    chosen: Sequence[str] | None, kind: defences.Kind, option: str = "--detectors"
) -> tuple[str, ...]:
    """Names of defences of one kind, all or those chosen; raises ConfigError for others."""
    known = defences.names(kind)
    if not all(isinstance(name, str) for name in chosen or ()):
        raise ConfigError(f"{option}: {chosen!r} given; expected names, as in {known[0]!r}")
    for name in chosen or ():
        if registry.is_own_code(name):
            if (own := defences.load(name).looks_at) != kind:
                raise ConfigError(f"{option}: '{name}' is {WHAT[own]}; expected {WHAT[kind]}")
        elif name not in known:
            raise ConfigError(
                f"{option}: '{name}' given; there are {', '.join(known)}, or give MODULE:NAME, a "
                "class of your own" + nearest(name, known)
            )
    return known if chosen is None else tuple(dict.fromkeys(chosen))


def require_alarm(alarm: object) -> None:
    """Raise ConfigError unless `alarm` is a rate."""
    if not (isinstance(alarm, Real) and 0 < float(alarm) < 1):
        raise ConfigError(f"--alarm: {alarm!r} given; expected a rate between 0 and 1")


def judge(name: str, pairs: Pairs, defender: Defender, alarm: float) -> Judged:
    """Let the detector `name` look at `pairs`, with false alarms at the rate `alarm` per pair.

    A test of all pairs together brings its own p value. Of others the threshold comes from clean
    pairs if the defender has any, else from the detector's own law.
    For a law the number of false alarms is binomial. For clean pairs it is beta-binomial, as the
    rate that the threshold has is itself random: by exchangeability of all scores, Beta(M - r + 1,
    r) for the r-th smallest of M.

    Raises:
        ConfigError: there are too few clean pairs for `alarm`.
    """
    detector, started = defences.pair_detector(name), time.perf_counter()
    if isinstance(detector, SetDetector):
        return _by_test(name, detector.test(pairs, defender), len(pairs), started)
    if defender.clean is not None and len(defender.clean) > 1 and detector.compares:
        return _by_comparison(name, pairs, defender, defender.clean, started)
    if defender.clean is not None and not detector.certain:
        scores, clean = defences.pooled(_checked(detector), pairs, defender)
        return _by_clean(name, scores, clean, alarm, started)
    scores = _of_each(detector.scores(pairs, defender), len(pairs))
    rate = partial(detector.rate, scores, defender)
    return _by_law(name, scores, defender, alarm, started, rate)


def judge_parts(name: str, parts: Sequence[Pairs], defender: Defender, alarm: float) -> Judged:
    """As `judge`, of pairs of several sizes: the scores of each size are found on their own.

    Raises ValueError for a detector that looks at all pairs together.
    """
    if len(parts) == 1:
        return judge(name, parts[0], defender, alarm)
    detector, started = defences.pair_detector(name), time.perf_counter()
    if isinstance(detector, SetDetector) or detector.compares:
        raise ValueError("it looks at all slices together, and these are of several sizes")
    found = [_of_each(detector.scores(part, defender), len(part)) for part in parts]
    scores = torch.cat([each.detach().cpu() for each in found])
    return _by_law(name, scores, defender, alarm, started, partial(detector.rate, scores, defender))


def _by_test(name: str, found: SetFinding, count: int, started: float) -> Judged:
    scores = _of_each(found.scores, count).double().cpu().numpy()
    if not np.isfinite(scores).all():
        raise FloatingPointError("some of its scores are not finite")
    tested = found.p_value is not None
    return Judged(
        name=name,
        scores=scores,
        threshold=found.threshold if tested else None,
        basis="law" if tested else None,
        expected=found.level if tested else None,
        p_value=found.p_value,
        least=0.0 if tested else None,
        seconds=time.perf_counter() - started,
        whole=found,
    )


def _checked(detector: defences.PairDetector) -> defences.Scores:
    """The detector's scores, one of each pair."""
    return lambda pairs, defender: _of_each(detector.scores(pairs, defender), len(pairs))


def _of_each(scores: object, count: int) -> torch.Tensor:
    """Scores of `count` pairs or inputs; ValueError for what is none."""
    if not isinstance(scores, torch.Tensor):
        raise ValueError(f"its scores are {type(scores).__name__}; expected a tensor of ({count},)")
    if scores.shape != (count,):
        raise ValueError(f"its scores are of {tuple(scores.shape)}; expected ({count},)")
    return scores


def is_certain(name: str) -> bool:
    """Whether nothing clean is ever above the detector's law."""
    return defences.scorer(name).certain


def judge_inputs(
    name: str, z: torch.Tensor, trusted: torch.Tensor, defender: Defender, alarm: float
) -> Judged:
    """Let the detector `name` look at inputs z (N, C, H, W), with a threshold from `trusted` ones.

    None of `trusted` (M, C, H, W) may be among the clean pairs of the defender: with those the
    detector compares, and its scores of them would be no scores of further clean inputs.

    Raises:
        ConfigError: there are too few trusted inputs for `alarm`.
    """
    detector, started = defences.input_detector(name), time.perf_counter()
    scores = _of_each(detector.scores(z, defender), len(z))
    if detector.certain:
        return _by_law(name, scores, defender, alarm, started)
    clean = _of_each(detector.scores(trusted, defender), len(trusted))
    return _by_clean(name, scores, clean, alarm, started)


def _by_comparison(
    name: str, pairs: Pairs, defender: Defender, clean: Pairs, started: float
) -> Judged:
    """Compare with some of the clean pairs, and flag what is above all others of them.

    The strictest threshold that they give: of pairs that stand out by far, a few are as sure as
    many. The number above it is beta-binomial as for any other rank.
    """
    detector, own = defences.pair_detector(name), min(OWN, max(1, int(OWN_SHARE * len(clean))))
    compared = replace(defender, clean=Pairs(clean.z[:own], clean.x[:own]))
    look, others = _checked(detector), Pairs(clean.z[own:], clean.x[own:])
    scores, strictest = look(pairs, compared), 1 / (len(others) + 1)
    return _by_clean(name, scores, look(others, compared), strictest, started)


def _by_law(
    name: str,
    scores: torch.Tensor,
    defender: Defender,
    alarm: float,
    started: float,
    rate: Callable[[float], float] = float,
) -> Judged:
    """`rate` of an alarm rate is what it is in these pairs, at most."""
    detector = defences.scorer(name)
    limit = detector.law(defender, alarm)
    if limit is None:
        return _judged(name, scores, None, None, None, started)
    law = binom(len(scores), 0.0 if detector.certain else rate(alarm))
    found = _judged(name, scores, limit, "law", law, started)
    return found if detector.certain else _with_tail(found, defender, alarm, rate)


def _with_tail(
    found: Judged, defender: Defender, alarm: float, rate: Callable[[float], float]
) -> Judged:
    """With the p value of the whole upper tail: few scores far out tell as much as many flags.

    The count is taken at rarer and rarer false alarms, and the smallest p value counts as many
    times as there are.
    """
    detector, tails, leasts = defences.scorer(found.name), [], []
    for step in range(RARER):
        rare = alarm ** (2.0**step)
        limit = detector.law(defender, rare) if rare > 0 else None
        if limit is None or not np.isfinite(limit):
            break
        law = binom(len(found.scores), rate(rare))
        tails.append(float(law.sf(int((found.scores > limit).sum()) - 1)))
        leasts.append(float(law.sf(len(found.scores) - 1)))
    tail, least = (min(1.0, len(tails) * min(each)) for each in (tails, leasts))
    return replace(found, p_value=tail, least=least)


def _by_clean(
    name: str, scores: torch.Tensor, clean: torch.Tensor, alarm: float, started: float
) -> Judged:
    limit, rank = defences.threshold(clean, alarm), defences.rank(len(clean), alarm)
    law = betabinom(len(scores), len(clean) - rank + 1, rank)
    return _judged(name, scores, limit, "clean pairs", law, started)


def _judged(
    name: str,
    scores: torch.Tensor,
    limit: float | None,
    basis: Literal["law", "clean pairs"] | None,
    law: rv_frozen | None,
    started: float,
) -> Judged:
    """`law` is that of the number of false alarms; None where there is no threshold."""
    seconds = time.perf_counter() - started
    found = scores.double().cpu().numpy()
    if not (np.isfinite(found).all() and (limit is None or np.isfinite(limit))):
        raise FloatingPointError("some of its scores are not finite")
    if limit is None or law is None:
        return Judged(
            name=name,
            scores=found,
            threshold=None,
            basis=None,
            expected=None,
            p_value=None,
            least=None,
            seconds=seconds,
        )
    tail = float(law.sf(int((scores > limit).sum()) - 1))
    least = float(law.sf(len(found) - 1))
    return Judged(
        name=name,
        scores=found,
        threshold=limit,
        basis=basis,
        expected=float(law.mean()),
        p_value=tail,
        least=least,
        seconds=seconds,
    )


def suspicious(judged: list[Judged], waiting: int = 0) -> bool:
    """Whether any p value says so: that of a test of all pairs, or one of a count of flags.

    The former has a level of its own; the latter are compared with LEVEL over their number
    (Bonferroni), in which tests count that are `waiting` for what these find.
    """
    if any(each.whole is not None and alarming(each.whole) for each in judged):
        return True
    tests = [each.p_value for each in counted(judged)]
    return bool(tests) and min(tests) < LEVEL / (len(tests) + waiting)


def rests_on_physics(judged: Judged) -> bool:
    """Whether its score has one law for all clean pairs, whatever their images are."""
    return tuple(defences.load(judged.name).needs) == ("physics",)


def alarming(found: SetFinding) -> bool:
    """Whether a test of all pairs calls them suspicious."""
    return found.p_value is not None and found.p_value <= found.level


def counted(judged: Sequence[Judged]) -> list[Counted]:
    """Those whose p value is one of a count of flags."""
    return [
        Counted(each.name, each.p_value, each.least, int(each.flagged.sum()), each.expected or 0.0)
        for each in judged
        if each.p_value is not None and each.whole is None
    ]


def seen_by(
    kind: defences.Kind,
    chosen: Sequence[str],
    judged: list[Judged],
    skipped: Mapping[str, str],
    blind: Mapping[str, str],
) -> Sight:
    """What detectors with a threshold see; `blind` says why some of them see nothing here."""
    ran = [each.name for each in judged]
    ranks = {each.name: "it only ranks" for each in judged if each.threshold is None}
    return sight(kind, chosen, ran, {**skipped, **ranks, **blind})


def blindness(name: str, given: Pairs, defender: Defender) -> dict[str, str]:
    """Why the detector `name` sees nothing in what is given, under its name; empty if it does."""
    why = defences.pair_detector(name).blind(given, defender)
    return {} if why is None else {name: why}


def auc(scores: Array, poisoned: NDArray[np.bool_]) -> float | None:
    """Probability that a poisoned pair scores higher than a clean one, ties counting half.

    None if all pairs are of one kind.
    """
    if poisoned.all() or not poisoned.any():
        return None
    return float(roc_auc_score(poisoned, scores))


def tpr(scores: Array, poisoned: NDArray[np.bool_], alarm: float) -> float | None:
    """Share of the poisoned pairs above all but a share `alarm` of the clean ones.

    The threshold is known only with the truth: this is a point of the ROC curve, not a verdict.
    """
    clean = np.sort(scores[~poisoned])
    if not (len(clean) and poisoned.any()):
        return None
    limit = clean[len(clean) - 1 - int(alarm * len(clean))]
    return float((scores[poisoned] > limit).mean())
