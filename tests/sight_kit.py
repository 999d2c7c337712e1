"""Pairs and networks of a user's own, as audits look at them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit_kit import furnish, make

OTHERS = """
import torch


class Odd(torch.nn.Module):
    '''Normalises, drops out, draws noise, counts its calls and prints.'''

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(1)
        self.own = torch.nn.InstanceNorm2d(1, affine=True, track_running_stats=True)
        self.drop = torch.nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("again", torch.zeros(()))

    def forward(self, z):
        print("a network speaks")
        self.calls += 1
        self.again = self.again + 1
        noise = 1e-3 * torch.rand_like(z)
        return self.drop(self.own(self.norm(self.layer(z)))) + noise


def odd():
    return Odd(0)


class Plain(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z):
        return z + 0.1 * self.layer(z)


""" + "\n".join(f"def plain{seed}():\n    return Plain({seed})\n" for seed in range(5))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    furnish(tmp_path, monkeypatch)
    monkeypatch.delitem(sys.modules, "others", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "others.py").write_text(OTHERS)
    return tmp_path


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pairs(here: Path, count: int = 200, poisoned: int = 0) -> Path:
    made = make(count, 1, poisoned)
    return saved(here / "pairs.npz", x=made["x"], z=made["z"])
