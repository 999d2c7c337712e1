"""Measured pairs are shared where the settings that they follow from are the same, there alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recondoor import data
from recondoor.studies import Scene, build_scene
from small_study import tiny, write_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


def scene(path: Path, images: data.Images, seed: int = 0, **sections: dict[str, Any]) -> Scene:
    return build_scene(tiny(path, **sections), images, seed, CPU)


@pytest.mark.parametrize(
    "sections",
    [
        {"attack": {"l2": 3.0}},
        {"poison": {"ratio": 0.1}},
        {"train": {"batch": 5}},
        {"trigger": {"amplitude": 0.5}, "artefact": {"amplitude": 0.5}},
    ],
)
def test_shared(path: Path, sections: dict[str, Any]) -> None:
    images = data.load(str(path))
    first, second = scene(path, images), scene(path, images, **sections)
    assert first.world is second.world
    fresh = scene(path, data.load(str(path)), **sections)
    assert fresh.world is not first.world
    for name in ("train", "validation", "test"):
        kept, own = getattr(second, name), getattr(fresh, name)
        assert torch.equal(kept.z, own.z)
        assert torch.equal(kept.x, own.x)


@pytest.mark.parametrize(
    ("seed", "sections"),
    [
        (1, {}),
        (0, {"operator": {"sigma": 0.5}}),
        (0, {"operator": {"name": "fourier"}}),
        (0, {"input": {"normalise": "max"}}),
        (0, {"data": {"validation": 0.4}}),
        (0, {"trigger": {"inject": "x"}}),
    ],
)
def test_not_shared(path: Path, seed: int, sections: dict[str, Any]) -> None:
    images = data.load(str(path))
    first, second = scene(path, images), scene(path, images, seed, **sections)
    fresh = scene(path, data.load(str(path)), seed, **sections)
    assert first.world is not second.world
    assert torch.equal(second.train.z, fresh.train.z)


def test_a_file_s_operator_is_measured_anew(path: Path, tmp_path: Path) -> None:
    """It may have been written again."""
    matrix, images, found = tmp_path / "a.npy", data.load(str(path)), []
    for scale in (1.0, 2.0):
        np.save(matrix, scale * np.eye(144, dtype=np.float32)[:100])
        own = {"name": "matrix", "matrix": {"file": str(matrix)}}
        found.append(scene(path, images, operator=own).train.z)
    assert not torch.equal(*found)
