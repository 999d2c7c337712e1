"""Attacks: each proposes a trigger, this room checks that it keeps to the mask and the budget."""

from collections.abc import Callable

from recondoor import registry
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools
from recondoor.config import Attack
from recondoor.errors import RecondoorError

__all__ = ["CraftState", "Crafted", "Problem", "Tools", "craft", "steps"]

ROUNDING = 1e-5


def steps(name: str, settings: Attack) -> int:
    """Steps that the attack reports as progress; a plug-in with more than one has `steps`."""
    count: Callable[[Attack], int] = getattr(registry.load("attacks", name), "steps", lambda _: 1)
    return count(settings)


def _bounded(name: str, settings: Attack) -> bool:
    bounded: Callable[[Attack], bool]
    bounded = getattr(registry.load("attacks", name), "bounded", lambda _: True)
    return bounded(settings)


def craft(name: str, problem: Problem, tools: Tools) -> Crafted:
    """Run the attack `name`; its trigger must stay in the mask and in the budget.

    Raises RecondoorError if it does not. A plug-in whose recipe knows no budget, as the paper's
    literal one, says so with `bounded(settings)`.
    """
    crafted: Crafted = registry.load("attacks", name).craft(problem, tools)
    trigger = crafted.trigger
    if trigger is None:
        return crafted
    if bool(trigger.delta.cpu()[problem.trigger.mask.cpu() == 0].any()):
        raise RecondoorError(f"attack '{name}' left its mask")
    # Written so that a trigger with NaN fails too.
    within = trigger.l2 <= problem.budget * (1 + ROUNDING)
    if _bounded(name, problem.settings) and not within:
        raise RecondoorError(f"attack '{name}': L2 {trigger.l2:.4f} exceeds {problem.budget:.4f}")
    return crafted
