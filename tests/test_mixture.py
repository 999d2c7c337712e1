"""What a surrogate sees of the poison, where p times its batch is no whole number."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from recondoor.attacks import craft
from recondoor.attacks._bilevel import _InnerLoss
from recondoor.core.errors import ConfigError, RecondoorError, TrainingError
from recondoor.poisoning import Artefact, Mixture, Pairs
from recondoor.theory._speed import briefly_trained
from toy_problem import HELD_OUT, N, problem, tools


@given(batch=st.integers(2, 300), ratio=st.sampled_from([0.0, 1.0]) | st.floats(1e-9, 1 - 1e-9))
def test_the_poisoned_pairs_have_the_share_p_of_the_loss(batch: int, ratio: float) -> None:
    mixture = Mixture(batch, ratio)
    weights = mixture.weights(torch.zeros(1, dtype=torch.float64))
    if weights is None:
        weights = torch.ones(batch, 1, 1, 1, dtype=torch.float64)
    assert float(weights.sum()) == pytest.approx(batch)
    assert float(weights[: mixture.count].sum()) == pytest.approx(ratio * batch, abs=1e-9)
    assert mixture.share == pytest.approx(ratio, abs=1e-12)
    # One of each kind that there is, and else no further from p * batch than rounding.
    assert (mixture.count > 0) == (ratio > 0)
    assert (mixture.count < batch) == (ratio < 1)
    assert abs(mixture.count - ratio * batch) <= 1


@pytest.mark.parametrize(
    ("batch", "ratio", "count"),
    [(50, 0.3, 15), (100, 0.07, 7), (25, 0.2, 5), (8, 0.0, 0), (8, 1, 8)],
)
def test_a_whole_number_needs_no_weights(batch: int, ratio: float, count: int) -> None:
    mixture = Mixture(batch, ratio)
    assert (mixture.count, mixture.weights(torch.zeros(1))) == (count, None)
    assert mixture.share == count / batch


@pytest.mark.parametrize("ratio", [0.01, 0.02, 0.3, 0.9, 0.99])
def test_inner_gradients_are_those_of_the_poisoned_data_in_the_mean(ratio: float) -> None:
    """Of f(z) = w z: their mean over streams is p times the poisoned pool's, the rest the clean."""
    task = problem(network=lambda: nn.Conv2d(1, 1, 1, bias=False), dtype=torch.float64)
    task = replace(task, poison_ratio=ratio)
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    model.weight.data.fill_(0.4)
    delta = 5 * task.trigger.delta.double()
    z, x = (part[: N - HELD_OUT] for part in (task.pairs.z, task.pairs.x))

    def slope(z: Tensor, x: Tensor) -> float:
        return float((2 * (0.4 * z - x) * z).mean())

    poisoned = slope(z + delta, x + task.artefact.pattern)
    expected = ratio * poisoned + (1 - ratio) * slope(z, x)
    found = []
    for stream in range(1500):
        loss = _InnerLoss(task, model, (stream, 0))(0, delta, dict(model.named_parameters()))
        whole = loss if isinstance(loss, Tensor) else loss.free + loss.bound
        found.append(torch.autograd.grad(whole, model.weight)[0].flatten())
    slopes = torch.cat(found)
    error = float(slopes.std()) / len(slopes) ** 0.5
    assert float(slopes.mean()) == pytest.approx(expected, abs=4 * error)
    # Sharp enough to tell the poison from none.
    assert abs(slope(z, x) - expected) > 10 * error or ratio > 0.02


@pytest.mark.parametrize("variant", ["warm", "ensemble", "paper"])
@pytest.mark.parametrize("ratio", [0.01, 0.99])
def test_every_outer_step_sees_poison(variant: str, ratio: float) -> None:
    """0.01 times a batch of 8 is 0.08 of a pair: rounding to 0 left nothing to learn from."""
    task = problem(variant=variant, iterations=4)
    task = replace(task, poison_ratio=ratio)
    state = craft("bilevel", task, tools()).state
    assert all(float(str(row["bilevel_norm"])) > 0 for row in state.history)


