"""Every attack against every network, on small images."""

from dataclasses import replace

import pytest
import torch

from recondoor import operators
from recondoor.attacks import Problem, craft
from recondoor.config import Operator
from recondoor.core import registry
from recondoor.core.seeding import torch_generator
from recondoor.poisoning import Pairs
from recondoor.testing import NetworkContract
from toy_problem import SHAPE, delta_of, problem, tools

ATTACKS = tuple(name for name in registry.names("attacks") if name != "none")
NETWORKS = registry.names("models")


def problem_of(network: str, **settings: object) -> Problem:
    """Pairs that the operator measured, as a network that works with it expects."""
    contract = NetworkContract()
    own = contract.settings(network, 4)
    made = problem(
        network=lambda: contract.build(SHAPE, own, 0, "surrogate"),
        inner_optimiser="adam",
        inner_lr=1e-3,
        iterations=3,
        **settings,
    )
    measured = operators.build(SHAPE, Operator(name="fourier"), 0)
    z = measured.measure(made.pairs.x, torch_generator(0, "noise"))
    return replace(made, pairs=Pairs(z, made.pairs.x))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_trigger_within_mask_and_budget_the_same_each_time(attack: str, network: str) -> None:
    found = [delta_of(craft(attack, problem_of(network), tools())) for _ in range(2)]
    task = problem_of(network)
    assert torch.equal(*found)
    assert bool(found[0].isfinite().all())
    assert bool(found[0].any())
    assert not bool((found[0] * (1 - task.mask)).any())
    assert float(found[0].norm()) <= (1 + 1e-5) * task.trigger.l2


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("variant", ["paper", "ensemble"])
def test_learned_triggers_are_steered(network: str, variant: str) -> None:
    more = {"start": "tangent", "mask": "image"} if variant == "ensemble" else {}
    state = craft("bilevel", problem_of(network, variant=variant, **more), tools()).state
    assert all(float(str(row["bilevel_norm"])) > 0 for row in state.history)
    assert not torch.equal(state.path[0], state.delta)
