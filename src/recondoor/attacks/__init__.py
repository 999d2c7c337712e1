"""Attacks: each proposes a trigger, this room checks that it keeps to the mask and the budget."""

from typing import cast

from recondoor import config
from recondoor.attacks._alignment import alignment
from recondoor.attacks._base import Attack
from recondoor.attacks._budget import Budget
from recondoor.attacks._each import excess_of_each
from recondoor.attacks._growth import best_place, recovery_gradient
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools
from recondoor.core import registry
from recondoor.core.errors import ConfigError, RecondoorError
from recondoor.core.imports import told_in_a_line
from recondoor.poisoning import Trigger

__all__ = [
    "Attack",
    "Budget",
    "CraftState",
    "Crafted",
    "Problem",
    "Tools",
    "alignment",
    "best_place",
    "craft",
    "load",
    "recovery_gradient",
    "require",
]


def load(name: str, settings: config.Attack | None = None) -> Attack:
    """The plug-in `name`, NAME or NAME@MASK, with its own settings or else its defaults.

    Raises ConfigError, with the nearest name if there is none.
    """
    name = registry.without_place(name)
    found = cast("type[Attack]", registry.load("attacks", name))
    own = settings.own(name, found.Settings) if settings and found.Settings else None
    return found(own)


def require(name: str, problem: Problem) -> Attack:
    """The plug-in `name`, if it is made for the problem; raises ConfigError if not."""
    attack, budget = load(name, problem.settings), problem.settings.budget
    if budget not in attack.budgets:
        raise ConfigError(
            f"attack.budget: {budget} given; attack '{name}' keeps to {' or '.join(attack.budgets)}"
        )
    attack.require(problem)
    return attack


def craft(name: str, problem: Problem, tools: Tools) -> Crafted:
    """Run the attack `name`; its trigger must stay in the mask and in the budget, and not be zero.

    Raises RecondoorError if it does not, or is, and for one's own whatever its code raises. Only a
    plug-in whose recipe knows no budget, as the paper's literal one, is not held to it.
    """
    attack = require(name, problem)
    crafted = _propose(name, attack, problem, tools)
    trigger = crafted.trigger
    if trigger is None:
        return crafted
    if bool(trigger.delta.cpu()[problem.mask.cpu() == 0].any()):
        raise RecondoorError(
            f"attack '{name}' left its mask (attack.mask={problem.settings.mask}, "
            f"attack.distance={problem.settings.distance})"
        )
    excess = problem.budget.excess(trigger.delta) or excess_of_each(problem, trigger)
    if attack.bounded(problem.settings) and excess:
        raise RecondoorError(f"attack '{name}': {excess}")
    fault = trigger.fault
    if fault:
        raise RecondoorError(
            f"attack '{name}': {fault}; give it other pixels (attack.mask, attack.distance, "
            "trigger.place) or another attack.budget"
        )
    return crafted


def _propose(name: str, attack: Attack, problem: Problem, tools: Tools) -> Crafted:
    if not registry.is_outside(type(attack)):
        return attack.craft(problem, tools)
    told = f"attack '{name}'"
    with told_in_a_line(told):
        crafted: object = attack.craft(problem, tools)
    trigger = crafted.trigger if isinstance(crafted, Crafted) else crafted
    if not isinstance(crafted, Crafted) or not (trigger is None or isinstance(trigger, Trigger)):
        raise ConfigError(f"{told} returns {type(trigger).__name__}; expected Crafted of a Trigger")
    if trigger is not None and trigger.delta.shape != problem.mask.shape:
        raise ConfigError(
            f"{told} returns a trigger of {tuple(trigger.delta.shape)}; expected "
            f"{tuple(problem.mask.shape)}, one image's"
        )
    return crafted
