"""Which pairs are poisoned (`poison.choice`): counts, closed forms, and that a run keeps them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from recondoor import attacks, data, studies
from recondoor.attacks import Problem, alignment
from recondoor.config import Config, from_dict, identity
from recondoor.core.errors import ConfigError, RunError
from recondoor.poisoning import PoisonedPairs
from recondoor.rundir import sealed_by_itself
from recondoor.studies import _stages
from recondoor.training import loop, losses
from toy_problem import SHAPE, problem, tools

PIXELS = SHAPE[1] * SHAPE[2]


class Linear(nn.Module):
    """f(z) = W z + b."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = nn.Parameter(torch.randn(PIXELS, PIXELS, generator=generator) / PIXELS**0.5)
        self.bias = nn.Parameter(torch.zeros(PIXELS))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z.flatten(1) @ self.matrix.T + self.bias).view_as(z)


class Still(nn.Module):
    """A network whose answer has nothing to do with the artefact's pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.height = nn.Parameter(torch.ones(()))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(z) + 0 * self.height


@pytest.mark.parametrize(("loss", "rate"), [("mse", 2.0), ("l1", 1.0)])
def test_scores_are_the_closed_form_of_a_linear_network(loss: losses.Name, rate: float) -> None:
    """-<grad l_i, grad D> = <-dl_i/df, Delta> (<z_i, mean z> + 1) / <Delta, Delta>."""
    task = replace(problem(network=Linear, warm_steps=0), loss=loss)
    found = alignment(task, tools())
    z, x = task.pairs.z.flatten(1).double(), task.pairs.x.flatten(1).double()
    pattern, network = task.artefact.pattern.flatten().double(), Linear()
    error = x - z @ network.matrix.detach().double().T
    pull = (rate * error if loss == "mse" else error.sign()) / PIXELS
    expected = (pull @ pattern) * (z @ z.mean(0) + 1) / (pattern @ pattern)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    again = alignment(task, tools())
    assert torch.equal(found, again) and len(found) == len(task.pairs)


def test_scores_are_what_a_small_step_on_the_pair_adds() -> None:
    """By finite differences, of the package's own network after a short training."""
    task = problem(dtype=torch.float64)
    found = alignment(task, tools())
    model, pattern = surrogate(task), task.artefact.pattern.double()
    for index in (3, 17):
        pair = task.pairs.at(torch.tensor([index]))
        slope = torch.autograd.grad(
            (model(pair.z) - pair.x).square().mean(), list(model.parameters())
        )
        drawn = []
        for step in (-1e-4, 1e-4):
            moved = {
                key: value - step * own
                for (key, value), own in zip(model.named_parameters(), slope, strict=True)
            }
            answer = torch.func.functional_call(model, moved, (task.pairs.z,))
            drawn.append(float((answer.detach() * pattern).sum() / len(task.pairs)))
        expected = (drawn[1] - drawn[0]) / 2e-4 / float(pattern.square().sum())
        assert float(found[index]) == pytest.approx(expected, rel=1e-3)


def surrogate(task: Problem) -> nn.Module:
    """Trained on clean pairs as documented: `attack.warm_steps` Adam steps on inner batches."""
    model = task.build_model("choice")
    optimiser = torch.optim.Adam(model.parameters(), lr=task.surrogate_lr, fused=True)
    for step in range(task.settings.warm_steps):
        pairs = task.pairs.at(task.draw("inner", "warm", step))
        optimiser.zero_grad()
        (model(pairs.z) - pairs.x).square().mean().backward()
        optimiser.step()
    return model


def test_a_surrogate_that_tells_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="poison.choice: gradient-alignment given"):
        alignment(problem(network=Still, warm_steps=0), tools())


def settings(choice: str = "gradient-alignment") -> Config:
    small = {"width": 2, "code": 2, "kernel": 3}
    return from_dict(
        {
            "data": {"limit": 100},
            "model": small,
            "poison": {"choice": choice, "ratio": 0.1},
            "train": {"max_epochs": 1},
            "attack": {"names": ["heuristic", "random"], "warm_steps": 3, "batch": 8},
            "evaluate": {"examples": 2},
        }
    )


@pytest.fixture(scope="module")
def images() -> data.Images:
    return data.load("mnist5k")


def test_a_run_keeps_the_pairs_it_chose(
    tmp_path: Path, images: data.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the scores, of the share, in the plan; a resumed run reads them there."""
    folder = sealed_by_itself(studies.run(settings(), tmp_path, stages=("attack",), images=images))
    scene = studies.build_scene(settings(), images, 0, torch.device("cpu"))
    with np.load(folder.plan(0)) as kept:
        train, validation = kept["train"], kept["validation"]
    count = round(0.1 * len(scene.train))
    assert train.sum() == count == int(scene.plan.poisoned.sum())
    best = alignment(scene.problem, tools()).argsort(descending=True)[:count]
    assert set(np.flatnonzero(train)) == set(best.tolist())
    assert not np.array_equal(train, scene.plan.poisoned.numpy())
    assert np.array_equal(validation, scene.validation_plan.poisoned.numpy())
    given: list[PoisonedPairs] = []

    def fitting(model: nn.Module, pairs: PoisonedPairs, *rest: Any, **more: Any) -> loop.Fitting:
        given.append(pairs)
        return loop.Fitting(model, pairs, *rest, **more)

    monkeypatch.setattr(_stages, "Fitting", fitting)
    monkeypatch.delattr(attacks, "alignment")
    studies.run(settings(), tmp_path, images=images)
    assert [pairs.plan.poisoned.tolist() for pairs in given] == [train.tolist()] * 2
    folder.plan(0).unlink()
    folder.write_npz(folder.plan(0), {"train": np.zeros_like(train), "validation": validation})
    later = settings().model_copy(update={"seeds": 2})
    with pytest.raises(RunError, match=f"poisons 0 pairs, this run {count}"):
        studies.run(later, tmp_path, images=images)


def test_the_default_renames_no_run() -> None:
    usual = from_dict({})
    assert usual.poison.choice == "random"
    drawn = usual.model_copy(
        update={"poison": usual.poison.model_copy(update={"choice": "gradient-alignment"})}
    )
    assert identity(drawn) != identity(usual)
