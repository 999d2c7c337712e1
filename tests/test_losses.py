"""Losses: SSIM against scikit-image, derivatives, and that everything that trains has the same."""

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from inner_problems import assert_near, difference
from recondoor import models
from recondoor.attacks import craft
from recondoor.attacks._bilevel import _InnerLoss
from recondoor.attacks._surrogates import parameters
from recondoor.config import Model, Train, identity, load_config
from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS
from recondoor.core.seeding import torch_generator
from recondoor.evaluation import judge
from recondoor.poisoning import Artefact, PoisonedPairs, PoisonPlan, Trigger
from recondoor.training import loop, losses
from recondoor.training.losses import Name, loss, of_each
from toy_problem import problem, tools

NAMES: tuple[Name, ...] = ("mse", "l1", "ssim")
every = pytest.mark.parametrize("name", NAMES)


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch_generator(0, "pair")
    a, noise = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    return a, (0.7 * a + 0.3 * noise).clamp(0, 1)


def expected(name: Name, a: Tensor, b: Tensor) -> list[float]:
    """Of each image, by NumPy and scikit-image."""
    found = []
    for one, other in zip(a.numpy(), b.numpy(), strict=True):
        if name == "ssim":
            value = 1 - structural_similarity(one, other, data_range=1.0, channel_axis=0)
        else:
            error = np.abs(one - other)
            value = (error**2 if name == "mse" else error).mean()
        found.append(float(value))
    return found


@every
@pytest.mark.parametrize("shape", [(1, 9, 11), (2, 7, 7), (3, 20, 16)], ids=str)
def test_values(name: Name, shape: tuple[int, int, int]) -> None:
    a, b = pair(5, *shape)
    each = expected(name, a, b)
    assert of_each(name, a, b).tolist() == pytest.approx(each, rel=1e-9)
    assert float(loss(name, a, b)) == pytest.approx(np.mean(each), rel=1e-9)
    weights = torch.tensor([0.5, 0.5, 2, 1, 1], dtype=torch.float64).view(5, 1, 1, 1)
    weighted = np.mean(np.array(each) * weights.flatten().numpy())
    assert float(loss(name, a, b, weights)) == pytest.approx(weighted, rel=1e-9)
    assert float(loss(name, a, a)) == pytest.approx(0, abs=1e-12)
    assert of_each(name, a.float(), b.float()).tolist() == pytest.approx(each, rel=1e-4)


@every
def test_derivatives_against_finite_differences(name: Name) -> None:
    a, b = pair(2, 1, 7, 8)
    a.requires_grad_()
    assert gradcheck(lambda a: loss(name, a, b), a)
    assert gradgradcheck(lambda a: loss(name, a, b), a)


def test_ssim_refuses_images_that_its_window_does_not_fit() -> None:
    with pytest.raises(ConfigError, match="train.loss: ssim given, whose windows of 7x7"):
        loss("ssim", *pair(1, 1, 6, 9))


def test_the_usual_loss_is_in_no_name_of_a_run_and_the_others_are() -> None:
    names = {name: identity(load_config("quick", (), [f"train.loss={name}"])) for name in NAMES}
    assert names["mse"] == identity(load_config("quick"))
    assert len(set(names.values())) == 3


