"""Contract of every registered attack, and what the bi-level one does step by step."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor import models, registry, seeding
from recondoor.attacks import Crafted, CraftState, Problem, Tools, craft
from recondoor.config import ArtefactSettings, Attack, Model, TriggerSettings
from recondoor.errors import RecondoorError, TrainingError
from recondoor.poison import Pairs, Trigger, make_artefact, make_trigger
from recondoor.progress import Task

SHAPE = (1, 10, 11)
CASES = [
    (name, variant)
    for name in registry.names("attacks")
    for variant in (("warm", "paper") if name == "bilevel" else ("warm",))
]
contract = pytest.mark.parametrize(("name", "variant"), CASES)


class Recorder(Task):
    def __init__(self) -> None:
        self.units = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        self.units += n


def problem(seed: int = 0, width: int = 4, **settings: Any) -> Problem:
    generator = seeding.torch_generator(0, "test pairs")
    x = torch.rand(24, *SHAPE, generator=generator)
    pairs = Pairs(x + 0.1 * torch.randn(x.shape, generator=generator), x)
    small = {"iterations": 7, "batch": 8, "warm_steps": 4, **settings}
    network = Model(width=width, code=width, kernel=3)

    def build(stream: str) -> nn.Module:
        return models.build(SHAPE, network, seed, stream)

    return Problem(
        pairs,
        make_trigger(TriggerSettings(), SHAPE),
        make_artefact(ArtefactSettings(), SHAPE),
        0.3,
        Attack.model_validate(small),
        1e-3,
        build,
        seed,
    )


def tools(**given: Any) -> Tools:
    return Tools(Recorder(), **given)


def bilevel(**settings: Any) -> CraftState:
    return craft("bilevel", problem(**settings), tools()).state


def delta_of(crafted: Crafted) -> Tensor:
    return torch.zeros(0) if crafted.trigger is None else crafted.trigger.delta


@contract
def test_description_is_one_line(name: str, variant: str) -> None:
    assert 10 < len(registry.describe("attacks")[name]) <= 100


@contract
@pytest.mark.parametrize("l2", [None, 0.7])
def test_trigger_stays_in_mask_and_budget(name: str, variant: str, l2: float | None) -> None:
    task = problem(variant=variant, l2=l2, step=1.0)
    assert task.budget == (3 if l2 is None else l2)
    trigger = craft(name, task, tools()).trigger
    if trigger is None:
        assert name == "none"
        return
    assert torch.equal(trigger.mask, task.trigger.mask)
    assert trigger.delta.shape == SHAPE
    assert trigger.delta.dtype == torch.float32
    assert not bool((trigger.delta * (1 - task.trigger.mask)).any())
    assert trigger.l2 > 0
    if variant != "paper":
        assert trigger.l2 <= task.budget * (1 + 1e-5)
    if name in ("heuristic", "random"):
        assert trigger.l2 == pytest.approx(task.budget, rel=1e-6)


@contract
def test_same_seed_same_trigger_and_nothing_else_is_touched(name: str, variant: str) -> None:
    task = problem(variant=variant)
    z, x = task.pairs.z.clone(), task.pairs.x.clone()
    hand_made = task.trigger.delta.clone()
    found = []
    for turn in range(2):
        torch.manual_seed(turn)
        before = torch.random.get_rng_state()
        found.append(craft(name, task, tools()))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(delta_of(found[0]), delta_of(found[1]))
    assert found[0].state.history == found[1].state.history
    assert torch.equal(task.pairs.z, z)
    assert torch.equal(task.pairs.x, x)
    assert torch.equal(task.trigger.delta, hand_made)


@contract
def test_another_seed_is_another_draw(name: str, variant: str) -> None:
    first, second = (craft(name, problem(seed, variant=variant), tools()) for seed in (0, 1))
    drawn = name not in ("none", "heuristic")
    assert torch.equal(delta_of(first), delta_of(second)) == (not drawn)


def through_file(state: CraftState) -> CraftState:
    """What a checkpoint does: values stay, memory layout and identity are lost."""

    def fresh(value: Tensor) -> Tensor:
        return torch.from_numpy(value.contiguous().numpy().copy())

    kept = replace(state, history=copy.deepcopy(state.history))
    kept.path_iteration = list(state.path_iteration)
    kept.delta, kept.path = fresh(state.delta), [fresh(delta) for delta in state.path]
    kept.weights = {key: fresh(value) for key, value in state.weights.items()}
    return kept


@contract
@pytest.mark.parametrize("width", [4, 16])
def test_resumes_bit_by_bit(name: str, variant: str, width: int) -> None:
    task = problem(variant=variant, iterations=11, width=width, loss_scale="row-sum")
    states: list[CraftState] = []
    whole = craft(name, task, tools(on_step=lambda state: states.append(through_file(state))))
    if name == "bilevel":
        assert [state.iteration for state in states] == [5, 10, 11]
    for state in states:
        lent = tools(state=copy.deepcopy(state))
        resumed = craft(name, task, lent)
        for key, value in whole.state.weights.items():
            assert torch.equal(resumed.state.weights[key], value), key
        assert isinstance(lent.task, Recorder)
        assert lent.task.units == 11 - state.iteration
        assert torch.equal(delta_of(resumed), delta_of(whole))
        assert resumed.state.history == whole.state.history
        assert resumed.state.path_iteration == whole.state.path_iteration
        assert torch.equal(torch.stack(resumed.state.path), torch.stack(whole.state.path))


def test_unknown_attack() -> None:
    with pytest.raises(RecondoorError, match="did you mean 'heuristic'"):
        craft("heuristc", problem(), tools())


def plug_in(monkeypatch: pytest.MonkeyPatch, task: Problem, delta: Tensor, mask: Tensor) -> None:
    crafted = Crafted(Trigger(delta, mask))
    module = SimpleNamespace(craft=lambda problem, tools: crafted)
    monkeypatch.setattr(registry, "load", lambda kind, name: module)


@pytest.mark.parametrize("name", ["fake", "bilevel"])
def test_a_plug_in_that_leaves_the_mask_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = problem(variant="paper")
    plug_in(monkeypatch, task, 0.01 * torch.ones(SHAPE), torch.ones(SHAPE))
    with pytest.raises(RecondoorError, match=f"attack '{name}' left its mask"):
        craft(name, task, tools())


@pytest.mark.parametrize("factor", [1.001, 100, float("nan"), float("inf")])
def test_a_plug_in_that_exceeds_the_budget_is_refused(
    monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    task = problem()
    delta = torch.where(task.trigger.mask == 1, factor, 0.0)
    plug_in(monkeypatch, task, delta, task.trigger.mask)
    with pytest.raises(RecondoorError, match=r"attack 'fake': L2 .* exceeds 3\.0000"):
        craft("fake", task, tools())


def test_a_plug_in_within_both_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = problem()
    plug_in(monkeypatch, task, -task.trigger.delta, task.trigger.mask)
    assert torch.equal(delta_of(craft("fake", task, tools())), -task.trigger.delta)


def test_random_is_a_normal_draw_scaled_to_the_budget() -> None:
    task = problem()
    generator = seeding.torch_generator(0, "attack", "random")
    draw = torch.randn(SHAPE, generator=generator)[task.trigger.mask == 1]
    found = delta_of(craft("random", task, tools()))[task.trigger.mask == 1]
    torch.testing.assert_close(found, 3 * draw / draw.norm())


def test_heuristic_is_the_hand_made_pattern() -> None:
    task = problem()
    assert torch.equal(delta_of(craft("heuristic", task, tools())), task.trigger.delta)
    scaled = delta_of(craft("heuristic", problem(l2=0.3), tools()))
    torch.testing.assert_close(scaled, 0.1 * task.trigger.delta)


def plain_step(task: Problem, weight: float) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Equations 3-6 of the paper by plain automatic differentiation: first outer step."""
    settings, mask = task.settings, task.trigger.mask
    start = torch.rand(SHAPE, generator=seeding.torch_generator(task.seed, "attack", "bilevel"))
    delta = (start * mask).requires_grad_()
    model = task.build_model("surrogate")
    theta: dict[str, Tensor] = dict(model.named_parameters())

    def loss(poisoned: int, delta: Tensor, theta: dict[str, Tensor], *stream: str | int) -> Tensor:
        generator = seeding.torch_generator(task.seed, "attack", "bilevel", *stream)
        index = torch.randint(24, (settings.batch,), generator=generator)
        z, x = task.pairs.z[index].clone(), task.pairs.x[index].clone()
        z = torch.cat([z[:poisoned] + delta * mask, z[poisoned:]])
        x = torch.cat([x[:poisoned] + task.artefact.pattern, x[poisoned:]])
        answer: Tensor = functional_call(model, theta, (z,))
        return weight * ((answer - x) ** 2).mean()

    for step in range(settings.inner_steps):
        inner = loss(2, delta, theta, "inner", 1, step)  # round(0.3 * 8) pairs
        slope = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
        theta = {
            name: value - settings.inner_lr * g
            for (name, value), g in zip(theta.items(), slope, strict=True)
        }
    outer = loss(settings.batch, delta, theta, "outer", 1, 0)
    (gradient,) = torch.autograd.grad(outer, delta)
    learnt = {name: value.detach() for name, value in theta.items()}
    return (delta - settings.outer_lr * gradient).detach(), learnt, outer.detach()


