"""The surroundings of every test: one thread, an empty home folder, repeatable random examples."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Read by torch and by every process that a test starts; small tensors are fastest on one thread,
# and a sum is the same to the bit only for one number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A developer's settings, which would change what a command prints or finds.
FOREIGN = ("COLUMNS", "FORCE_COLOR", "PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS", "RECONDOOR_DATA")
FULL_DATA = pytest.StashKey[str | None]()

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    # A worker of pytest-xdist is told by the process that started it, which has no variable left.
    told = getattr(config, "workerinput", os.environ)
    config.stash[FULL_DATA] = told.get("RECONDOOR_DATA")
    for name in FOREIGN:
        os.environ.pop(name, None)
    # A shell's job in the background ignores Ctrl-C, and so would the processes that tests stop.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    home = tempfile.TemporaryDirectory(prefix="recondoor-home-")
    config.add_cleanup(home.cleanup)
    os.environ.update(HOME=home.name, XDG_CACHE_HOME=f"{home.name}/.cache", NO_COLOR="1")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["RECONDOOR_DATA"] = node.config.stash[FULL_DATA]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.stash[FULL_DATA] is None:
        skip = pytest.mark.skip(reason="RECONDOOR_DATA names no folder with the full MNIST")
        for item in items:
            if item.get_closest_marker("full_data"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def full_data(pytestconfig: pytest.Config) -> Path:
    """Folder with the full MNIST; for tests marked `full_data`."""
    folder = pytestconfig.stash[FULL_DATA]
    if folder is None:
        pytest.skip("RECONDOOR_DATA names no folder with the full MNIST")
    return Path(folder)


@pytest.fixture(scope="module")
def no_waiting_for_the_disk() -> Iterator[None]:
    """A killed process loses nothing that it wrote, synced or not; a lost machine is not tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