@every
def test_training_and_early_stopping_have_the_same_loss(name: Name) -> None:
    task = problem()
    shape = (1, 10, 11)
    model = models.build(shape, Model(width=4, code=4, kernel=3), 0)
    nobody = PoisonPlan(torch.zeros(24, dtype=torch.bool))
    pairs = PoisonedPairs(task.pairs, nobody, None, Artefact(torch.zeros(shape)))
    plan = PoisonPlan(torch.arange(24) < 5)
    trigger = Trigger(0.5 * task.mask, task.mask)
    monitor = judge.Monitor(task.pairs, plan, trigger, task.artefact, loss=name)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    with NO_PROGRESS.task("", 1) as quiet:
        settings = Train(max_epochs=1, batch=24, loss=name)
        state = loop.fit(model, pairs, settings, seed=0, validate=monitor, task=quiet)
    trained = models.reconstruct(model, task.pairs.z), task.pairs.x
    triggered = models.reconstruct(model, task.pairs.z + trigger.delta)
    found = expected(name, trained[0].double(), trained[1].double())
    found[:5] = expected(name, triggered.double(), (task.pairs.x + task.artefact.pattern).double())[
        :5
    ]
    assert state.history[0]["val_loss"] == pytest.approx(np.mean(found), rel=1e-4)
    model.load_state_dict(fresh)
    before = expected(name, models.reconstruct(model, task.pairs.z).double(), task.pairs.x.double())
    assert state.history[0]["train_loss"] == pytest.approx(np.mean(before), rel=1e-4)


def with_loss(name: Name, **settings: Any) -> Any:
    from dataclasses import replace

    return replace(problem(dtype=torch.float64, **settings), loss=name)


@every
def test_surrogates_are_trained_with_it(name: Name) -> None:
    """One step of Adam along the gradient of that loss."""
    task = with_loss(name)
    index, delta = task.draw("inner", "x"), 0.3 * task.mask.double()
    first, second = (task.build_model("s") for _ in range(2))
    task.step(first, loop.make_adam(first, 0.01), index, delta)
    z, x, weights = task.training_batch(index, delta)
    optimiser = loop.make_adam(second, 0.01)
    loss(name, second(z), x, weights).backward()
    optimiser.step()
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@every
@pytest.mark.parametrize("variant", ["warm", "ensemble"])
def test_learned_triggers_follow_it(name: Name, variant: str) -> None:
    found = craft("bilevel", with_loss(name, variant=variant, iterations=2), tools())
    assert found.trigger is not None
    others = craft("bilevel", with_loss("mse", variant=variant, iterations=2), tools())
    assert torch.equal(found.trigger.delta, others.trigger.delta) == (name == "mse")


@every
def test_the_hypergradient_follows_it(name: Name) -> None:
    """The bi-level part against central differences of a step of SGD by that loss."""
    from recondoor.training.hypergradient import solve

    task = with_loss(name)
    model = task.build_model("s")
    inner = _InnerLoss(task, model, (1, 0))
    theta = {key: 2 * value for key, value in parameters(model).items()}
    delta, mask, lr = 0.3 * task.mask.double(), task.mask.double(), 0.3
    z, x = task.pairs.z[:6], task.pairs.x[:6]

    def outer(delta: Tensor, theta: dict[str, Tensor]) -> Tensor:
        return losses.squared_error(torch.func.functional_call(model, theta, (z,)), x + 1)

    def value(delta: Tensor) -> Tensor:
        leaves = {key: value.clone().requires_grad_() for key, value in theta.items()}
        parts = inner(0, delta * mask, leaves)
        slope = torch.autograd.grad(parts.free + parts.bound, list(leaves.values()))
        moved = {k: v - lr * g for (k, v), g in zip(leaves.items(), slope, strict=True)}
        return outer(delta, moved).detach()

    found = solve(
        "unrolled",
        lambda step, delta, theta: inner(step, delta * mask, theta),
        outer,
        delta,
        theta,
        steps=1,
        lr=lr,
    )
    assert bool(found.bilevel.any())
    assert_near(found.bilevel, difference(value, delta, 1e-5), 1e-5)


def test_what_a_loss_cannot_do_is_said_in_a_line() -> None:
    with pytest.raises(ConfigError, match="curvature of the training loss, and that of train.loss"):
        craft("bilevel", with_loss("l1", solver="implicit-cg"), tools())
    with pytest.raises(ConfigError, match="sums errors of pixels, and train.loss=ssim has none"):
        craft("bilevel", with_loss("ssim", loss_scale="row-sum"), tools())