@pytest.mark.parametrize(
    ("scale", "weight"), [("pixel-mean", 1), ("row-sum", 10), ("sum", 1 * 10 * 11)]
)
def test_first_step_of_the_papers_recipe(scale: str, weight: float) -> None:
    settings: dict[str, Any] = {
        "variant": "paper",
        "loss_scale": scale,
        "iterations": 1,
        "inner_steps": 3,
        "inner_lr": 0.01 / weight,
        "outer_lr": 500.0,
    }
    state = bilevel(**settings)
    delta, theta, outer = plain_step(problem(**settings), weight)
    assert float((delta - state.path[0]).norm()) > 1e-4
    torch.testing.assert_close(state.delta, delta, rtol=1e-4, atol=1e-6)
    assert state.history[0]["outer_loss"] == pytest.approx(float(outer), rel=1e-5)
    for key, value in theta.items():
        torch.testing.assert_close(state.weights[key], value, rtol=1e-5, atol=1e-7)


def test_loss_scale_multiplies_the_loss_and_its_derivatives() -> None:
    rows = {
        scale: bilevel(variant="paper", iterations=1, loss_scale=scale, inner_lr=1e-12).history[0]
        for scale in ("pixel-mean", "row-sum", "sum")
    }
    base = rows["pixel-mean"]
    for scale, factor in (("row-sum", 10), ("sum", 110)):
        for key in ("outer_loss", "inner_loss", "direct_norm"):
            assert rows[scale][key] == pytest.approx(factor * float(base[key]), rel=1e-5)


