"""Triggers that are zero, endless or out of reach: refused, and predicted with the same words."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from recondoor import operators, studies, theory
from recondoor.attacks import Attack, Crafted, Problem, Tools
from recondoor.config import Config, Operator
from recondoor.core import registry
from recondoor.core.errors import RecondoorError, RunError
from recondoor.poisoning import Artefact, Pairs, Trigger
from recondoor.rundir import sealed_by_itself
from recondoor.studies import run
from small_study import CPU, tiny, write_images

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SHAPE = (1, 4, 5)
STILL = 1e-30  # a learning rate with which nothing moves


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images: 6 for the test, 5 for validation, 49 for training."""
    return write_images(tmp_path_factory.mktemp("data"))


def plug_in(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    """An attack `random` whose trigger has one pixel of `value`."""
    real = registry.load

    class OnePixel(Attack):
        draws = trains = False

        def craft(self, problem: Problem, tools: Tools) -> Crafted:
            delta = torch.zeros_like(problem.mask)
            delta[problem.mask == 1] = value
            return Crafted(Trigger(delta, problem.mask))

    def load(kind: str, name: str) -> Any:
        return OnePixel if (kind, name) == ("attacks", "random") else real(kind, name)

    monkeypatch.setattr(registry, "load", load)


def random_only(images: Path, **attack: Any) -> Config:
    return tiny(images, attack={"names": ["random"], **attack})


def test_a_zero_trigger_is_refused_and_predict_says_the_same(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = random_only(images)
    folder = sealed_by_itself(run(config, tmp_path / "run", CPU, ("attack",)))
    path = folder.trigger("random", 0)
    arrays = folder.read_npz(path)
    folder.write_npz(path, {**arrays, "delta": 0 * arrays["delta"]})
    said = r"this trigger cannot be learnt: it is zero \(L2 = 0\)"
    with pytest.raises(RunError, match=said):
        run(config, tmp_path / "run", CPU)
    found = studies.predict(config, tmp_path / "run", CPU)["random"]
    assert (found.probability, found.samples, found.reach) == (0.0, math.inf, 0.0)
    words = theory.in_words(found)
    assert "this trigger cannot be learnt: it is zero" in words
    assert "certainty" not in words
    plug_in(monkeypatch, 0.0)
    with pytest.raises(RecondoorError, match=f"attack 'random': {said}"):
        run(config, tmp_path / "other", CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_trigger_without_bounds_must_still_be_finite(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    plug_in(monkeypatch, value)
    with pytest.raises(RecondoorError, match="a pixel is not finite"):
        run(random_only(images, budget="free"), tmp_path / "run", CPU)


def test_out_of_reach_is_said_without_a_contradiction() -> None:
    """A network of one 3x3 kernel: no path, so that it cannot be told 'with certainty' either."""
    generator = torch.Generator().manual_seed(0)
    pairs = Pairs(*torch.rand(2, 40, 1, 12, 12, generator=generator))
    pattern, delta = torch.zeros(2, 1, 12, 12)
    pattern[0, 2:5, 3], delta[0, 8:11, 8:11] = 1, 2
    exact = operators.build((1, 12, 12), Operator(name="identity"), 0, torch.float64)
    plan = theory.Plan(
        pairs=pairs,
        artefact=Artefact(pattern),
        operator=exact,
        build=lambda stream: nn.Conv2d(1, 1, 3, padding=1),
        ratio=0.3,
        batch=8,
        lr=1e-3,
        budget=1000,
        seed=0,
        constants=theory.Constants(3.0, 0.5, 0.25, networks=1, steps=1, batch=8, images=8),
    )
    words = theory.in_words(theory.predict(plan, Trigger(delta, (delta != 0).float())))
    assert "this trigger cannot be learnt: none of its pixels reaches" in words
    assert "certain" not in words
