"""A study that takes seconds, and what two runs of it must have in common."""

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np

from recondoor.config import Config, from_dict
from recondoor.core.progress import Progress
from recondoor.rundir import RunDir, read_json, read_tensors, sealed_by_itself
from recondoor.studies import Runtime

LABELS = ("original", "heuristic", "bilevel", "random")
TIMES = {"seconds", "samples_per_s"}
CPU = Runtime(device="cpu")


class Listener(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


def write_images(folder: Path) -> Path:
    """Sixty random images of 12 x 12 pixels."""
    path = folder / "images.npy"
    generator = np.random.default_rng(0)
    np.save(path, generator.integers(0, 256, (60, 12, 12), dtype=np.uint8))
    return path


def tiny(images: Path, /, **sections: dict[str, Any] | int) -> Config:
    tree: dict[str, Any] = {
        "data": {"name": str(images)},
        "trigger": {"size": 2},
        "artefact": {"size": 3},
        "model": {"width": 4, "code": 4, "kernel": 3},
        "train": {"batch": 10, "max_epochs": 2},
        "attack": {
            "iterations": 7,
            "batch": 4,
            "warm_steps": 2,
            "surrogates": 2,
            "tangent_steps": 2,
        },
        "evaluate": {"examples": 3},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    return from_dict(tree)


def timeless(value: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in value.items() if key not in TIMES}


def record(folder: Path) -> dict[str, Any]:
    """Everything that a resumed run must have in common with an undisturbed one."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        arrays, meta = read_tensors(path)
        found |= {f"{path.name} {key}": value.tobytes() for key, value in arrays.items()}
        found[f"{path.name} meta"] = timeless(meta)
    for path in sorted(folder.glob("*.npz")):
        arrays = RunDir(folder).read_npz(path)
        found |= {f"{path.name} {key}": arrays[key].tobytes() for key in arrays.keys() - TIMES}
    results = read_json(folder / "results.json")
    found["rows"] = [timeless(row) for row in results["rows"]]
    found["summary"] = results["summary"]
    found["history"] = sealed_by_itself(folder).history()
    found["config"] = (folder / "config.toml").read_text()
    return found


def assert_same(folder: Path, other: Path) -> None:
    first, second = record(folder), record(other)
    assert first.keys() == second.keys()
    for key in first:
        assert first[key] == second[key], key


def assert_tidy(folder: Path) -> None:
    assert list((folder / "checkpoints").iterdir()) == []
    assert [path.name for path in folder.glob(".*")] == []


def validate(folder: Path) -> dict[str, Any]:
    text = resources.files("recondoor").joinpath("schemas/results.schema.json").read_text()
    results: dict[str, Any] = read_json(folder / "results.json")
    jsonschema.Draft202012Validator(json.loads(text)).validate(results)
    return results


class Stopped(Exception):
    """Stands for whatever ends a process in the middle."""


def stop_at(count: int, function: Callable[..., Any], end: Callable[[], None]) -> Any:
    """Return `function`, but at call number `count` (1, 2, ...) `end` comes first."""
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            end()
        return function(*arguments, **named)

    return counted


def stop() -> None:
    raise Stopped
