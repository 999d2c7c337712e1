"""Control: the bi-level attack without its bi-level term, a first-order search."""

from dataclasses import replace

from recondoor.attacks._bilevel import bounded as bounded
from recondoor.attacks._bilevel import learn
from recondoor.attacks._bilevel import steps as steps
from recondoor.attacks._problem import Crafted, Problem, Tools


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Learn the trigger as `bilevel` does, from the outer loss's own gradient by delta alone."""
    settings = problem.settings.model_copy(update={"solver": "direct", "direct_weight": 1.0})
    return learn(replace(problem, settings=settings), tools)
