"""What goes into a hypergradient and what comes out."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

Parameters = dict[str, Tensor]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Split:
    """An inner loss free + bound, of which only `bound` depends on delta.

    The clean rows of a batch go into `free`, the poisoned ones into `bound`, each with the weight
    that makes their sum the loss of the whole batch; a side without rows is a constant zero. What
    cannot depend on delta is then not differentiated by it. A network whose rows see each other in
    training (BatchNorm) has no such split: its loss is returned as a plain tensor.
    """

    free: Tensor
    bound: Tensor


InnerLoss = Callable[[int, Tensor, Parameters], Tensor | Split]
OuterLoss = Callable[[Tensor, Parameters], Tensor]


@dataclass(frozen=True)
class Hypergradient:
    """`direct` + `bilevel` is the derivative (shape of delta); `parameters` is theta_m.

    `inner_loss` is that of the last inner step, before it; `outer_loss` is taken at theta_m.
    `state` is the inner optimiser's after m steps: flat, by name, empty for SGD. Nothing here
    carries a graph.
    """

    direct: Tensor
    bilevel: Tensor
    parameters: Parameters
    inner_loss: Tensor
    outer_loss: Tensor
    state: State = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The derivative of the outer loss."""
        return self.direct + self.bilevel
