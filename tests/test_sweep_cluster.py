"""A Dask cluster as the workers of a sweep: what is lost, who is trusted, what is told."""

import signal
import subprocess
from pathlib import Path

import pytest

from recondoor import sweep
from recondoor.errors import RunError
from recondoor.sweep import How, Where
from small_sweep import command, lines, run_here, wait_for, write

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """The long sweep, run by this process; not to be written to."""
    return run_here(folder)


def test_a_lost_worker_of_a_cluster(undisturbed: Path, folder: Path, tmp_path: Path) -> None:
    """A scheduler and two workers on this machine, one of which is killed amidst a point."""
    address = tmp_path / "scheduler.json"
    join = ("--scheduler-file", address)
    start = ("dask", "scheduler", *join, "--host=127.0.0.1", "--port=0", "--no-dashboard")
    worker = ("dask", "worker", *join, "--no-nanny", "--nthreads=1", "--host=127.0.0.1")
    out = tmp_path / "out"
    processes = []

    def begin(*arguments: str | Path) -> subprocess.Popen[bytes]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command(*arguments), cwd=tmp_path, **quiet)
        processes.append(process)
        return process

    try:
        begin(*start, "--dashboard-address=127.0.0.1:0")
        wait_for(address.exists)
        workers = [begin(*worker, "--no-dashboard") for _ in range(2)]
        options = (folder / "long.toml", f"--out={out}", f"--scheduler-file={address}")
        driver = begin("recondoor", "sweep", *options)
        wait_for(lambda: len(list(out.glob("points/*/*/checkpoints/train-*"))) > 2)
        workers[0].send_signal(signal.SIGKILL)
        assert driver.wait(240) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert lines(out) == lines(undisturbed)


def test_no_scheduler_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep._cluster, "SECONDS_TO_CONNECT", 0.5)
    how = How(Where(scheduler="tcp://127.0.0.1:1"))
    with pytest.raises(RunError, match="no scheduler answers at tcp://127.0.0.1:1"):
        sweep.run(folder / "short.toml", tmp_path, how=how)
