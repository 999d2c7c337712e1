"""A Dask cluster as the workers of a sweep: what is lost, who is trusted, what is told."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recondoor import sweeps
from recondoor.core.errors import ConfigError, RunError
from recondoor.rundir import read_json
from recondoor.sweeps import Execution, Placement
from small_sweep import command, lines, run_here, wait_for, write

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """The long sweep, run by this process; not to be written to."""
    return run_here(folder)


class Machines:
    """Processes of a cluster on this machine, which end with the test."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.environment = os.environ | (environment or {})
        self.processes: list[subprocess.Popen[bytes]] = []

    def begin(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    def scheduler(self, *options: str) -> subprocess.Popen[bytes]:
        quiet = ("--no-dashboard", "--dashboard-address=127.0.0.1:0")
        found = self.begin("dask", "scheduler", *self._join(), "--port=0", *quiet, *options)
        wait_for(self.file.exists)
        return found

    def worker(self) -> subprocess.Popen[bytes]:
        options = ("--no-nanny", "--nthreads=1", "--no-dashboard")
        return self.begin("dask", "worker", *self._join(), *options)

    def sweep(self, spec: Path) -> subprocess.Popen[bytes]:
        join = f"--scheduler-file={self.file}"
        return self.begin("recondoor", "sweep", spec, f"--out={self.folder / 'out'}", join)

    def training(self, count: int = 1) -> None:
        pattern = "out/points/*/*/checkpoints/train-*"
        wait_for(lambda: len(list(self.folder.glob(pattern))) >= count)

    def _join(self) -> tuple[str, ...]:
        return f"--scheduler-file={self.file}", "--host=127.0.0.1"

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    yield found
    found.end()


def test_a_lost_worker(undisturbed: Path, folder: Path, machines: Machines) -> None:
    machines.scheduler()
    workers = [machines.worker() for _ in range(2)]
    driver = machines.sweep(folder / "long.toml")
    machines.training(3)
    workers[0].kill()
    said = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, said.decode()
    assert lines(machines.folder / "out") == lines(undisturbed)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_lost_scheduler(folder: Path, machines: Machines, end: signal.Signals) -> None:
    scheduler = machines.scheduler()
    machines.worker()
    driver = machines.sweep(folder / "long.toml")
    machines.training()
    scheduler.send_signal(end)
    said = driver.communicate(timeout=60)[0].decode().splitlines()
    assert driver.returncode == 2
    gone = "recondoor: the scheduler is gone; start it and give the same command again"
    assert [line for line in said if not line.startswith("sweep of 6 points: ")] == [gone]
    states = [p["state"] for p in read_json(machines.folder / "out" / "sweep.json")["points"]]
    assert set(states) <= {"finished", "waiting"}


def test_ctrl_c_of_a_driver(folder: Path, machines: Machines) -> None:
    machines.scheduler()
    machines.worker()
    driver = machines.sweep(folder / "long.toml")
    machines.training()
    driver.send_signal(signal.SIGINT)
    said = driver.communicate(timeout=60)[0].decode()
    assert driver.returncode == 130
    assert "stopped; the same command carries on from here" in said
    assert "Traceback" not in said


# Whom a cluster trusts


def keys(folder: Path, name: str) -> dict[str, str]:
    """Dask's settings for a certificate of one's own, made by OpenSSL."""
    pair = (folder / f"{name}.key", folder / f"{name}.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    make += ["-subj", "/CN=recondoor"]
    subprocess.run([*make, "-keyout", pair[0], "-out", pair[1]], check=True, capture_output=True)
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    found = {f"{tls}CA_FILE": str(pair[1]), "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found |= {f"{tls}{role}__KEY": str(pair[0]), f"{tls}{role}__CERT": str(pair[1])}
    return found


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make keys with")
def test_a_cluster_with_certificates(
    undisturbed: Path, folder: Path, tmp_path: Path, machines: Machines
) -> None:
    """One with the keys gets the same numbers; one without, or with others, gets nothing done."""
    machines.environment |= keys(tmp_path, "ours")
    machines.scheduler("--protocol=tls")
    machines.worker()
    assert read_json(machines.file)["address"].startswith("tls://")
    driver = machines.sweep(folder / "long.toml")
    said = driver.communicate(timeout=240)[0]
    assert driver.returncode == 0, said.decode()
    assert lines(tmp_path / "out") == lines(undisturbed)
    connect = (
        "import sys\nfrom distributed import Client\n"
        "client = Client(sys.argv[1], timeout=3)\nprint(client.submit(int, '7').result(5))"
    )
    address = read_json(machines.file)["address"]
    for other, where in (
        ({}, address),
        ({}, address.replace("tls", "tcp")),
        (keys(tmp_path, "theirs"), address),
    ):
        done = subprocess.run(
            [sys.executable, "-c", connect, where],
            env=os.environ | other,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (1, "")


def test_what_is_no_file_of_a_scheduler(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, text in (("a", "{}"), ("b", "[]"), ("c", "null"), ("d", '{"address": 3}'), ("e", "")):
        (tmp_path / name).write_text(text)
    for file in (*map(tmp_path.joinpath, "abcde"), tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match="is not the file of a scheduler") as caught:
            sweeps.run(
                folder / "short.toml",
                tmp_path / "out",
                execution=Execution(Placement(scheduler_file=file)),
            )
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["garbage", "tcp://", "foo://a:1", "tls://127.0.0.1:1", "a:b"])
def test_an_address_that_is_none(folder: Path, tmp_path: Path, address: str) -> None:
    with pytest.raises(RunError, match=f"no scheduler answers at {address}") as caught:
        sweeps.run(
            folder / "short.toml", tmp_path, execution=Execution(Placement(scheduler=address))
        )
    assert "\n" not in str(caught.value)


def test_no_scheduler_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps._cluster, "SECONDS_TO_CONNECT", 0.5)
    execution = Execution(Placement(scheduler="tcp://127.0.0.1:1"))
    with pytest.raises(RunError, match="no scheduler answers at tcp://127.0.0.1:1"):
        sweeps.run(folder / "short.toml", tmp_path, execution=execution)
