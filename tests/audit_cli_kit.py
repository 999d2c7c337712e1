"""What tests of the command `audit data` share: files and refusals."""

from pathlib import Path

import numpy as np
import pytest

import audit_kit
from audit_kit import Array


def save(path: Path, **arrays: Array) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    return audit_kit.refusal(capsys, "audit", "data", *arguments)
