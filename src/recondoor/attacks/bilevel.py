"""Trigger learned by bi-level optimisation through unrolled SGD (paper, section 3.2, eq. 3-6)."""

from recondoor.attacks._bilevel import Learned


class Bilevel(Learned):
    """Hypergradients through the inner steps of surrogates."""
