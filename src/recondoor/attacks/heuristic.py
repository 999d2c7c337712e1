"""Hand-made trigger (paper, section 3.1): by default a 3x3 square at the bottom right."""

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.poisoning import Trigger


class Heuristic(Attack):
    """The trigger of the settings."""

    draws = False
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the trigger of the settings, scaled to the budget where the settings set one."""
        trigger, settings = problem.trigger, problem.settings
        own = {"l2": settings.l2 is None, "linf": settings.linf is None}.get(settings.budget, False)
        delta = trigger.delta if own else problem.budget.scale(trigger.delta)
        return Crafted(Trigger(delta, problem.mask))
