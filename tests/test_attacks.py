"""Contract of every registered attack, and the closed forms of the controls."""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import registry, seeding
from recondoor.attacks import Crafted, CraftState, Problem, craft
from recondoor.errors import ConfigError, RecondoorError
from recondoor.poisoning import Trigger
from toy_problem import SHAPE, N, Recorder, delta_of, problem, through_file, tools

NAMES = registry.names("attacks")
LEARNED = ("bilevel", "direct")
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("bilevel", {"variant": "paper"}),
    ("bilevel", {"variant": "ensemble"}),
    ("direct", {"variant": "ensemble"}),
    ("bilevel", {"start": "tangent", "mask": "search", "outer_optimiser": "sign"}),
    ("bilevel", {"variant": "ensemble", "mask": "image", "budget": "linf", "patience": 9}),
    ("bilevel", {"start": "heuristic", "budget": "box", "outer_optimiser": "adam"}),
    ("bilevel", {"budget": "free", "benign_weight": 1.0, "outer_optimiser": "sgd"}),
    ("tangent", {"mask": "search", "budget": "box"}),
    ("spectral", {"mask": "image", "budget": "linf"}),
]
contract = pytest.mark.parametrize(
    ("name", "settings"),
    CASES,
    ids=["-".join([name, *map(str, settings.values())]) for name, settings in CASES],
)


@pytest.mark.parametrize("name", NAMES)
def test_description_is_one_line(name: str) -> None:
    assert 10 < len(registry.describe("attacks")[name]) <= 100


def leaves(delta: Tensor, budget: str, l2: float) -> bool:
    """Whether a trigger leaves the budget, told by NumPy."""
    values = delta.double().numpy().ravel()
    return {
        "l2": np.sqrt((values**2).sum()) > l2 * (1 + 1e-5),
        "linf": np.abs(values).max() > 0.4 * (1 + 1e-5),
        "box": values.min() < -1e-6 or values.max() > 1 + 1e-6,
        "free": not np.isfinite(values).all(),
    }[budget]


@pytest.mark.parametrize("budget", ["l2", "linf", "box", "free"])
@pytest.mark.parametrize("mask", ["trigger", "search", "image"])
@pytest.mark.parametrize("name", NAMES)
def test_trigger_stays_in_mask_and_budget(name: str, mask: str, budget: str) -> None:
    """The longest steps, so that the bounds are met; the image keeps 3 pixels from the artefact."""
    task = problem(mask=mask, budget=budget, l2=0.7, linf=0.4, step=1.0, iterations=2)
    trigger = craft(name, task, tools()).trigger
    if trigger is None:
        assert name == "none"
        return
    support = task.artefact.support[0].nonzero().tolist()
    for _, row, column in trigger.delta.nonzero().tolist():
        if mask == "trigger":
            assert 6 <= row <= 8
            assert 7 <= column <= 9
        else:
            assert min(max(abs(row - i), abs(column - j)) for i, j in support) >= 3
    assert trigger.delta.shape == SHAPE
    assert trigger.delta.dtype == torch.float32
    assert not bool((trigger.delta * (1 - trigger.mask)).any())
    assert trigger.l2 > 0
    assert not leaves(trigger.delta, budget, 0.7)
    if budget in ("l2", "linf") and name not in LEARNED:
        size = trigger.l2 / 0.7 if budget == "l2" else trigger.linf / 0.4
        assert size == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("variant", ["warm", "ensemble", "paper"])
def test_bounds_of_the_learned_triggers(name: str, variant: str) -> None:
    """Only the paper's literal recipe has none: it starts with a mean square of 1/3 a pixel."""
    task = problem(variant=variant, l2=0.1, iterations=2)
    trigger = craft(name, task, tools()).trigger
    assert trigger is not None
    assert (trigger.l2 > 1) == (variant == "paper")
    assert not bool((trigger.delta * (1 - task.trigger.mask)).any())


@contract
def test_same_seed_same_trigger_and_nothing_else_is_touched(
    name: str, settings: dict[str, Any]
) -> None:
    found = []
    for turn in range(2):
        task = problem(iterations=2, **settings)
        z, x = task.pairs.z.clone(), task.pairs.x.clone()
        hand_made = task.trigger.delta.clone()
        torch.manual_seed(turn)
        before = torch.random.get_rng_state()
        found.append(craft(name, task, tools()))
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.equal(task.pairs.z, z)
        assert torch.equal(task.pairs.x, x)
        assert torch.equal(task.trigger.delta, hand_made)
    # Once more, with what the first time left in the problem's memo.
    found.append(craft(name, task, tools()))
    for other in found[1:]:
        assert torch.equal(delta_of(found[0]), delta_of(other))
        assert found[0].state.history == other.state.history


