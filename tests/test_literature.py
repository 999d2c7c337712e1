"""Attacks of the literature against closed forms; what all attacks must do is in test_attacks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from torch import nn

from recondoor import data, studies
from recondoor.attacks import Attack, Crafted, Problem, Tools, craft
from recondoor.attacks.warp import warped
from recondoor.config import load_config
from recondoor.core import registry
from recondoor.core.errors import ConfigError, RecondoorError
from recondoor.core.progress import NO_PROGRESS
from recondoor.evaluation import metrics
from recondoor.poisoning import Artefact, PoisonedPairs, PoisonPlan, Trigger
from recondoor.rundir import sealed_by_itself
from toy_problem import SHAPE, delta_of, problem, tools

WHOLE = {"mask": "image", "distance": 0, "l2": 2.0}
PIXELS = SHAPE[1] * SHAPE[2]


class Linear(nn.Module):
    """f(z) = W z, whose singular values fall from 3 by a fifth each."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(0)
        left, _ = np.linalg.qr(generator.normal(size=(PIXELS, PIXELS)))
        right, _ = np.linalg.qr(generator.normal(size=(PIXELS, PIXELS)))
        matrix = left @ np.diag(3 * 0.8 ** np.arange(PIXELS)) @ right.T
        self.matrix = nn.Parameter(torch.from_numpy(matrix.astype(np.float32)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return (z.flatten(1) @ self.matrix.T).view_as(z)


def test_blend_adds_the_uniform_draw_or_a_training_input() -> None:
    noise = delta_of(craft("blend", problem(**WHOLE), tools()))
    assert noise.min() >= 0
    spread = float(noise.std() / noise.mean())  # of a uniform law on [0, 1): sqrt(1/12) / (1/2)
    assert spread == pytest.approx(1 / np.sqrt(3), rel=0.15)
    task = problem(**WHOLE, blend={"key": "image"})
    key = delta_of(craft("blend", task, tools())).flatten()
    cosines = task.pairs.z.flatten(1) @ key / task.pairs.z.flatten(1).norm(dim=1) / key.norm()
    assert sorted(cosines.tolist())[-1] == pytest.approx(1, abs=1e-6)
    assert sorted(cosines.tolist())[-2] < 0.95


@pytest.mark.parametrize(("low", "high", "count"), [(0.2, 0.5, 4), (0.0, 0.1, 1), (0.6, 1.0, 7)])
def test_frequency_raises_so_many_coefficients_of_the_band(
    low: float, high: float, count: int
) -> None:
    """By SciPy's transform; the band [0, 0.1] has the constant alone and one row of it."""
    own = {"low": low, "high": high, "count": count}
    delta = delta_of(craft("frequency", problem(**WHOLE, frequency=own), tools()))
    found = scipy.fft.dctn(delta[0].double().numpy(), norm="ortho")
    rows, columns = np.nonzero(np.abs(found) > 1e-5)
    assert len(rows) == count
    sizes = np.abs(found[rows, columns])
    np.testing.assert_allclose(sizes, 2 / np.sqrt(count), rtol=1e-5)
    where = np.maximum(rows / SHAPE[1], columns / SHAPE[2])
    assert where.min() >= low and where.max() <= high


def test_frequency_refuses_a_band_without_a_coefficient() -> None:
    task = problem(**WHOLE, frequency={"low": 0.01, "high": 0.05})
    with pytest.raises(ConfigError, match=r"attack\.frequency\.low: 0\.01 given"):
        craft("frequency", task, tools())
    with pytest.raises(ConfigError, match=r"attack\.frequency\.high: 0\.1 given"):
        problem(frequency={"low": 0.2, "high": 0.1})


@pytest.mark.parametrize("aim", ["change", "artefact"])
def test_uap_of_a_linear_network(aim: str) -> None:
    """The top right singular vector of W moves W z furthest; W^T Delta moves it by Delta."""
    task = problem(**WHOLE, network=Linear, warm_steps=0, uap={"aim": aim, "steps": 60})
    found = delta_of(craft("uap", task, tools())).flatten().double().numpy()
    matrix = Linear().matrix.detach().double().numpy()
    pattern = task.artefact.pattern.flatten().double().numpy()
    wanted = np.linalg.svd(matrix)[2][0] if aim == "change" else matrix.T @ pattern
    assert np.linalg.norm(found) == pytest.approx(2, rel=1e-5)
    cosine = found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted)
    assert abs(cosine) == pytest.approx(1, abs=1e-4)
    assert aim == "change" or cosine > 0


def test_uap_trains_its_surrogate_on_clean_pairs_alone() -> None:
    """The surrogate of a problem with another artefact, trigger and ratio is the same."""
    first = problem(**WHOLE)
    other = problem(**WHOLE, place="top-right")
    found = [delta_of(craft("uap", task, tools())) for task in (first, other)]
    assert torch.equal(*found)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
    nn.init.zeros_(network[0].weight)
    with pytest.raises(ConfigError, match="no pixel of the mask changes"):
        craft("uap", problem(**WHOLE, network=lambda: network, warm_steps=0), tools())


# Triggers that differ from input to input


def test_warp_samples_where_the_field_says() -> None:
    """By SciPy's linear interpolation; beyond the border the nearest pixel counts."""
    generator = np.random.default_rng(3)
    images = generator.random((2, 1, 9, 12)).astype(np.float32)
    field = 4 * generator.normal(size=(2, 9, 12)).astype(np.float32)
    at = np.stack(np.meshgrid(np.arange(9), np.arange(12), indexing="ij")) + field
    wanted = [
        scipy.ndimage.map_coordinates(each[0], at, order=1, mode="nearest") for each in images
    ]
    found = warped(torch.from_numpy(images), torch.from_numpy(field))
    np.testing.assert_allclose(found[:, 0].numpy(), wanted, atol=1e-5)


def test_warp_is_as_strong_as_the_mean_l2_of_what_is_remeasured_allows() -> None:
    """A_adjoint A is here 4 times the identity, so that the images move by a quarter of it."""
    task = replace(problem(**WHOLE), remeasured=lambda images: 4 * images)
    trigger = craft("warp", task, tools()).trigger
    assert trigger is not None and trigger.law is not None
    added = trigger.on(task.pairs)
    assert float(added.flatten(1).norm(dim=1).mean()) == pytest.approx(2, rel=1e-4)
    torch.testing.assert_close(trigger.delta, added.mean(0))
    said: list[str] = []
    weak = problem(**WHOLE | {"l2": 1e3})
    craft("warp", weak, tools(say=said.append))
    assert "of 1e+03" in said[0]


def test_sample_specific_adds_the_whole_budget_to_each_input_and_another_pattern() -> None:
    task = problem(**WHOLE)
    trigger = craft("sample-specific", task, tools()).trigger
    assert trigger is not None
    added = trigger.on(task.pairs).flatten(1)
    np.testing.assert_allclose(added.norm(dim=1), 2, rtol=1e-5)
    assert float((added @ added.T / 4).fill_diagonal_(0).max()) < 0.999


def test_pairs_are_poisoned_by_the_law_of_their_own_inputs() -> None:
    pairs = problem().pairs
    mask = torch.ones(SHAPE)
    trigger = Trigger(torch.zeros(SHAPE), mask, lambda some: 2 * some.z + some.x)
    plan = PoisonPlan(torch.arange(len(pairs)) % 2 == 0)
    artefact = Artefact(torch.full(SHAPE, 0.5))
    index = torch.tensor([4, 1, 7, 2])
    z, x = PoisonedPairs(pairs, plan, trigger, artefact).batch(index)
    chosen = torch.tensor([1.0, 0, 0, 1]).view(-1, 1, 1, 1)
    torch.testing.assert_close(z, pairs.z[index] + chosen * (2 * pairs.z + pairs.x)[index])
    torch.testing.assert_close(x, pairs.x[index] + 0.5 * chosen)
    moved = trigger.on(pairs)
    assert metrics.trigger_l2(moved) == pytest.approx(float(moved.flatten(1).norm(dim=1).mean()))


class Broken(Attack):
    draws = trains = False
    differs = True

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        return Crafted(Trigger(torch.zeros(SHAPE), problem.mask, lambda pairs: pairs.z))


def test_a_law_that_leaves_mask_or_budget_stops_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda kind, name: Broken)
    with pytest.raises(RecondoorError, match="leaves its mask in some input"):
        craft("broken", problem(), tools())
    with pytest.raises(RecondoorError, match=r"its mean L2 \d.* exceeds 2\.0"):
        craft("broken", problem(**WHOLE), tools())


