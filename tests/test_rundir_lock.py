"""A run folder is one process's at a time, and what a killed one had begun goes."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recondoor.core.errors import RunError
from recondoor.rundir import RunDir
from rundir_kit import failing

HOLDER = """
import sys
from pathlib import Path
from recondoor.rundir import RunDir
with RunDir(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.fixture
def holder(folder: RunDir) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_process_is_refused_and_told_who_works(
    folder: RunDir, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(RunError) as caught, folder.lock():
        pytest.fail("two processes in one folder")
    assert f"process {holder.pid} is working in this folder" in str(caught.value)
    assert "--out" in str(caught.value)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder.lock():
        assert (folder.path / "lock").read_text() == str(os.getpid())
    with folder.lock():
        pass


@pytest.mark.parametrize("call", ["ftruncate", "write"])
def test_a_lock_that_cannot_be_written(
    folder: RunDir, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, failing(errno.ENOSPC))
    with pytest.raises(RunError, match="the disk is full"), folder.lock():
        pass
    monkeypatch.undo()
    with folder.lock():
        pass


def test_the_holder_sweeps_what_a_killed_process_had_begun(folder: RunDir) -> None:
    begun = [".results.json.0a1b2c3d", ".model-original-seed0.safetensors.x_123456"]
    begun += ["checkpoints/.train-original-seed0.000012.safetensors.0a1b2c3d"]
    kept = ["results.json", ".hidden", "report.html", ".report.html.0a1b2c3d", ".bashrc"]
    kept += ["checkpoints/.bashrc", "checkpoints/train.1", ".results.json.kept-by-me"]
    for name in begun + kept:
        path = folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with folder.lock():
        assert not any((folder.path / name).exists() for name in begun)
        assert all((folder.path / name).exists() for name in kept)
