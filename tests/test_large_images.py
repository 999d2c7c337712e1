"""What a covariance of all pixels is too large for, against the same found from that covariance."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from recondoor import data
from recondoor.attacks import craft
from recondoor.attacks.spectral import MatchedFilter, _shrunk, least_varied
from recondoor.config import ArtefactSettings, TriggerSettings, load_config
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import numpy_generator, torch_generator
from recondoor.defences import _features
from recondoor.poisoning import Pairs, make_artefact, make_trigger
from recondoor.studies import run
from recondoor.studies._scene import build_scene
from recondoor.studies._sight import require_sight
from toy_problem import problem, tools

LARGE = ("data.name=brain4", "data.limit=60", "operator.name=identity")


def rows(count: int, pixels: int) -> NDArray[np.float64]:
    """Correlated rows, whose pixels differ in size."""
    generator = numpy_generator(0, "rows")
    mixing = generator.normal(size=(pixels, pixels)) * generator.uniform(0.1, 3, size=(pixels, 1))
    return np.asarray(generator.normal(size=(count, pixels)) @ mixing.T + 5)


@pytest.mark.parametrize(("count", "pixels"), [(50, 20), (30, 90)])
def test_shrinkage_is_that_of_the_covariance(count: int, pixels: int) -> None:
    from sklearn.covariance import ledoit_wolf

    z = rows(count, pixels)
    centred = z - z.mean(0)
    own, shared = _shrunk(centred @ centred.T, pixels)
    made = own * np.eye(pixels) + shared * centred.T @ centred
    np.testing.assert_allclose(made, ledoit_wolf(z)[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("count", "pixels"), [(50, 20), (30, 90)])
def test_least_varied_is_the_eigenvector_of_the_inverse(count: int, pixels: int) -> None:
    from sklearn.covariance import ledoit_wolf

    z = rows(count, pixels)
    inside = np.zeros(pixels, dtype=bool)
    inside[3:12] = True
    block = np.linalg.inv(ledoit_wolf(z)[0])[np.ix_(inside, inside)]
    expected = np.linalg.eigh(block)[1][:, -1]
    found = least_varied(z, inside, np.ones(9))
    assert abs(float(found @ expected)) == pytest.approx(1, abs=1e-9)


def test_of_equally_good_directions_the_nearest_to_the_trigger_is_taken() -> None:
    z, inside = rows(10, 40), np.ones(40, dtype=bool)
    wanted = numpy_generator(1, "wanted").normal(size=40)
    found = least_varied(z, inside, wanted)
    centred = z - z.mean(0)
    assert np.abs(centred @ found).max() < 1e-8 * np.abs(centred).max()
    basis = np.linalg.svd(centred)[2][9:]
    expected = basis.T @ (basis @ wanted)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-8)


def test_spectral_at_128_pixels() -> None:
    """In seconds, where 16,384 x 16,384 numbers would take 2 GB and minutes."""
    shape = (1, 128, 128)
    generator = torch_generator(0, "images")
    x = torch.rand(60, *shape, generator=generator)
    x[..., 100:103, 100:103] = 0.5 + 0.001 * x[..., 100:103, 100:103]
    trigger = make_trigger(TriggerSettings(place="99,99", size=5), shape)
    task = replace(
        problem(),
        pairs=Pairs(x, x),
        trigger=trigger,
        artefact=make_artefact(ArtefactSettings(), shape),
    )
    started = time.perf_counter()
    found = craft("spectral", task, tools()).trigger
    assert time.perf_counter() - started < 20
    assert found is not None
    assert found.l2 == pytest.approx(trigger.l2, rel=1e-5)
    # The quiet pixels are where a trigger is most conspicuous.
    quiet = found.delta[:, 100:103, 100:103].norm() / found.delta.norm()
    assert float(quiet) > 0.999
    assert MatchedFilter.trains is False


def test_principal_components_of_few_long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(rows(12, 40))
    expected = _features.principal(values, 5)
    monkeypatch.setattr(_features, "MOST_VALUES", 0)
    torch.testing.assert_close(_features.principal(values, 5), expected, rtol=1e-8, atol=1e-8)


def test_a_network_that_cannot_see_the_artefact_is_refused_at_once_with_what_works(
    tmp_path: Path,
) -> None:
    """The remedy of the message is true: at that size a path leads from trigger to artefact."""
    settings = load_config("smoke", (), [*LARGE])
    with pytest.raises(ConfigError, match=r"add --set data\.size=(\d+), ") as told:
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    size = int(str(told.value).partition("data.size=")[2].partition(",")[0])
    images = data.read(settings.data.model_copy(update={"size": size}))
    smaller = load_config("smoke", (), [*LARGE, f"data.size={size}"])
    require_sight(smaller, build_scene(smaller, images, 0, torch.device("cpu")))
    for other in ("attack.mask=image", "attack.names=none,heuristic,random", "model.name=unet"):
        near = load_config("smoke", (), [*LARGE, other])
        require_sight(near, build_scene(near, data.read(near.data), 0, torch.device("cpu")))
