"""The solvers by name."""

from torch import Tensor

from recondoor.core import caller
from recondoor.core.errors import ConfigError, nearest
from recondoor.training.hypergradient._implicit import conjugate_gradient, implicit, neumann
from recondoor.training.hypergradient._inner import Inner
from recondoor.training.hypergradient._types import (
    Hypergradient,
    InnerLoss,
    OuterLoss,
    Parameters,
    State,
)
from recondoor.training.hypergradient._unroll import checkpoint, unroll

SOLVERS = ("unrolled", "checkpointed", "truncated", "direct", "implicit-cg", "implicit-neumann")


@caller.gradients()
def solve(
    name: str,
    inner: InnerLoss,
    outer: OuterLoss,
    delta: Tensor,
    parameters: Parameters,
    *,
    steps: int,
    lr: float,
    optimiser: str = "sgd",
    state: State | None = None,
    truncation: int = 1,
    terms: int = 10,
    damping: float = 0.01,
) -> Hypergradient:
    """Return the hypergradient through `steps` inner steps of rate `lr`, by the solver `name`.

    `inner(i, delta, theta)` is the loss of step i = 0, 1, ..., a scalar or a `Split`;
    `outer(delta, theta)` is taken at theta_m. `optimiser` is one of `OPTIMISERS`; `state` carries
    on from that of an earlier result. None of what is given is changed.

    `truncated` follows the adjoint through the last `truncation` steps. The implicit solvers spend
    `terms` products with the Hessian, to whose diagonal `damping` is added.

    Raises ConfigError for an unknown solver or optimiser, RecondoorError for a `Split` whose free
    part depends on delta.
    """
    if name not in SOLVERS:
        raise ConfigError(
            f"unknown solver '{name}'; known: {', '.join(SOLVERS)}{nearest(name, SOLVERS)}"
        )
    problem = Inner(inner, delta, parameters, lr, optimiser, state)
    if name == "checkpointed":
        return checkpoint(problem, outer, steps)
    if name == "implicit-cg":
        return implicit(
            problem, outer, steps, damping, lambda h, b: conjugate_gradient(h, b, terms)
        )
    if name == "implicit-neumann":
        return implicit(problem, outer, steps, damping, lambda h, b: neumann(h, b, terms, lr))
    followed = {"unrolled": steps, "truncated": truncation, "direct": 0}[name]
    return unroll(problem, outer, steps, followed)


def unrolled(
    inner: InnerLoss,
    outer: OuterLoss,
    delta: Tensor,
    parameters: Parameters,
    *,
    steps: int,
    lr: float,
    optimiser: str = "sgd",
    state: State | None = None,
) -> Hypergradient:
    """Return the exact hypergradient with the graphs of all steps kept; as `solve`.

    Example:
        Inner loss (theta - delta)^2 / 2 from theta = 0, outer loss theta^2 / 2: two steps of rate
        0.1 lead to theta = 0.19 delta, so that the derivative by delta is 0.19^2 delta.

        >>> import torch, recondoor as rd
        >>> found = rd.unrolled(
        ...     lambda step, delta, theta: ((theta["w"] - delta) ** 2).sum() / 2,
        ...     lambda delta, theta: (theta["w"] ** 2).sum() / 2,
        ...     torch.ones(1),
        ...     {"w": torch.zeros(1)},
        ...     steps=2,
        ...     lr=0.1,
        ... )
        >>> round(float(found.bilevel), 4)
        0.0361
    """
    return solve(
        "unrolled",
        inner,
        outer,
        delta,
        parameters,
        steps=steps,
        lr=lr,
        optimiser=optimiser,
        state=state,
    )
