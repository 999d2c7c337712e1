"""What tests of the command `audit data` share: a folder to stand in, files, refusals."""

from pathlib import Path

import numpy as np
import pytest

import audit_kit
from audit_kit import Array


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    return audit_kit.refusal(capsys, "audit", "data", *arguments)
