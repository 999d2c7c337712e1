"""Control: a random normal pattern inside the mask, with the heuristic trigger's L2."""

from recondoor.attacks._problem import Crafted, Problem, Tools, random_start
from recondoor.poison import Trigger


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Return a random trigger of the budget's L2."""
    delta = random_start(problem, "random", signed=True)
    return Crafted(Trigger(delta * (problem.budget / delta.norm()), problem.trigger.mask.cpu()))
