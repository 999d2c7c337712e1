"""No attack: the original model, trained on clean pairs."""

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools


class NoAttack(Attack):
    """Clean pairs alone."""

    draws = False
    trains = False
    poisons = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return no trigger."""
        return Crafted(None)
