"""What every registered attack is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from recondoor import config
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.core.registry import PlugIn
from recondoor.poisoning import Law


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
    budgets: ClassVar[tuple[str, ...]] = ("l2", "linf", "box", "free")
    """Kinds of budget that it can keep to."""
    differs: ClassVar[bool] = False
    """Whether what it adds differs from input to input, so that its trigger has a law."""

    @abstractmethod
    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return a trigger within the mask and the budget of `problem`."""

    def steps(self, settings: config.Attack) -> int:
        """Steps that it reports as progress."""
        return 1

    def require(self, problem: Problem) -> None:
        """Refuse a problem that it is not made for, before anything is trained: ConfigError."""
        return

    def law_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays, of 32 bits, that its law is made of; `differs`."""
        return {}

    def law(self, arrays: Mapping[str, Tensor], mask: Tensor, problem: Problem) -> Law:
        """The law of a trigger of this mask from the arrays that it was saved with; `differs`."""
        raise NotImplementedError

    def bounded(self, settings: config.Attack) -> bool:
        """Whether its trigger keeps to the budget: all do, unless their recipe knows none."""
        return True
