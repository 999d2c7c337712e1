"""Erased triggers: does the network leave out a pattern that clean networks of its make show?

`_erasure` says what is measured. The score is the largest of the measures in standard deviations of
the other networks'. Without networks to compare with it is how much less the network answers to the
patch that it answers least than to the usual one, which only ranks: honest networks have such
patches too. Of a flagged network `_artefacts` finds the trigger and artefact anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from recondoor.defences import _artefacts, _erasure
from recondoor.defences._base import Finding, NetworkDetector, place_in_words

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

ERASES, DRAWS = "erases ", "draws at "
"""How the names of the two kinds of measures begin."""


class ErasedTrigger(NetworkDetector):
    """What is put into z and does not come out?"""

    needs = ("model", "clean", "gradients")
    sees = ("patch",)
    power_of_a_make = True

    def inspect(self, defender: Defender) -> Finding:
        found = _erasure.scan(defender)
        best = _erasure.likely(found.candidates)
        measures = {f"{ERASES}{name}": value for name, value in found.erases.items()}
        measures |= {f"{DRAWS}{name}": value for name, value in found.draws.items()}
        return Finding(
            found.erases["patch"] - found.erases["most patches"],
            found.candidates.patterns[best],
            found.candidates.answer[best],
            measures=measures,
        )

    def compare(self, findings: Sequence[Finding]) -> list[float]:
        return _largest(findings, "")

    def drawing(self, findings: Sequence[Finding]) -> list[float]:
        return _largest(findings, DRAWS)

    def sharpen(self, defender: Defender, finding: Finding) -> Finding:
        return _artefacts.sharpened(defender, finding)

    def explain(self, finding: Finding) -> str:
        return (
            f"a pattern, most of it at {place_in_words(finding)} of z, makes the network draw the "
            "same thing into every image, as no clean network of its make does"
        )


def _largest(findings: Sequence[Finding], kind: str) -> list[float]:
    """The largest measure of a kind of each, beside the others'; 0 where there are fewer than 3."""
    if len(findings) < 3:
        return [0.0] * len(findings)
    names = [name for name in findings[0].measures if name.startswith(kind)]
    measures = [[each.measures[name] for name in names] for each in findings]
    usual = torch.tensor([_erasure.USUAL[name] for name in names], dtype=torch.float64)
    above = _erasure.compared(torch.tensor(measures, dtype=torch.float64), usual)
    return [float(value) for value in above.amax(1)]
