"""Studies, predictions and sweeps as functions: settings in, tables out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recondoor as rd
from recondoor.core.errors import ConfigError

TINY = {
    "model.width": 4,
    "model.code": 2,
    "train.max_epochs": 1,
    "attack.names": "none,heuristic",
    "evaluate": {"examples": 2},
}


def test_a_study_of_images_in_memory_carries_on_from_its_own_folder(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (60, 16, 16)).astype(np.uint8)
    found = rd.study(TINY | {"seed": np.int64(3)}, tmp_path / "run", images=images)
    assert list(found.table["model"]) == ["original", "heuristic"]
    assert set(found.table["seed"]) == {3}
    assert "Original" in repr(found)
    again = rd.study(TINY | {"seed": 3}, str(tmp_path / "run"), images=images)
    assert again.record["rows"] == found.record["rows"]
    with pytest.raises(ConfigError, match="holds others"):
        rd.study(TINY, tmp_path / "run", images=255 - images)
    assert found.report().exists()


def test_a_prediction_and_a_sweep_are_tables(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((60, 16, 16)))
    base = {"data.name": str(tmp_path / "images.npy"), "attack.names": "heuristic"}
    found = rd.predict(TINY | base, tmp_path / "none")
    assert list(found.table.index) == ["heuristic"]
    assert found["heuristic"].probability == found.table.loc["heuristic", "probability"]
    spec = {
        "preset": "smoke",
        "base": TINY_BASE | base,
        "block": [{"grid": {"poison.ratio": [0.2]}}],
    }
    swept = rd.sweep(spec, tmp_path / "sweep")
    assert swept.failures == {}
    assert set(swept.table["model"]) == {"heuristic"}
    assert swept.report().exists()


TINY_BASE = {"model.width": 4, "model.code": 2, "train.max_epochs": 1, "evaluate.examples": 2}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("quik", "did you mean 'quick'"),
        (3, "expected Config, a preset"),
        ({"poison.ratoi": 1}, "did you mean 'poison.ratio'"),
        ({"poison.ratio": [1, 2]}, "poison.ratio"),
        ({"seed": object()}, "expected a number or a text"),
    ],
)
def test_settings_at_fault_are_one_line(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rd.study(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()