@pytest.mark.parametrize("iterations", [3, 41])
def test_record_of_a_run(iterations: int) -> None:
    state = bilevel(iterations=iterations)
    assert [row["iteration"] for row in state.history] == list(range(1, iterations + 1))
    assert set(state.history[0]) == {
        *("iteration", "outer_loss", "inner_loss", "direct_norm", "bilevel_norm"),
        *("cosine", "l2", "linf", "change"),
    }
    assert state.path_iteration[0] == 0
    assert state.path_iteration[-1] == iterations
    assert state.path_iteration == sorted(set(state.path_iteration))
    assert 2 <= len(state.path) <= 30
    for k, delta in zip(state.path_iteration[1:], state.path[1:], strict=True):
        row = state.history[k - 1]
        assert row["l2"] == pytest.approx(float(delta.norm()), rel=1e-6)
        assert row["linf"] == pytest.approx(float(delta.abs().max()), rel=1e-6)
    assert all(-1.0001 <= float(row["cosine"]) <= 1.0001 for row in state.history)
    assert state.seconds > 0


def test_warm_variant_moves_by_normalised_steps_within_the_budget() -> None:
    state = bilevel(iterations=12, step=0.1)
    assert float(state.path[0].norm()) == pytest.approx(3, rel=1e-6)
    for row in state.history:
        assert 0 < float(row["change"]) <= 0.3 * (1 + 1e-5)
        assert float(row["l2"]) <= 3 * (1 + 1e-5)
    assert float((state.delta - state.path[0]).norm()) > 0.3


def test_warm_up_counts() -> None:
    with_it, without = bilevel(iterations=1), bilevel(iterations=1, warm_steps=0)
    assert torch.equal(with_it.path[0], without.path[0])
    assert with_it.history[0]["outer_loss"] != without.history[0]["outer_loss"]


def test_papers_variant_moves_freely_when_its_step_is_large_enough() -> None:
    task = problem(variant="paper", loss_scale="sum", inner_lr=1e-6, outer_lr=1e5, l2=0.1)
    said: list[str] = []
    crafted = craft("bilevel", replace(task), tools(say=said.append))
    assert crafted.trigger is not None
    assert crafted.trigger.l2 > 0.1
    assert float((crafted.state.delta - crafted.state.path[0]).norm()) > 0.1
    assert said == []


def test_a_trigger_that_does_not_move_is_told() -> None:
    said: list[str] = []
    task = problem(variant="paper", outer_lr=1e-6, iterations=20)
    craft("bilevel", task, tools(say=said.append))
    (line,) = said
    assert "moved by 0.00% of its norm in 20 iterations" in line
    assert "attack.outer_lr" in line
    assert "attack.variant=warm" in line


@pytest.mark.parametrize("variant", ["warm", "paper"])
def test_divergence_stops_with_the_remedy(variant: str) -> None:
    kept: list[int] = []
    task = problem(variant=variant, loss_scale="sum", inner_lr=1e12, iterations=50)
    with pytest.raises(TrainingError) as caught:
        craft("bilevel", task, tools(on_step=lambda state: kept.append(state.iteration)))
    text = str(caught.value)
    assert "not finite at iteration" in text
    assert "lower attack.outer_lr or attack.inner_lr" in text
    assert "smaller attack.loss_scale than 'sum'" in text
    assert all(k < 50 for k in kept)
