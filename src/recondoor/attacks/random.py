"""Control: a random normal pattern inside the mask, as large as the budget allows."""

from recondoor.attacks._problem import Crafted, Problem, Tools, random_pattern
from recondoor.poisoning import Trigger


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Return a random trigger of the budget's L2 (linf: random signs; box: random pixels of 1)."""
    pattern = random_pattern(problem, "random", signed=True)
    return Crafted(Trigger(problem.budget.maximise(pattern), problem.mask.cpu()))
