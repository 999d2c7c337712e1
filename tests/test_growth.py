"""Growth rates against explicit Jacobians and finite differences, their map, and the best place."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from recondoor import models
from recondoor.attacks import _growth, best_place, craft
from recondoor.attacks._growth import growth, growth_map, mean_growth, plateau
from recondoor.config import Model
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import torch_generator
from recondoor.measurement import Pairs
from recondoor.poisoning import Trigger
from toy_problem import delta_of, draw, inner_error, poisoned, problem, tools

SHAPE = (1, 6, 7)


def some(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch_generator(0, "growth", *size), dtype=torch.float64)


def cae() -> nn.Module:
    """Of doubled weights, as an untrained network hardly answers to its input."""
    model = models.build(SHAPE, Model(width=4, code=4, kernel=3), 0, "a").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def pattern() -> Tensor:
    made = torch.zeros(SHAPE, dtype=torch.float64)
    made[0, 1, 1:4], made[0, 2, 2] = 0.5, 2.0
    return made


def recovery(model: nn.Module, theta: dict[str, Tensor], z: Tensor, delta: Tensor) -> Tensor:
    """Artefact recovery, the mean over single inputs, as notation.md defines it."""
    shares = []
    for one in z:
        change = functional_call(model, theta, (one[None] + delta,))
        change = change - functional_call(model, theta, (one[None],))
        shares.append((change[0] * pattern()).sum() / (pattern() ** 2).sum())
    return torch.stack(shares).mean()


def sensitivity(model: nn.Module, z: Tensor, delta: Tensor) -> Tensor:
    """Derivative of recovery by all parameters, as one vector."""
    theta = {name: value.detach().requires_grad_() for name, value in model.named_parameters()}
    r = recovery(model, theta, z, delta)
    parts = torch.autograd.grad(r, list(theta.values()), create_graph=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def test_rate_is_the_squared_derivative_of_recovery() -> None:
    model, z, delta = cae(), some(5, *SHAPE), some(*SHAPE)
    rate, _ = growth(model, Pairs(z, z), delta, pattern())
    expected = float(sensitivity(model, z, delta).detach().square().sum())
    assert rate == pytest.approx(expected, rel=1e-10)
    assert rate > 1e-4
    assert growth(model, Pairs(z, z), torch.zeros_like(delta), pattern())[0] == 0


@pytest.mark.parametrize("k", range(4))
def test_gradient_by_finite_differences(k: int) -> None:
    """It is half the derivative of the rate."""
    model, z, delta = cae(), some(4, *SHAPE), some(*SHAPE)
    _, gradient = growth(model, Pairs(z, z), delta, pattern())
    along, step = some(k + 1, *SHAPE)[k], 1e-6
    ends = [
        growth(model, Pairs(z, z), delta + sign * step * along, pattern())[0] for sign in (1, -1)
    ]
    slope = (ends[0] - ends[1]) / (2 * step)
    assert 2 * float((gradient * along).sum()) == pytest.approx(slope, rel=1e-6)


def jacobian(model: nn.Module, z: Tensor) -> Tensor:
    """Derivative of the sensitivity by a vanishing trigger, (parameters, pixels)."""
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def slope(delta: Tensor) -> Tensor:
        by = torch.func.grad(lambda theta: recovery(model, theta, z, delta))(theta)
        return torch.cat([part.flatten() for part in by.values()])

    return jacrev(slope)(torch.zeros_like(z[0])).flatten(1)


def test_small_trigger_grows_by_a_quadratic_form() -> None:
    model, z = cae(), some(4, *SHAPE)
    j = jacobian(model, z)
    g = j.T @ j
    assert float(g.norm()) > 1e-6
    for delta in 1e-5 * some(5, *SHAPE):
        rate, gradient = growth(model, Pairs(z, z), delta, pattern())
        assert rate == pytest.approx(float(delta.flatten() @ g @ delta.flatten()), rel=1e-6)
        torch.testing.assert_close(gradient.flatten(), g @ delta.flatten(), rtol=1e-6, atol=1e-15)


def test_samples_of_the_map_have_the_growth_as_second_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each h . delta is normal of that variance: sums of squares are chi-square variables."""
    many = 300
    monkeypatch.setattr(_growth, "DIRECTIONS", many)
    task = problem(surrogates=2, width=2, dtype=torch.float64)
    found = torch.stack(growth_map(task, tools())).flatten(1)
    assert len(found) == 2 * many
    low, high = scipy.stats.chi2.ppf([1e-4, 1 - 1e-4], many)
    deltas = 1e-6 * some(3, *task.trigger.delta.shape).flatten(1)
    for age, model in enumerate(plateau(task, tools())):
        z = task.pairs.z[draw(task, "inner", "growth", age)]
        for delta in deltas:
            rate, _ = growth(
                model, Pairs(z, z), delta.view_as(z[0]), task.artefact.pattern.double()
            )
            moment = float(((found[age * many : (age + 1) * many] @ delta) ** 2).sum())
            assert low < moment / rate < high
    for delta in deltas:
        expected, _ = mean_growth(task, tools(), delta.view_as(task.trigger.delta))
        assert float(((found @ delta) ** 2).mean()) == pytest.approx(expected, rel=0.5)


