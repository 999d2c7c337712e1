"""Attacks: each proposes a trigger, this room checks that it keeps to the mask and the budget."""

from collections.abc import Callable

from recondoor import registry
from recondoor.attacks._budget import Budget
from recondoor.attacks._growth import best_place, recovery_gradient
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools
from recondoor.config import Attack
from recondoor.errors import RecondoorError

__all__ = [
    "Budget",
    "CraftState",
    "Crafted",
    "Problem",
    "Tools",
    "best_place",
    "craft",
    "recovery_gradient",
    "steps",
]


def steps(name: str, settings: Attack) -> int:
    """Steps that the attack reports as progress; a plug-in with more than one has `steps`."""
    count: Callable[[Attack], int] = getattr(registry.load("attacks", name), "steps", lambda _: 1)
    return count(settings)


def _bounded(name: str, settings: Attack) -> bool:
    bounded: Callable[[Attack], bool]
    bounded = getattr(registry.load("attacks", name), "bounded", lambda _: True)
    return bounded(settings)


def craft(name: str, problem: Problem, tools: Tools) -> Crafted:
    """Run the attack `name`; its trigger must stay in the mask and in the budget, and not be zero.

    Raises RecondoorError if it does not, or is. A plug-in whose recipe knows no budget, as the
    paper's literal one, says so with `bounded(settings)`.
    """
    crafted: Crafted = registry.load("attacks", name).craft(problem, tools)
    trigger = crafted.trigger
    if trigger is None:
        return crafted
    if bool(trigger.delta.cpu()[problem.mask.cpu() == 0].any()):
        raise RecondoorError(
            f"attack '{name}' left its mask (attack.mask={problem.settings.mask}, "
            f"attack.distance={problem.settings.distance})"
        )
    excess = problem.budget.excess(trigger.delta)
    if _bounded(name, problem.settings) and excess:
        raise RecondoorError(f"attack '{name}': {excess}")
    fault = trigger.fault
    if fault:
        raise RecondoorError(
            f"attack '{name}': {fault}; give it other pixels (attack.mask, attack.distance, "
            "trigger.place) or another attack.budget"
        )
    return crafted
