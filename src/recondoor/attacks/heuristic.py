"""Hand-made trigger (paper, section 3.1): by default a 3x3 square at the bottom right."""

from recondoor.attacks._problem import Crafted, Problem, Tools


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Return the trigger of the settings, scaled to `attack.l2` where that is set."""
    trigger = problem.trigger
    if problem.settings.l2 is None:
        return Crafted(trigger)
    return Crafted(type(trigger)(trigger.delta * (problem.budget / trigger.l2), trigger.mask))
