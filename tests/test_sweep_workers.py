"""Workers on this machine: the same numbers, what a kill leaves, and that nobody else is heard."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from recondoor import sweeps
from recondoor.config import load_config
from recondoor.core.errors import RunError
from recondoor.rundir import read_json
from recondoor.sweeps._local import Workers
from recondoor.sweeps._work import Task
from small_sweep import command, lines, run_here, wait_for, write

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """The long sweep, run by this process; not to be written to."""
    return run_here(folder)


def test_two_workers_end_with_the_same_numbers(
    undisturbed: Path, folder: Path, tmp_path: Path
) -> None:
    results = sweeps.run(folder / "long.toml", tmp_path, workers=2)
    assert results.failures == {}
    assert lines(tmp_path) == lines(undisturbed)


def test_a_killed_driver_leaves_a_sweep_that_carries_on(
    undisturbed: Path, folder: Path, tmp_path: Path
) -> None:
    options = (folder / "long.toml", f"--out={tmp_path}", "--workers=2")
    with subprocess.Popen(
        command("recondoor", "sweep", *options), stderr=subprocess.PIPE
    ) as driver:
        wait_for(lambda: len(list(tmp_path.glob("points/*/*/results.json"))) > 1)
        wait_for(lambda: list(tmp_path.glob("points/*/*/checkpoints/train-*")))
        driver.send_signal(signal.SIGKILL)
    finished = read_json(next(tmp_path.glob("points/*/*/results.json")))["provenance"]["command"]
    assert finished.startswith("recondoor sweep")
    models = {p: p.stat().st_mtime_ns for p in tmp_path.glob("points/*/*/model-*")}
    assert 0 < len(models) < 12
    sweeps.run(folder / "long.toml", tmp_path)
    assert lines(tmp_path) == lines(undisturbed)
    assert {p: p.stat().st_mtime_ns for p in models} == models


# Whom they listen to

HELD = re.compile(r"socket:\[(\d+)\]")


def family(root: int) -> set[int]:
    """A process and all that came of it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = stat.read_text().partition(" ")
            parents[int(pid)] = int(rest.rpartition(")")[2].split()[1])
    found = {root}
    while new := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def sockets(pids: set[int]) -> list[str]:
    """Lines of the kernel's tables of all sockets, of any kind, that these processes hold."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes |= set(HELD.findall(str(handle.readlink())))
    tables = [Path("/proc/net") / name for name in ("tcp", "tcp6", "udp", "udp6", "unix", "raw")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()]
    return [line for line in lines if inodes & set(line.split())]


def test_no_process_of_a_sweep_has_a_socket(folder: Path, tmp_path: Path) -> None:
    """No port and no name to connect to: no other user can run code there or read anything."""
    options = (folder / "long.toml", f"--out={tmp_path}", "--workers=2")
    with subprocess.Popen(
        command("recondoor", "sweep", *options), stderr=subprocess.PIPE
    ) as driver:
        wait_for(lambda: len(list(tmp_path.glob("points/*/*/checkpoints/train-*"))) > 1)
        pids = family(driver.pid)
        found = sockets(pids)
        said = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids)
        driver.kill()
    assert len(pids) == 3
    assert found == []
    assert b"tcp" not in said


@pytest.mark.parametrize("kind", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_socket_would_be_seen(kind: socket.AddressFamily) -> None:
    code = (
        "import socket, sys\n"
        "s = socket.socket(int(sys.argv[1])); s.listen(); print(1, flush=True); input()"
    )
    ask = [sys.executable, "-c", code, str(int(kind))]
    if kind == socket.AF_UNIX:
        ask[2] = code.replace("s.listen()", "s.bind('\\0recondoor-test'); s.listen()")
    with subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline():
            assert len(sockets(family(os.getpid()))) >= 1
            assert len(sockets({process.pid})) == 1
        process.kill()


# What goes wrong


def task(folder: Path, place: str = "points/a/seed0") -> Task:
    settings = load_config("smoke", overrides=["attack.names=none"]).model_dump(mode="json")
    return Task(
        point="a",
        seed=0,
        place=place,
        folder=str(folder / place),
        settings=settings,
        data_dir=None,
        device="cpu",
        threads=1,
        command="test",
        sweep_begun=time.time(),
    )


def test_a_point_whose_workers_die_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module in the worker's path that kills it when the point begins, as the kernel does."""
    lock = tmp_path / "out" / "points" / "a" / "seed0" / "lock"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, sys, threading, time\n"
        f"lock = pathlib.Path({str(lock)!r})\n"
        "def watch():\n"
        "    while not lock.exists() or lock.read_text() != str(os.getpid()): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), 9)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with closing(Workers(1)) as pool:
        pool.submit(task(tmp_path / "out"))
        answers = []
        wait_for(lambda: answers.extend(pool.collect()) or answers)
        assert pool.slots() == 1
    ((ended, answer),) = answers
    assert (ended.point, answer.rows) == ("a", [])
    assert answer.error == "its worker died 3 times (by SIGKILL: killed, or out of memory)"


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("raise ImportError('no libgomp')", "ImportError: no libgomp"),
        ("import os; os.kill(os.getpid(), 9)", "by SIGKILL"),
        ("import os; os._exit(3)", "exit code 3"),
    ],
)
def test_workers_that_never_begin_are_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, said: str
) -> None:
    (tmp_path / "torch.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    with closing(Workers(2)) as pool:
        pool.submit(task(tmp_path))
        with pytest.raises(RunError) as caught:
            wait_for(pool.collect)
    assert f"the worker processes end before they begin ({said})" in str(caught.value)
    assert "--workers 0" in str(caught.value)


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(RunError, match="no worker process can be started .*fewer --workers"):
        Workers(1)


def test_a_module_of_the_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep is started in a stranger's folder, which has a `torch.py`."""
    (tmp_path / "torch.py").write_text("open('owned', 'w')")
    monkeypatch.chdir(tmp_path)
    with closing(Workers(1)) as pool:
        wait_for(lambda: pool.collect() or pool._workers[0].ready)
    assert not (tmp_path / "owned").exists()


def test_what_a_worker_prints_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text("import atexit; print('hello', flush=True)")
    answers: list[object] = []
    with closing(Workers(1)) as pool:
        pool.submit(replace(task(tmp_path), settings={"seed": -1}))
        wait_for(lambda: answers.extend(pool.collect()) or answers)
    ((_, answer),) = answers  # type: ignore[misc]
    assert "seed: -1 given" in answer.error


def test_ctrl_c_stops_all_and_the_same_command_carries_on(
    undisturbed: Path, folder: Path, tmp_path: Path
) -> None:
    """The terminal sends the signal to every process of the group."""
    options = (folder / "long.toml", f"--out={tmp_path}", "--workers=2")
    driver = subprocess.Popen(
        command("recondoor", "sweep", *options), stderr=subprocess.PIPE, start_new_session=True
    )
    wait_for(lambda: len(list(tmp_path.glob("points/*/*/checkpoints/train-*"))) > 1)
    pids = family(driver.pid)
    os.killpg(driver.pid, signal.SIGINT)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert said.decode().split("\n")[-2:] == [
        "stopped; the same command carries on from here",
        "",
    ]
    assert b"Traceback" not in said
    assert len(pids) == 3
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 20)
    sweeps.run(folder / "long.toml", tmp_path)
    assert lines(tmp_path) == lines(undisturbed)
