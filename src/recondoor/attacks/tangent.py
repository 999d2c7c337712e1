"""Control: the trigger that a network on the hedge line learns fastest, by power iteration."""

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.attacks._tangent import tangent
from recondoor.poisoning import Trigger


class Tangent(Attack):
    """Top eigenvector of the growth within the mask."""

    draws = True
    trains = True

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the last trigger of the power iteration (docs/bilevel.md)."""
        state = tangent(problem, tools)
        return Crafted(Trigger(state.delta.cpu(), problem.mask.cpu()), state)
