"""Derivative of an outer loss by the trigger, through inner training (paper, eq. 3-6).

With theta_i = U_i(theta_{i-1}, grad_theta g_i(delta, theta_{i-1})) for i = 1..m, U the rule of the
inner optimiser,

    d/d delta f(delta, theta_m) = partial_delta f + (the bi-level part).

One signature, several solvers: they differ in how the bi-level part is found, in whether it is
exact, and in what it costs; `docs/bilevel.md` has the equations and the table.
"""

from recondoor.training.hypergradient._optimisers import OPTIMISERS
from recondoor.training.hypergradient._solve import SOLVERS, solve, unrolled
from recondoor.training.hypergradient._types import (
    Hypergradient,
    InnerLoss,
    OuterLoss,
    Parameters,
    Split,
    State,
)

__all__ = [
    "OPTIMISERS",
    "SOLVERS",
    "Hypergradient",
    "InnerLoss",
    "OuterLoss",
    "Parameters",
    "Split",
    "State",
    "solve",
    "unrolled",
]
