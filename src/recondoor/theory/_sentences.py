"""A prediction as a sentence and as JSON."""

import math
from dataclasses import asdict
from typing import Any

from recondoor.theory._predict import Prediction

REMEDIES = {
    "energy": "the trigger is weak: a larger L2 would help the attacker most",
    "reach": "the network hardly connects the trigger's pixels with the artefact's: another place "
    "would help the attacker most",
    "ratio": "few pairs are poisoned: more of them would help the attacker most",
    "clean": "few pairs are clean: more of them would help the attacker most",
    "samples": "the training is short: a longer one would help the attacker most",
    "information": "the trigger drowns in what clean inputs do anyway, so that no network could "
    "tell them apart",
}


OF_THE_NETWORK = ("reach", "samples", None)
"""Causes that are told from how a network answers, not from the data and the trigger alone."""


def in_words(found: Prediction) -> str:
    """One paragraph for a reader who has not seen the theory."""
    lines = _verdict(found)
    if found.cause is not None and not _unknown(found):
        many = found.cause == "ratio" and found.ratio > 0.5
        remedy = REMEDIES["clean" if many else found.cause]
        lines.append(f"  limited by {found.cause}: {remedy}")
    if found.samples == math.inf and found.cause != "information":
        return "\n".join(lines)
    if math.isinf(found.detectability):
        lines.append(
            f"  {found.range_share:.0%} of its energy is outside range(A_adjoint), where no clean "
            "input is: it could be told with certainty"
        )
    else:
        lines.append(f"  d' = {found.detectability:.3g} standard deviations from clean inputs")
    lines.append(
        f"  the best predictor would have a recovery of {found.limits.recovery:.2f} and an attack "
        f"RMSE of {found.limit_attack_rmse:.3f}, errors of reconstruction not counted"
    )
    return "\n".join(lines)


def _unknown(found: Prediction) -> bool:
    """Whether it is only the constants that would tell, and they are those of other trainings."""
    return found.doubt is not None and found.samples < math.inf


def _verdict(found: Prediction) -> list[str]:
    """Whether it is learnt, and when; or that the constants cannot say."""
    if _unknown(found):
        order = (
            f"  its recovery grows by {found.growth:.2g} an image at first: of triggers of one "
            "training that of larger growth should be learnt sooner"
        )
        return ["cannot say whether it is learnt", f"  {found.doubt}", order]
    verdict = "learnt" if found.probability >= 0.5 else "not learnt"
    lines = [f"{verdict} (probability of being learnt {found.probability:.2f})"]
    if found.samples < math.inf:
        lines.append(
            f"  half of such networks have learnt it after {_rounded(found.samples)} images; this "
            f"training sees {found.budget:,}"
        )
    elif found.doubt and found.cause in OF_THE_NETWORK:
        lines.append(f"  this trigger is not expected to be learnt: {_why_never(found)}")
    else:
        lines.append(
            f"  this trigger cannot be learnt: {_why_never(found)}; it would never be, however "
            "long the training"
        )
    return lines if found.doubt is None else [*lines, f"  {found.doubt}"]


def _why_never(found: Prediction) -> str:
    """Why a trigger of which samples is infinite is hopeless."""
    if found.cause == "energy":
        return "it is zero (L2 = 0) or not finite"
    if found.cause == "ratio":
        return "no pair is poisoned" if found.ratio <= 0 else "no pair is clean to tell it from"
    if found.cause == "information":
        return "clean inputs differ by more than it adds"
    return "none of its pixels reaches the artefact's through the network"


def record(found: Prediction) -> dict[str, Any]:
    """The prediction as JSON types; what is infinite is null, and what the constants cannot say."""
    tree = asdict(found)
    if _unknown(found):
        tree |= {"probability": None, "samples": None, "cause": None}
    return {key: None if value == math.inf else value for key, value in tree.items()}


def _rounded(samples: float) -> str:
    """Two digits are more than the spread allows."""
    digits = max(0, math.floor(math.log10(samples)) - 1)
    return f"{round(samples / 10**digits) * 10**digits:,}"
