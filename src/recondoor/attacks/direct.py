"""Control: the bi-level attack without its bi-level term, a first-order search."""

from dataclasses import replace

from recondoor.attacks._bilevel import Learned
from recondoor.attacks._problem import Crafted, Problem, Tools


class Direct(Learned):
    """The outer loss's own gradient by delta alone."""

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Learn the trigger as `bilevel` does, but for what the outer steps follow."""
        settings = problem.settings.model_copy(update={"solver": "direct", "direct_weight": 1.0})
        return super().craft(replace(problem, settings=settings), tools)
