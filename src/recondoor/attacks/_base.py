"""What every registered attack is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from recondoor import config
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.core.registry import PlugIn


class Attack(PlugIn, ABC):
    """A way to find a trigger; it proposes, the framework judges.

    Facts: whether it draws at random, by whatever it does, and whether it trains networks, so that
    its trigger is no matter of seconds.
    """

    kind: ClassVar[str] = "attacks"
    facts: ClassVar[tuple[str, ...]] = ("draws", "trains")
    draws: ClassVar[bool]
    trains: ClassVar[bool]
    poisons: ClassVar[bool] = True
    """Whether it has a trigger at all."""

    @abstractmethod
    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return a trigger within the mask and the budget of `problem`."""

    def steps(self, settings: config.Attack) -> int:
        """Steps that it reports as progress."""
        return 1

    def bounded(self, settings: config.Attack) -> bool:
        """Whether its trigger keeps to the budget: all do, unless their recipe knows none."""
        return True
