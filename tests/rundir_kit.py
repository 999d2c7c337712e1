"""A run folder, and what fails as a full disk does."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from recondoor.rundir import RunDir


def failing(code: int) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")