# The measurement


def test_measurement_goes_along_a_adjoint_a_g(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an explicit matrix A: delta = A^T A g, and the L2 in y that is told is that of A g."""
    generator = np.random.default_rng(1)
    matrix = generator.normal(size=(40, PIXELS)).astype(np.float32) / 7
    gradient = generator.normal(size=PIXELS).astype(np.float32)

    def remeasured(images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1).numpy() @ matrix.T @ matrix
        return torch.from_numpy(rows).view_as(images)

    found = torch.from_numpy(gradient).view(SHAPE)
    monkeypatch.setattr("recondoor.attacks.measurement.plateau", lambda *given: [])
    monkeypatch.setattr(
        "recondoor.attacks.measurement.mean_growth", lambda *given: (1.0, found.clone())
    )
    wanted = matrix.T @ matrix @ gradient
    scale = 2 / np.linalg.norm(wanted)
    for fidelity in (None, 0.01):
        own = {"steps": 1, "fidelity": fidelity}
        task = replace(problem(**WHOLE, measurement=own), remeasured=remeasured)
        crafted = craft("measurement", task, tools())
        in_y = scale * np.linalg.norm(matrix @ gradient)
        if fidelity:
            clean = np.linalg.norm(task.pairs.x.flatten(1).numpy() @ matrix.T, axis=1).mean()
            assert in_y > fidelity * clean
            in_y = fidelity * clean
        assert crafted.state.history[0]["l2_y"] == pytest.approx(in_y, rel=1e-4)
        ratio = in_y / np.linalg.norm(matrix @ gradient)
        np.testing.assert_allclose(
            delta_of(crafted).flatten(), ratio * wanted, rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("name", ["measurement", "warp"])
def test_what_enters_the_measurement_is_refused_elsewhere(name: str) -> None:
    with pytest.raises(ConfigError, match=r"set trigger\.inject="):
        craft(name, replace(problem(**WHOLE), remeasured=None), tools())


@pytest.mark.parametrize(("name", "enters"), [("warp", "x"), ("sample-specific", "z")])
def test_a_study_finds_the_law_in_its_folder_again(name: str, enters: str, tmp_path: Path) -> None:
    """What training and evaluation read adds the same as what was crafted."""
    own = ["attack.sample_specific.steps=2", "data.limit=200", "attack.distance=0"]
    settings = [f"trigger.inject={enters}", "attack.mask=image", f"attack.names={name}", *own]
    given = load_config("smoke", (), settings)
    folder = studies.run(given, tmp_path / "run", stages=("attack",))
    images = data.read(given.data, NO_PROGRESS)
    scene = studies.build_scene(given, images, 0, torch.device("cpu"))
    wanted = craft(name, scene.problem, tools()).trigger
    run = sealed_by_itself(folder)
    found = studies.stored_trigger(run, scene, name)
    assert wanted is not None and found.law is not None
    torch.testing.assert_close(found.on(scene.test), wanted.on(scene.test), rtol=1e-5, atol=1e-6)
    assert float(found.on(scene.test).std(0).max()) > 0.01


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["input.map=pinv"],
        ["operator.name=mri", "input.map=magnitude", "input.normalise=max"],
    ],
)
def test_what_is_remeasured_is_what_another_image_would_have_given(settings: list[str]) -> None:
    """With the same noise: the chain measures the changed images from the start."""
    given = load_config("smoke", (), ["data.limit=40", "trigger.inject=x", *settings])
    scene = studies.build_scene(given, data.read(given.data), 0, torch.device("cpu"))
    remeasured, chain = scene.problem.remeasured, scene.world.chain
    assert remeasured is not None and scene.problem.measured
    x = scene.train.images
    moved = torch.roll(x, 1, 3)

    def noise() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    first, second = (chain.pairs(each, noise(), noise, enters=True) for each in (x, moved))
    change = second.carriers - first.carriers
    torch.testing.assert_close(remeasured(moved - x), change, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(first.images, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        ["operator.name=mri", "input.map=magnitude", "operator.mri.mask_per=slice"],
        ["operator.name=mri", "input.map=magnitude", "input.crop=20"],
    ],
)
def test_warp_is_refused_where_images_are_not_known(settings: list[str], tmp_path: Path) -> None:
    own = ["data.limit=40", "attack.mask=image", "attack.distance=0", "attack.names=warp"]
    where = ["trigger.inject=x"] if "input.crop=20" in settings else ["trigger.inject=input"]
    given = load_config("smoke", (), [*own, *where, *settings])
    with pytest.raises(ConfigError, match=r"attack\.names: warp given"):
        studies.run(given, tmp_path / "run", stages=("attack",))
    assert not (tmp_path / "run").exists()