@contract
def test_another_seed_is_another_draw(name: str, settings: dict[str, Any]) -> None:
    # The networks of seed 1 are dead.
    first, second = (
        craft(name, problem(seed, iterations=2, **settings), tools()) for seed in (0, 2)
    )
    drawn = name not in ("none", "heuristic", "spectral")
    # Two draws may agree on which of a few pixels of a box are 1.
    if drawn and (name, settings.get("budget")) == ("tangent", "box"):
        return
    assert torch.equal(delta_of(first), delta_of(second)) == (not drawn)


@contract
def test_resumes_bit_by_bit(name: str, settings: dict[str, Any]) -> None:
    """Convolutions choose their algorithm by width too, so the plain cases have another one."""
    width = 16 if list(settings) in ([], ["variant"]) else 4
    # The rate that suits a tenth of this loss kills the networks.
    task = problem(iterations=7, width=width, loss_scale="row-sum", inner_lr=0.01, **settings)
    states: list[CraftState] = []
    whole = craft(name, task, tools(on_step=lambda state: states.append(through_file(state))))
    if name in LEARNED and "patience" not in settings:
        assert [state.iteration for state in states] == [5, 7]
    for state in states:
        lent = tools(state=copy.deepcopy(state))
        resumed = craft(name, task, lent)
        assert resumed.state.arrays.keys() == whole.state.arrays.keys()
        for key, value in whole.state.arrays.items():
            assert torch.equal(resumed.state.arrays[key], value), key
        assert isinstance(lent.task, Recorder)
        assert lent.task.units == whole.state.iteration - state.iteration
        assert torch.equal(delta_of(resumed), delta_of(whole))
        assert resumed.state.numbers == whole.state.numbers
        assert resumed.state.history == whole.state.history
        assert resumed.state.path_iteration == whole.state.path_iteration
        assert all(map(torch.equal, resumed.state.path, whole.state.path))


# What the framework refuses


def test_unknown_attack() -> None:
    with pytest.raises(RecondoorError, match="did you mean 'heuristic'"):
        craft("heuristc", problem(), tools())


def test_no_pixel_is_far_enough_from_the_artefact() -> None:
    task = problem(mask="image", distance=20)
    with pytest.raises(ConfigError, match=r"attack\.distance: 20 given; no pixel"):
        craft("random", task, tools())


def plug_in(monkeypatch: pytest.MonkeyPatch, task: Problem, delta: Tensor, mask: Tensor) -> None:
    crafted = Crafted(Trigger(delta, mask))
    module = SimpleNamespace(craft=lambda problem, tools: crafted)
    monkeypatch.setattr(registry, "load", lambda kind, name: module)


@pytest.mark.parametrize("name", ["fake", "bilevel"])
@pytest.mark.parametrize("mask", ["trigger", "image"])
def test_a_plug_in_that_leaves_the_mask_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, mask: str
) -> None:
    task = problem(variant="paper", mask=mask)
    plug_in(monkeypatch, task, 0.01 * torch.ones(SHAPE), torch.ones(SHAPE))
    with pytest.raises(RecondoorError, match=rf"attack '{name}' left its mask .*mask={mask}"):
        craft(name, task, tools())


