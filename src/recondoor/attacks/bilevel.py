"""Trigger learned by bi-level optimisation through unrolled SGD (paper, section 3.2, eq. 3-6)."""

from recondoor.attacks._bilevel import bounded as bounded
from recondoor.attacks._bilevel import learn
from recondoor.attacks._bilevel import steps as steps
from recondoor.attacks._problem import Crafted, Problem, Tools


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Learn the trigger in the variant `attack.variant`."""
    return learn(problem, tools)
