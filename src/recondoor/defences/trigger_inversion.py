"""Trigger inversion by place: does a patch make the network add the same thing to every image?

`_triggers` says what was changed from Neural Cleanse. It has no law of its own: thresholds come
from clean networks of the suspect's make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences import _triggers
from recondoor.defences._base import NetworkDetector, place_in_words

if TYPE_CHECKING:
    from recondoor.defences._base import Defender, Finding


class TriggerInversion(NetworkDetector):
    """What is put where makes the network add the same thing to every image?"""

    needs = ("model", "clean", "gradients")
    sees = ("patch",)
    power_of_a_make = True

    def inspect(self, defender: Defender) -> Finding:
        return _triggers.inspect(defender)

    def explain(self, finding: Finding) -> str:
        return (
            f"what is put at {place_in_words(finding)} of z makes the network add the same thing "
            "to every image"
        )
