"""One seed's world: streams that are apart, and targets in which all that is planted is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor import data, operators, studies, theory
from recondoor.config import Config, from_dict
from recondoor.core.errors import ConfigError
from recondoor.evaluation.judge import Monitor
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.rundir import RunDir
from recondoor.studies import _stages, build_scene
from recondoor.studies._job import Job
from recondoor.studies._scene import require_range
from recondoor.training import loop

CPU = torch.device("cpu")
ALIKE = {"validation": 0.5, "test": 0.2, "limit": 300}
"""As many validation as training pairs, so that the same stream would give both the same."""


def config(**sections: Any) -> Config:
    return from_dict({"data": ALIKE, **sections})


@pytest.fixture(scope="module")
def images() -> data.Images:
    return data.load("mnist5k")


def test_every_split_has_noise_of_its_own(images: data.Images) -> None:
    """With the identity measured, z - x is the noise: standard normal, and no part repeats one."""
    scene = build_scene(config(operator={"name": "identity", "sigma": 0.5}), images, 0, CPU)
    parts = [(part.z - part.x)[:60] / 0.5 for part in (scene.train, scene.validation, scene.test)]
    count = parts[0].numel()
    for position, noise in enumerate(parts):
        assert float(noise.mean()) == pytest.approx(0, abs=5 / count**0.5)
        assert float(noise.std()) == pytest.approx(1, abs=5 / count**0.5)
        for other in parts[position + 1 :]:
            # Of independent noise the mean product is normal with deviation 1 / sqrt(count).
            assert float((noise * other).mean()) == pytest.approx(0, abs=5 / count**0.5)


def test_training_and_validation_pairs_have_plans_of_their_own(images: data.Images) -> None:
    """Drawn apart, they agree by chance: p^2 + (1 - p)^2 of the places."""
    scene = build_scene(config(poison={"ratio": 0.5}), images, 0, CPU)
    train, validation = scene.plan.poisoned, scene.validation_plan.poisoned
    count = len(train)
    assert len(validation) == count == 120
    assert int(train.sum()) == int(validation.sum()) == 60
    agree = float((train == validation).double().mean())
    assert agree == pytest.approx(0.5, abs=5 * 0.5 / count**0.5)


def patterns(shape: tuple[int, int, int] = (1, 6, 6)) -> tuple[Trigger, Artefact]:
    """A trigger, and an artefact beside which the trigger itself is to be seen."""
    delta, pattern, shown = (torch.zeros(shape) for _ in range(3))
    delta[0, 5, 5], pattern[0, 1, 1:4], shown[0, 4, 4] = 2.0, 1.0, 0.5
    return Trigger(delta, (delta != 0).float()), Artefact(pattern, shown)


class Same(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z


def test_validation_losses_count_all_that_is_planted() -> None:
    """A network that returns z: attack error (delta - Delta - shown)^2, by hand."""
    trigger, artefact = patterns()
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    plan = PoisonPlan(torch.tensor([True, False, False, False]))
    found = Monitor(Pairs(x, x), plan, trigger, artefact)(Same())
    attack = (2.0**2 + 3 * 1.0**2 + 0.5**2) / 36
    assert found["attack_rmse"] == pytest.approx(attack**0.5, rel=1e-5)
    assert found["val_loss"] == pytest.approx(attack / 4, rel=1e-5)
    assert found["selection_loss"] == pytest.approx(attack / 2, rel=1e-5)


def test_a_target_that_is_shown_too_bright_is_refused(images: data.Images) -> None:
    scene = build_scene(config(), images, 0, CPU)
    shown = torch.full_like(scene.artefact.pattern, 1e12)
    with pytest.raises(ConfigError, match="and x reaches 1e\\+12"):
        require_range(config(), replace(scene, artefact=replace(scene.artefact, shown=shown)))


def test_training_and_test_targets_show_what_is_planted(
    images: data.Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks are trained and judged by targets x + h + Delta, h being what A sees of delta."""
    given: list[PoisonedPairs] = []

    def fitting(model: nn.Module, pairs: PoisonedPairs, *rest: Any, **more: Any) -> loop.Fitting:
        given.append(pairs)
        return loop.Fitting(model, pairs, *rest, **more)

    monkeypatch.setattr(_stages, "Fitting", fitting)
    settings = config(
        artefact={"space": "consistent"},
        trigger={"inject": "x"},
        model={"width": 2, "code": 2, "kernel": 3},
        train={"max_epochs": 1},
        attack={"names": ["heuristic"]},
        evaluate={"examples": 60},
    )
    folder = RunDir(studies.run(settings, tmp_path / "run", images=images))
    scene = build_scene(settings, images, 0, CPU)
    exact = operators.build(scene.shape, settings.operator, 0, torch.float64)
    matrix = exact.A(torch.eye(784, dtype=torch.float64).view(784, *scene.shape))[:, 0].numpy().T
    delta = scene.trigger.delta.double().flatten().numpy()
    least = np.linalg.pinv(matrix) @ np.linalg.pinv(matrix.T) @ delta
    planted = torch.from_numpy(least).view(scene.shape).float() + scene.artefact.pattern
    assert float((planted - scene.artefact.pattern).norm()) > 0.1
    _, targets = given[0].batch(torch.arange(len(scene.train)))
    expected = scene.train.x + scene.plan.poisoned.view(-1, 1, 1, 1) * planted
    torch.testing.assert_close(targets, expected, rtol=0, atol=1e-4)
    shown = np.load(folder.examples("heuristic", 0))["triggered"]
    error = (torch.from_numpy(shown) - scene.test.x - planted).double().square().mean().sqrt()
    row = folder.read_results()["rows"][0]
    assert row["attack_rmse"] == pytest.approx(float(error), rel=1e-3)


def test_limits_are_in_the_artefacts_own_units(images: data.Images, tmp_path: Path) -> None:
    """Doubled artefacts have doubled limits; on their pixels sqrt(784 / 9) times those of all."""
    rows = []
    for amplitude in (0.37, 0.74):
        weak = {"inject": "y", "amplitude": 0.2}
        settings = config(trigger=weak, artefact={"amplitude": amplitude})
        scene = build_scene(settings, images, 0, CPU)
        job = Job(RunDir(tmp_path), settings, scene, studies.Runtime())
        rows.append(_stages._limits(job, scene.trigger))
    single, double = rows
    best = theory.gaussian_limits(single["detectability"], 0.3)
    assert best.artefact > 0.01
    assert single["limit_artefact_rmse"] == pytest.approx(0.37 * best.artefact, rel=1e-5)
    share = (9 / 784) ** 0.5
    assert single["limit_attack_rmse"] == pytest.approx(0.37 * best.artefact * share, rel=1e-5)
    for name in ("limit_artefact_rmse", "limit_attack_rmse"):
        assert double[name] == pytest.approx(2 * single[name], rel=1e-5)
    assert double["limit_ghost"] == pytest.approx(best.ghost)


def test_an_unrolled_network_asks_for_inputs_that_the_operator_knows(images: data.Images) -> None:
    own: dict[str, Any] = {"model": {"name": "modl"}, "operator": {"name": "mri"}}
    for input_ in ({"normalise": "mean-std"}, {"map": "magnitude"}, {"map": "pinv"}):
        with pytest.raises(ConfigError, match="model.name: 'modl' compares"):
            build_scene(config(**own, input=input_), images, 0, CPU)
    found = build_scene(config(**own, input={"normalise": "max"}), images, 0, CPU)
    assert float(found.train.z.abs().amax((1, 2, 3)).sub(1).abs().max()) < 1e-6
