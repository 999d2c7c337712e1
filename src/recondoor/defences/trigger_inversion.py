"""Trigger inversion by place: does a patch make the network add the same thing to every image?

`_triggers` says what was changed from Neural Cleanse.
"""

from recondoor.defences._triggers import CALIBRATED, CLEAN_SCORES, KIND, NEEDS, SEES, inspect, law

__all__ = ["CALIBRATED", "CLEAN_SCORES", "KIND", "NEEDS", "SEES", "inspect", "law"]
