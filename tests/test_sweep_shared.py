"""Points of a sweep that differ in the attack alone share the original model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor import studies, sweeps
from recondoor.config import from_dict, load_config, original_identity
from recondoor.core.errors import ConfigError, TrainingError
from recondoor.rundir import RunDir
from recondoor.sweeps import Execution, Placement, estimate, load_sweep

SPEC = """
preset = "smoke"
seeds = {seeds}
[base]
data.name = "{images}"
attack.names = ["none", "heuristic"]
model = {{ width = 4, code = 4, kernel = 3 }}
train = {{ batch = 10, max_epochs = 3, patience = 1000, stop = "{stop}" }}
artefact.size = 3
[[block]]
grid."attack.l2" = [1, 2.5, 4]
[[point]]
name = "other-network"
set.model.width = 5
"""
TIMES = ("seconds", "samples_per_s")


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "images.npy"
    np.save(path, np.random.default_rng(0).random((60, 12, 12)))
    return path


def write(folder: Path, images: Path, *, seeds: int = 1, stop: str = "patience") -> Path:
    path = folder / "spec.toml"
    path.write_text(SPEC.format(images=images, seeds=seeds, stop=stop))
    return path


def trained(out: Path) -> dict[str, bool]:
    """For each point, whether its original model has a history of its own."""
    found = {}
    for folder in sorted(out.glob("points/*/*")):
        rows = [row for row in RunDir(folder).history() if row["model"] == "original"]
        found[folder.parent.name] = all("recovery" in row for row in rows)
    return found


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in TIMES}


def originals(results: sweeps.SweepFolder) -> dict[str, dict[str, Any]]:
    return {
        place: next(row for row in rows if row["model"] == "original")
        for place, rows in results.rows.items()
    }


@pytest.mark.parametrize("stop", ["patience", "transition"])
def test_rows_are_those_of_a_point_that_trained_its_own(
    tmp_path: Path, images: Path, stop: str
) -> None:
    spec = write(tmp_path, images, stop=stop)
    results = sweeps.run(spec, tmp_path / "out")
    assert results.failures == {}
    own = {"attack.l2=1": True, "attack.l2=2.5": False, "attack.l2=4": False}
    assert trained(results.out) == own | {"other-network": True}
    for point in load_sweep(spec).points:
        alone = studies.run(point.config, tmp_path / point.name)
        expected = next(r for r in RunDir(alone).history() if r["model"] == "original")
        row = originals(results)[point.place]
        rows = json.loads((alone / "results.json").read_text())["rows"]
        single = next(r for r in rows if r["model"] == "original")
        assert timeless(row) == timeless(single)
        shared = next(
            r for r in RunDir(results.out / point.place).history() if r["model"] == "original"
        )
        assert {key: expected[key] for key in shared} == shared


def test_workers_share_it_too_and_another_command_takes_what_is_finished(
    tmp_path: Path, images: Path
) -> None:
    spec = write(tmp_path, images)
    serial = sweeps.run(spec, tmp_path / "serial")
    parallel = sweeps.run(spec, tmp_path / "parallel", execution=Execution(Placement(2)))
    assert parallel.failures == {}
    assert trained(parallel.out) == trained(serial.out)
    for place, row in originals(serial).items():
        assert timeless(row) == timeless(originals(parallel)[place])


def test_a_finished_point_owns_the_model_whatever_its_order(tmp_path: Path, images: Path) -> None:
    spec = write(tmp_path, images)
    last = load_sweep(spec).points[2]
    studies.run(last.config, tmp_path / "out" / last.place)
    results = sweeps.run(spec, tmp_path / "out")
    assert trained(results.out)["attack.l2=4"]
    assert not trained(results.out)["attack.l2=1"]


def test_a_point_whose_owner_failed_trains_its_own(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = studies.run

    def fails(config: Any, *rest: Any, **named: Any) -> Path:
        if config.attack.l2 == 1:
            raise TrainingError("diverged")
        return run(config, *rest, **named)

    monkeypatch.setattr(studies, "run", fails)
    results = sweeps.run(write(tmp_path, images), tmp_path / "out")
    assert len(results.failures) == 1
    assert trained(results.out)["attack.l2=2.5"]


def test_the_dry_run_counts_it_once(tmp_path: Path, images: Path) -> None:
    text = estimate(load_sweep(write(tmp_path, images, seeds=2)), Execution(Placement(0)))
    # A seed has four poisoned networks, one original of three points and one of the other network.
    assert "8 points (4 settings x 2 seeds), 12 networks to train" in text


def test_its_identity_is_that_of_what_it_is_trained_on() -> None:
    base = load_config("smoke")
    with pytest.raises(ConfigError, match=r"model\.width: 5 given, and 4 as model\.cae\.width"):
        from_dict({**base.model_dump(), "model": {"width": 5, "cae": {"width": 4}}})
    same = ("attack", "trigger", "artefact", "poison", "evaluate")
    changed = {
        "attack": {"l2": 0.5},
        "trigger": {"margin": 3},
        "artefact": {"amplitude": 0.5},
        "poison": {"ratio": 0.05},
        "evaluate": {"tau": 0.1},
        "data": {"validation": 0.2},
        "operator": {"sigma": 0.5},
        "model": {"cae": {"width": 5}},
        "train": {"lr": 0.1},
        "seed": 3,
    }
    tree = base.model_dump()
    for section, value in changed.items():
        merged = {**tree[section], **value} if isinstance(value, dict) else value
        other = from_dict({**tree, section: merged})
        assert (original_identity(other) == original_identity(base)) == (section in same)
