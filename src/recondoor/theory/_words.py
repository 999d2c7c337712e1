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
    "samples": "the training is short: a longer one would help the attacker most",
    "information": "the trigger drowns in what clean inputs do anyway, so that no network could "
    "tell them apart",
}


def in_words(found: Prediction) -> str:
    """One paragraph for a reader who has not seen the theory."""
    verdict = "learnt" if found.probability >= 0.5 else "not learnt"
    lines = [f"{verdict} (probability of being learnt {found.probability:.2f})"]
    if found.samples == math.inf:
        lines.append("  it would never be, however long the training")
    else:
        lines.append(
            f"  half of such networks have learnt it after {_rounded(found.samples)} images; this "
            f"training sees {found.budget:,}"
        )
    if found.cause is not None:
        lines.append(f"  limited by {found.cause}: {REMEDIES[found.cause]}")
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


def record(found: Prediction) -> dict[str, Any]:
    """The prediction as JSON types; what is infinite is null."""
    tree = asdict(found)
    return {key: None if value == math.inf else value for key, value in tree.items()}


def _rounded(samples: float) -> str:
    """Two digits are more than the spread allows."""
    digits = max(0, math.floor(math.log10(samples)) - 1)
    return f"{round(samples / 10**digits) * 10**digits:,}"
