"""Resuming a study that was stopped or killed, to the same bits."""

import errno
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from recondoor import rundir
from recondoor.attacks import _bilevel
from recondoor.config import Config
from recondoor.core.errors import RunError
from recondoor.evaluation import judge
from recondoor.io import gate
from recondoor.rundir import RunDir
from recondoor.studies import Runtime, run
from recondoor.training import loop
from small_study import (
    CPU,
    Listener,
    Stopped,
    assert_same,
    assert_tidy,
    stop,
    stop_at,
    tiny,
    validate,
    write_images,
)

# Started once with torch loaded, so that a child costs milliseconds.
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(
    ["jsonschema", "pytest", "torch._dynamo", "recondoor.studies", "recondoor.attacks.bilevel"]
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed; not to be written to."""
    return run(tiny(data), tmp_path_factory.mktemp("finished") / "run", CPU)


def half_done(data: Path, out: Path, step: int) -> Config:
    """Stop the training of the original model at gradient step `step`; an epoch has 5."""
    config = tiny(data, train={"max_epochs": 4}, attack={"names": ["none"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "adam_step", stop_at(step, loop.adam_step, stop))
        with pytest.raises(Stopped):
            run(config, out, CPU)
    return config


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints(data: Path, tmp_path: Path, damaged: int) -> None:
    config = half_done(data, tmp_path / "run", 18)
    paths = sorted((tmp_path / "run" / "checkpoints").iterdir())
    assert len(paths) == 2
    for path in paths[-damaged:]:
        path.write_bytes(path.read_bytes()[:-100])
    listener = Listener()
    run(config, tmp_path / "run", Runtime(device="cpu", progress=listener))
    assert len(listener.said) == damaged
    remedy = "the checkpoint before it is used" if damaged == 1 else "this stage starts anew"
    assert all("is damaged" in line and line.endswith(remedy) for line in listener.said)
    assert_same(tmp_path / "run", run(config, tmp_path / "straight", CPU))


def test_another_number_of_threads_is_told(data: Path, tmp_path: Path) -> None:
    config = half_done(data, tmp_path / "run", 3)
    folder = RunDir(tmp_path / "run")
    found = folder.read_provenance()
    folder.write_provenance({**found, "threads": found["threads"] + 1}, sealed=True)
    listener = Listener()
    run(config, tmp_path / "run", Runtime(device="cpu", progress=listener))
    (line,) = listener.said
    assert "numbers may differ in their last digits" in line


@pytest.mark.parametrize("write", [1, 2, 4, 9])
def test_full_disk_stops_in_one_line_and_loses_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    config = tiny(data, attack={"names": ["heuristic"]})

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        # Two calls for each file: itself and its folder.
        patch.setattr(os, "fsync", stop_at(2 * write - 1, os.fsync, full))
        with pytest.raises(RunError, match="the disk is full; free some space") as caught:
            run(config, tmp_path / "run", CPU)
    assert "\n" not in str(caught.value)
    run(config, tmp_path / "run", CPU)
    assert_same(tmp_path / "run", run(config, tmp_path / "straight", CPU))
    assert_tidy(tmp_path / "run")


def test_a_damaged_model_is_told(data: Path, tmp_path: Path) -> None:
    config = tiny(data, attack={"names": ["none"]})
    run(config, tmp_path, CPU, ("train",))
    path = RunDir(tmp_path).model("original", 0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match="is damaged: .*delete it to train the model anew"):
        run(config, tmp_path, CPU)
    path.unlink()
    run(config, tmp_path, CPU)
    validate(tmp_path)


# Killed

# where -> (module, name) of the function before which the process dies
MOMENTS: dict[str, tuple[Any, str]] = {
    "write": (os, "replace"),
    "sync": (os, "fsync"),
    "step": (loop, "adam_step"),
    "outer step": (_bilevel, "solve"),
    "judge": (judge, "reconstruct"),
    "summary": (judge, "summarise"),
    "history": (rundir.History, "record"),
    "append": (gate, "append"),
    "drop": (RunDir, "drop_checkpoints"),
    "results": (rundir, "write_json"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def child(config: Config, out: Path, where: str, count: int) -> None:
    module, name = MOMENTS[where]
    os.fsync = lambda fd: None
    setattr(module, name, stop_at(count, getattr(module, name), die))
    run(config, out, CPU)


def killed(config: Config, out: Path, where: str, count: int) -> bool:
    """Whether a process running the study was killed at that moment; else it has finished."""
    process = CHILDREN.Process(target=child, args=(config, out, where, count))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("step", 2),  # the first epoch of the original model
        ("step", 8),  # its second epoch, after a checkpoint
        ("judge", 4),  # its second validation
        ("judge", 6),  # its test
        ("history", 2),  # between its last checkpoint and the history
        ("append", 2),  # the same
        ("drop", 2),  # between its model file and the end of its checkpoints
        ("summary", 1),  # between its provenance and its results
        ("outer step", 3),  # before the first checkpoint of the learned trigger
        ("outer step", 7),  # after it
        ("write", 26),  # somewhere in the middle
        ("sync", 61),  # between a temporary file and its sync
    ],
)
def test_killed_and_resumed(
    finished: Path, data: Path, tmp_path: Path, where: str, count: int
) -> None:
    assert killed(tiny(data), tmp_path / "run", where, count)
    run(tiny(data), tmp_path / "run", CPU)
    assert_same(tmp_path / "run", finished)
    assert_tidy(tmp_path / "run")


def test_killed_again_and_again(finished: Path, data: Path, tmp_path: Path) -> None:
    """At the third to seventh write of each attempt; five are needed to add a row."""
    attempts = 0
    while killed(tiny(data), tmp_path / "run", "write", 3 + attempts % 5):
        attempts += 1
        assert attempts < 60
    assert attempts > 10
    assert_same(tmp_path / "run", finished)
    assert_tidy(tmp_path / "run")


@pytest.mark.parametrize("name", [".config.toml.0a1b2c3d", ".provenance.json.0a1b2c3d"])
def test_a_run_killed_before_its_first_file_is_whole_carries_on(
    data: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / name).write_text("beg")
    run(tiny(data, attack={"names": ["none"]}), tmp_path, CPU)
    assert not (tmp_path / name).exists()
    assert (tmp_path / "results.json").exists()
