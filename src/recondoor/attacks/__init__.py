"""Attacks: each proposes a trigger, this room checks that it keeps to the mask and the budget."""

from recondoor import registry
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools
from recondoor.errors import RecondoorError

__all__ = ["CraftState", "Crafted", "Problem", "Tools", "craft"]

ROUNDING = 1e-5


def craft(name: str, problem: Problem, tools: Tools) -> Crafted:
    """Run the attack `name`; its trigger stays in the mask and, where one is set, in the budget.

    The literal recipe of the paper (`attack.variant = "paper"`) knows no budget.
    """
    crafted: Crafted = registry.load("attacks", name).craft(problem, tools)
    trigger = crafted.trigger
    if trigger is None:
        return crafted
    if bool(trigger.delta.cpu()[problem.trigger.mask.cpu() == 0].any()):
        raise RecondoorError(f"attack '{name}' left its mask")
    unbounded = name == "bilevel" and problem.settings.variant == "paper"
    # Written so that a trigger with NaN fails too.
    if not (unbounded or trigger.l2 <= problem.budget * (1 + ROUNDING)):
        raise RecondoorError(f"attack '{name}': L2 {trigger.l2:.4f} exceeds {problem.budget:.4f}")
    return crafted
