"""Runs that tests make strange: whole, of others, stopped; and what takes a file's place."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recondoor.config import Config
from recondoor.core.errors import ConfigError, RunError
from recondoor.rundir import RunDir
from recondoor.studies import run
from recondoor.training import loop
from small_study import (
    CPU,
    Stopped,
    stop,
    stop_at,
    tiny,
    write_images,
)

NAMES = ("none", "heuristic")

FILES = (
    "config.toml",
    "provenance.json",
    "results.json",
    "history.jsonl",
    "plan-seed0.npz",
    "place-seed0.npz",
    "trigger-heuristic-seed0.npz",
    "model-heuristic-seed0.safetensors",
    "examples-heuristic-seed0.npz",
)

CHECKPOINT = "checkpoints/train-original-seed0.000002.safetensors"


@pytest.fixture
def in_time() -> Iterator[None]:
    """Whoever waits for a pipe's other end, or reads a device, is stopped."""

    def late(*_: object) -> None:
        raise TimeoutError("waited for a pipe or a device")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def settings(data: Path, *more: str, **sections: dict[str, Any] | int) -> Config:
    attack = {"names": [*NAMES, *more], "mask": "search", "surrogates": 1, "iterations": 7}
    train = {"max_epochs": 2, "epoch_pairs": 20}
    return tiny(data, **{"attack": attack, "train": train, **sections})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(settings(data), tmp_path_factory.mktemp("finished") / "run", CPU)


def stopped(config: Config, out: Path, stages: tuple[str, ...]) -> Path:
    """A run that was stopped in its third epoch, or after its last outer step."""
    moment = (loop, "adam_step", 6) if "train" in stages else (RunDir, "write_npz", 3)
    module, name, count = moment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, stop_at(count, getattr(module, name), stop))
        with pytest.raises(Stopped):
            run(config, out, CPU, stages)
    return out


def long(data: Path, *names: str, **sections: Any) -> Config:
    attack = {"names": names, "mask": "search", "surrogates": 1, "iterations": 5}
    train = {"max_epochs": 4, "epoch_pairs": 20}
    return tiny(data, **{"attack": attack, "train": train, **sections})


@pytest.fixture(scope="module")
def begun(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the checkpoints of two epochs."""
    out = tmp_path_factory.mktemp("begun") / "run"
    return stopped(long(data, "none"), out, ("train",))


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "private"
    path.parent.mkdir()
    path.write_text("mine")
    return path


def put(path: Path, kind: str, private: Path) -> None:
    """Something else in a file's place."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        path.touch()
        os.truncate(path, 5 << 30)
    else:
        path.symlink_to({"link": private, "device": Path("/dev/zero")}[kind])


def refuses(config: Config, out: Path, said: str) -> None:
    before = {path: path.read_bytes() for path in out.iterdir() if path.name == "results.json"}
    with pytest.raises((RunError, ConfigError), match=said) as caught:
        run(config, out, CPU)
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in before}