@pytest.mark.parametrize("factor", [1.001, 100, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("l2", r"L2 .* exceeds 3\.0000"),
        ("linf", r"L-inf .* exceeds 1\.0000"),
        ("box", r"pixels from .* leave \[0, 1\]"),
    ],
)
def test_a_plug_in_that_exceeds_the_budget_is_refused(
    monkeypatch: pytest.MonkeyPatch, factor: float, budget: str, said: str
) -> None:
    task = problem(budget=budget)
    delta = torch.where(task.trigger.mask == 1, factor, 0.0)
    plug_in(monkeypatch, task, delta, task.trigger.mask)
    with pytest.raises(RecondoorError, match=f"attack 'fake': {said}"):
        craft("fake", task, tools())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_without_a_budget_only_what_is_finite_passes(
    monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    task = problem(budget="free")
    delta = torch.where(task.trigger.mask == 1, value, 0.0)
    plug_in(monkeypatch, task, delta, task.trigger.mask)
    if value == 1e9:
        assert torch.equal(delta_of(craft("fake", task, tools())), delta)
        return
    with pytest.raises(RecondoorError, match="attack 'fake': a pixel is not finite"):
        craft("fake", task, tools())


def test_a_plug_in_within_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = problem()
    plug_in(monkeypatch, task, -task.trigger.delta, task.trigger.mask)
    assert torch.equal(delta_of(craft("fake", task, tools())), -task.trigger.delta)


# The controls


@pytest.mark.parametrize("mask", ["trigger", "image"])
def test_random_is_a_normal_draw_as_large_as_the_budget_allows(mask: str) -> None:
    task = problem(mask=mask)
    inside = task.mask == 1
    generator = seeding.torch_generator(0, "attack", "random")
    draw = torch.randn(SHAPE, generator=generator)[inside]
    found = delta_of(craft("random", task, tools()))[inside]
    torch.testing.assert_close(found, 3 * draw / draw.norm())
    signs = delta_of(craft("random", problem(mask=mask, budget="linf", linf=0.2), tools()))
    torch.testing.assert_close(signs[inside], 0.2 * draw.sign())
    ones = delta_of(craft("random", problem(mask=mask, budget="box"), tools()))
    torch.testing.assert_close(ones[inside], (draw > 0).float())


def test_heuristic_is_the_hand_made_pattern() -> None:
    for budget in ("l2", "linf", "box", "free"):
        task = problem(budget=budget)
        assert torch.equal(delta_of(craft("heuristic", task, tools())), task.trigger.delta)
    for small in ({"l2": 0.3}, {"budget": "linf", "linf": 0.1}):
        scaled = delta_of(craft("heuristic", problem(**small), tools()))
        torch.testing.assert_close(scaled, 0.1 * task.trigger.delta)


def shrunk_covariance(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ledoit and Wolf (2004), section 3.2, written out."""
    n, p = z.shape
    z = z - z.mean(0)
    sample = z.T @ z / n
    mean = np.trace(sample) / p
    distance = ((sample - mean * np.eye(p)) ** 2).sum() / p
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() / p for row in z) / n**2
    share = min(noise, distance) / distance
    return np.asarray(share * mean * np.eye(p) + (1 - share) * sample)


@pytest.mark.parametrize("mask", ["trigger", "image"])
def test_spectral_is_most_conspicuous_for_a_matched_filter(mask: str) -> None:
    """Its d'^2 is the largest eigenvalue of the block of C^-1, here by Schur's complement."""
    task = problem(mask=mask)
    covariance = shrunk_covariance(task.pairs.z.double().flatten(1).numpy())
    inside = task.mask.flatten().numpy() == 1
    rest = covariance[np.ix_(~inside, ~inside)]
    cross = covariance[np.ix_(inside, ~inside)]
    left = covariance[np.ix_(inside, inside)] - cross @ np.linalg.solve(rest, cross.T)
    values, vectors = scipy.linalg.eigh(left)
    vector = vectors[:, 0] * np.sign(vectors[:, 0].sum())
    found = delta_of(craft("spectral", task, tools())).double().flatten().numpy()
    inverse = np.linalg.inv(covariance)
    detected = found @ inverse @ found
    assert detected == pytest.approx(9 / values[0], rel=1e-5)
    assert found.sum() > 0
    if mask == "trigger":  # in the image many directions are nearly as good
        np.testing.assert_allclose(found[inside], 3 * vector, atol=1e-4)
        signs = delta_of(craft("spectral", problem(budget="linf", linf=0.2), tools()))
        np.testing.assert_allclose(signs.flatten()[inside], 0.2 * np.sign(vector), rtol=1e-6)
    generator = np.random.default_rng(0)
    for _ in range(200):
        other = np.where(inside, generator.normal(size=inside.size), 0)
        other *= 3 / np.linalg.norm(other)
        assert other @ inverse @ other < detected


def test_memory_of_the_problem_is_shared_by_the_attacks() -> None:
    """The power iteration is made once: as a start of `bilevel` and as an attack of its own."""
    task = problem(start="tangent", iterations=1)
    started = craft("bilevel", task, tools()).state.path[0]
    assert torch.equal(started, delta_of(craft("tangent", task, tools())))
    fresh = problem(start="tangent", iterations=1)
    assert torch.equal(started, delta_of(craft("tangent", fresh, tools())))
    assert len(task.pairs) == N
