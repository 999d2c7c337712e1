"""Control: a random normal pattern inside the mask, as large as the budget allows."""

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools, random_pattern
from recondoor.poisoning import Trigger


class RandomPattern(Attack):
    """A normal draw for each pixel."""

    draws = True
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return a random trigger of the budget's L2.

        For linf random signs, for box random pixels of 1.
        """
        pattern = random_pattern(problem, "random", signed=True)
        return Crafted(Trigger(problem.budget.maximise(pattern), problem.mask.cpu()))
