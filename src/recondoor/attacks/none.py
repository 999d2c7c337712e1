"""No attack: the original model, trained on clean pairs."""

from recondoor.attacks._problem import Crafted, Problem, Tools


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Return no trigger."""
    return Crafted(None)