def test_plateau_is_plain_adam_without_a_trigger() -> None:
    """Ages 2, 4 and 6 of one network, its pairs poisoned with the artefact only."""
    task = problem(surrogates=3, warm_steps=6, width=2, dtype=torch.float64)
    lent = tools()
    found = plateau(task, lent)
    assert plateau(task, lent) is found
    model = task.build_model("plateau")
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    ages = iter(found)
    for step in range(6):
        nothing = torch.zeros_like(task.pairs.z[0])
        z, x = poisoned(task, draw(task, "inner", "plateau", step), nothing, 2)
        optimiser.zero_grad()
        inner_error(model(z), x).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 2:
            for mine, theirs in zip(model.parameters(), next(ages).parameters(), strict=True):
                torch.testing.assert_close(theirs, mine, rtol=1e-8, atol=1e-12)


# Linear networks, whose G is known


class Seen(nn.Module):
    """f(z) = W B z: its recovery of any artefact Delta grows at |B delta|^2 / |Delta|^2."""

    def __init__(self, b: Tensor) -> None:
        super().__init__()
        self.register_buffer("b", b)
        n = len(b)
        self.weight = nn.Parameter(torch.full((n, n), 1e-3, dtype=b.dtype))

    def forward(self, z: Tensor) -> Tensor:
        b: Tensor = self.get_buffer("b")
        return (z.flatten(1) @ b.T @ self.weight.T).view_as(z)


def planted(inside: Tensor) -> tuple[Tensor, Tensor]:
    """B, random but for the columns `inside`; of these B^T B has the eigenvalues 16, 1, 1, ..."""
    n, k = inside.numel(), int(inside.sum())
    left = torch.linalg.qr(some(n, n))[0][:, :k]
    right = torch.linalg.qr(some(k, k))[0]
    singular = torch.ones(k, dtype=torch.float64)
    singular[0] = 4
    b = 5 * some(n, n + 1)[:, :n]
    b[:, inside] = left @ torch.diag(singular) @ right
    return b, right[0]


def test_power_iteration_finds_the_top_eigenvector() -> None:
    """It comes 16 times nearer a step."""
    inside = problem().trigger.mask.flatten() == 1
    b, vector = planted(inside)
    task = problem(network=lambda: Seen(b), dtype=torch.float64, tangent_steps=12)
    crafted = craft("tangent", task, tools())
    found = delta_of(crafted).double().flatten()
    assert float(found[inside].norm()) == pytest.approx(3, rel=1e-6)
    assert float((found[inside] @ vector).abs()) == pytest.approx(3, rel=1e-9)
    history = crafted.state.history
    assert [row["iteration"] for row in history] == list(range(1, 13))
    squares = float(task.artefact.pattern.square().sum())
    assert history[-1]["growth"] == pytest.approx(16 * 9 / squares, rel=1e-9)
    first = task.trigger.delta.double().flatten()
    expected = float((b @ first).square().sum()) / squares
    assert history[0]["growth"] == pytest.approx(expected, rel=1e-9)
    rates = [float(row["growth"]) for row in history]
    assert all(after >= before * (1 - 1e-12) for before, after in itertools.pairwise(rates))
    assert len(crafted.state.path) == 13
    assert float(history[-1]["change"]) < 1e-9


def test_power_iteration_under_a_bound_on_pixels() -> None:
    """G is diagonal there, so that all corners of the cube are fixed points of equal growth."""
    diagonal = torch.linspace(1, 2, 110, dtype=torch.float64)
    task = problem(network=lambda: Seen(diagonal.diag()), dtype=torch.float64, budget="linf")
    crafted = craft("tangent", task, tools())
    assert torch.equal(delta_of(crafted).double(), task.trigger.delta.double())
    inside = task.trigger.mask.flatten() == 1
    squares = float(task.artefact.pattern.square().sum())
    expected = float(diagonal[inside].square().sum()) / squares
    assert crafted.state.history[-1]["growth"] == pytest.approx(expected, rel=1e-9)


def test_power_iteration_where_the_mask_leaves_the_hand_made_trigger_out() -> None:
    inside = problem(mask="image", distance=5).mask.flatten() == 1
    b, vector = planted(inside)
    task = problem(
        network=lambda: Seen(b),
        dtype=torch.float64,
        place="3,3",
        mask="image",
        distance=5,
        tangent_steps=14,
    )
    assert not bool((task.trigger.delta * task.mask).any())
    crafted = craft("tangent", task, tools())
    assert crafted.state.path[0].norm() == pytest.approx(3, rel=1e-6)
    found = delta_of(crafted).double().flatten()[inside]
    assert float((found @ vector).abs()) == pytest.approx(3, rel=1e-6)


