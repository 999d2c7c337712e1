"""Attacks of the literature against closed forms; what all attacks must do is in test_attacks."""

import numpy as np
import pytest
import scipy.fft
import torch
from torch import nn

from recondoor.attacks import craft
from recondoor.core.errors import ConfigError
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