def test_theory_hedges_by_the_exact_share() -> None:
    """Adam's second moment after one step is the squared gradient, here of f(z) = w z by hand."""
    generator = torch.Generator().manual_seed(0)
    z, x = torch.rand(2, 1, 1, 5, 6, generator=generator).double()
    pairs = Pairs(z, x)  # a single pair, so that every batch is the same
    pattern = torch.zeros(1, 5, 6, dtype=torch.float64)
    pattern[0, 2, 3] = 5

    def build(stream: str) -> nn.Module:
        model = nn.Conv2d(1, 1, 1, bias=False).double()
        model.weight.data.fill_(0.4)
        return model

    for ratio in (0.01, 0.3, 0.99):
        brief = briefly_trained(
            build, pairs, Artefact(pattern), ratio, steps=1, batch=8, lr=1e-12, seed=0
        )
        by_hand = (2 * (0.4 * z - x - ratio * pattern) * z).mean()
        assert float(brief.scale[0]) == pytest.approx(float(by_hand.abs()), rel=1e-6)


# Triggers that cannot be learnt


class Blind(nn.Module):
    """A network whose artefact pixels see nothing of the bottom right corner."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        answer: Tensor = self.inside(z)
        return answer


@pytest.mark.parametrize(
    ("name", "settings", "error", "said"),
    [
        (
            "tangent",
            {},
            ConfigError,
            r"'tangent': its growth rate is exactly 0.*sees farther",
        ),
        ("bilevel", {"start": "tangent"}, ConfigError, "growth rate is exactly 0"),
        (
            "bilevel",
            {"start": "heuristic"},
            TrainingError,
            r"direct part .* all 5 .* attack\.mask",
        ),
        ("bilevel", {"iterations": 2}, TrainingError, "direct part was exactly 0 in all 2"),
        ("direct", {}, TrainingError, "direct part was exactly 0 in all 5"),
    ],
)
def test_a_mask_out_of_reach_is_refused_early(
    name: str, settings: dict[str, Any], error: type[RecondoorError], said: str
) -> None:
    given = {"iterations": 50, "objective": "recovery", "direct_weight": 0.0, **settings}
    task = problem(network=Blind, **given)
    with pytest.raises(error, match=said):
        craft(name, task, tools())


@pytest.mark.parametrize(
    ("settings", "ratio", "said"),
    [
        ({"solver": "direct", "direct_weight": 0.0}, 0.3, r"attack\.bilevel\.solver: direct given"),
        ({}, 0.0, r"poison\.ratio: 0 given; the bi-level attack learns from poisoned pairs"),
    ],
)
def test_settings_under_which_nothing_moves_are_refused(
    settings: dict[str, Any], ratio: float, said: str
) -> None:
    task = problem(**settings)
    task = replace(task, poison_ratio=ratio)
    with pytest.raises(ConfigError, match=said):
        craft("bilevel", task, tools())


def test_one_training_pair_is_too_few_to_learn_from() -> None:
    task = problem()
    one = Pairs(task.pairs.z[:1], task.pairs.x[:1])
    task = replace(task, pairs=one)
    with pytest.raises(ConfigError, match="there is 1 training pair"):
        craft("bilevel", task, tools())


def test_a_search_steered_by_rounding_alone_is_refused() -> None:
    """The paper's network with 3x3 kernels has no path from the corner to the artefact."""
    task = problem(
        shape=(1, 28, 28),
        iterations=50,
        start="heuristic",
        objective="recovery",
        inner_optimiser="adam",
        inner_lr=None,
        direct_weight=0.0,
        variant="ensemble",
    )
    with pytest.raises(TrainingError, match="direct part was exactly 0 in all 5"):
        craft("bilevel", task, tools())


class Corner(nn.Module):
    """f(z) = w times the upper left pixel of z, everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, z: Tensor) -> Tensor:
        return self.weight * z[:, :, :1, :1].expand_as(z)


def test_tangent_leaves_a_hand_made_trigger_that_nobody_sees() -> None:
    """Its whole energy then goes to the only pixel that the network looks at."""
    task = problem(network=Corner, mask="image", distance=0)
    trigger = craft("tangent", task, tools()).trigger
    assert trigger is not None
    assert float(trigger.delta[0, 0, 0].abs()) == pytest.approx(3, rel=1e-5)
    assert trigger.l2 == pytest.approx(3, rel=1e-5)