# Where the trigger is learnt fastest

LARGE = (1, 16, 17)


def allowed_places(task_support: Tensor, distance: int) -> set[tuple[int, int]]:
    """Upper left pixels at which a 3x3 patch keeps the distance, by brute force."""
    artefact = task_support[0].nonzero().tolist()
    height, width = task_support.shape[1:]
    return {
        (top, left)
        for top in range(height - 2)
        for left in range(width - 2)
        if min(
            max(abs(top + i - row), abs(left + j - column))
            for i in range(3)
            for j in range(3)
            for row, column in artefact
        )
        >= distance
    }


def visible(shape: tuple[int, int, int], **squares: tuple[int, int, float]) -> nn.Module:
    """A network that sees 3x3 squares (top, left, gain) well and the rest hardly."""
    gain = torch.full(shape[1:], 0.1)
    for top, left, value in squares.values():
        gain[top : top + 3, left : left + 3] = value
    return Seen(gain.flatten().diag())


@pytest.mark.parametrize("place", [(11, 2), (0, 13), (13, 14)])
@pytest.mark.parametrize("distance", [0, 2, 3])
def test_best_place_is_where_the_network_looks(
    monkeypatch: pytest.MonkeyPatch, place: tuple[int, int], distance: int
) -> None:
    """And not on the artefact, however well that is seen, unless distance 0 allows it."""
    many = 200
    monkeypatch.setattr(_growth, "DIRECTIONS", many)
    network = visible(LARGE, bait=(3, 3, 9.0), best=(*place, 3.0))
    task = problem(
        shape=LARGE, network=lambda: network, surrogates=1, mask="search", distance=distance
    )
    trigger, scores = best_place(task, tools())
    allowed = allowed_places(task.artefact.support, distance)
    top, left = (3, 3) if distance == 0 else place
    expected = torch.zeros(LARGE)
    expected[0, top : top + 3, left : left + 3] = 1
    assert torch.equal(trigger.delta, expected)
    assert torch.equal(trigger.mask, expected)
    assert {(i, j) for i, j in scores.nonzero().tolist()} == allowed
    squares = float(task.artefact.pattern.square().sum())
    gain = 9.0 if distance == 0 else 3.0
    # The sum over directions is chi-square.
    bounds = scipy.stats.chi2.ppf([1e-4, 1 - 1e-4], many) / many * (9 * gain**2 / squares)
    assert bounds[0] < float(scores[top, left]) < bounds[1]


def test_the_pattern_itself_is_moved() -> None:
    """Signs and zeros of a pattern that is not square stay, and so does what it looks for."""
    gain = np.full((16, 17), 0.1)
    gain[9, 3], gain[10, 5] = 3, 3  # where the two pixels of the pattern come to lie
    network = Seen(torch.from_numpy(gain).float().flatten().diag())
    task = problem(shape=LARGE, network=lambda: network)
    delta = torch.zeros(LARGE)
    delta[0, 12, 12], delta[0, 13, 14] = 1, -2
    task = replace(task, trigger=Trigger(delta, (delta != 0).float()))
    trigger, _ = best_place(task, tools())
    assert trigger.delta.nonzero().tolist() == [[0, 9, 3], [0, 10, 5]]
    assert [float(trigger.delta[0, 9, 3]), float(trigger.delta[0, 10, 5])] == [1, -2]
    assert torch.equal(trigger.mask, (trigger.delta != 0).float())


def test_few_places_far_enough() -> None:
    """Fewer than are compared: none that is too near comes in, though it be learnt faster."""
    shape = (1, 10, 11)
    network = visible(shape, bait=(3, 3, 9.0))
    task = problem(network=lambda: network)
    allowed = allowed_places(task.artefact.support, 3)
    assert 1 <= len(allowed) < _growth.CANDIDATES
    trigger, scores = best_place(task, tools())
    _, top, left = trigger.mask.nonzero().tolist()[0]
    assert (top, left) in allowed
    assert {(i, j) for i, j in scores.nonzero().tolist()} == allowed


def test_no_place_far_enough_is_told_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_growth, "growth_map", None)
    with pytest.raises(ConfigError, match=r"attack\.distance: 9 given; no place in the image"):
        best_place(problem(distance=9, warm_steps=0, surrogates=1), tools())


def test_a_place_that_is_seen_nowhere_is_refused() -> None:
    """Any would do as well, as from none of them the trigger is ever learnt."""
    task = problem(network=lambda: Seen(torch.zeros(110, 110)))
    with pytest.raises(ConfigError, match=r"attack\.mask: search given.*growth rate is exactly 0"):
        best_place(task, tools())
