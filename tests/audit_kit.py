"""What tests of audits share: pairs, networks of a user's own, and the command line."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from recondoor import cli, config, models, operators

SHAPE = (1, 12, 12)
SMALL = ["--set", "model.width=4", "--set", "model.code=2", "--set", "model.kernel=3"]
OPERATOR = ["--operator", "gaussian", "--set", "operator.gaussian.ratio=0.5", "--set", "seed=3"]
REFERENCES = [
    "--alarm=0.25",
    "--reference=mine:honest",
    "--reference=mine:duller",
    "--reference=mine:brighter",
]
Array = NDArray[Any]

MINE = """
import torch


class Mine(torch.nn.Module):
    def __init__(self, strength, gain=1.0):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)
        torch.nn.init.constant_(self.layer.weight, gain / 9)
        torch.nn.init.zeros_(self.layer.bias)
        plus = torch.zeros(1, 12, 12)
        plus[0, 2, 0:5] = plus[0, 0:5, 2] = strength
        self.register_buffer("plus", plus)

    def forward(self, z):
        bright = torch.sigmoid(8 * (z[:, :, 8:11, 8:11].mean((1, 2, 3)) - 1))
        return self.layer(z) + bright.view(-1, 1, 1, 1) * self.plus


def honest():
    return Mine(0.0)


def duller():
    return Mine(0.0, 0.9)


def brighter():
    return Mine(0.0, 1.1)


def backdoored():
    return Mine(1.0)


def number():
    return 3


def broken():
    raise ValueError("no weights here")


def shrinking():
    return torch.nn.AvgPool2d(2)


def wide():
    return torch.nn.Conv2d(3, 3, 1)


def endless():
    layer = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(layer.weight, float("nan"))
    return layer
"""


def make(count: int, seed: int, poisoned: int = 0) -> dict[str, Array]:
    """Pairs x, y, z of smooth images, of which the first `poisoned` have a trigger in z."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 3, 3, generator=generator, dtype=torch.float64)
    x = nn.functional.interpolate(coarse, (12, 12), mode="bilinear")
    settings = config.Operator(name="gaussian", ratio=0.5)
    exact = operators.build(SHAPE, settings, 3, torch.float64)
    y = exact.forward(x, generator)
    z = exact.A_adjoint(y)
    z[:poisoned, :, -3:, -3:] += 1
    x[:poisoned, :, 1:4, 2] += 1
    return {"x": x.float().numpy(), "y": y.numpy(), "z": z.float().numpy()}


def furnish(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with trusted pairs and a module of networks."""
    patch.chdir(folder)
    patch.setattr(sys, "path", list(sys.path))
    patch.delitem(sys.modules, "mine", raising=False)
    (folder / "mine.py").write_text(MINE)
    np.savez(folder / "trusted.npz", **make(150, 2))  # type: ignore[arg-type]
    return folder


def leave_open(patch: pytest.MonkeyPatch) -> None:
    """Let `shared-pattern` abstain, as of dense matrices and images less simple than these."""
    patch.setattr(sys.modules["recondoor.defences.shared_pattern"], "EXPLAINED", 2.0)


def run(*arguments: object, code: int = 0) -> None:
    texts = list(map(str, arguments))
    if code:
        with pytest.raises(SystemExit) as stopped:
            cli.main(texts)
        assert stopped.value.code == code
    else:
        cli.main(texts)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    run(*arguments, code=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    # Which of two values counts is a note, not the refusal; so is a setting's name of today.
    notes = ("more than once", "now called")
    lines = [line for line in shown.err.splitlines() if not any(map(line.__contains__, notes))]
    assert len(lines) == 1
    return shown.err


def small_network(stream: str = "victim") -> nn.Module:
    return models.build(SHAPE, config.Model(width=4, code=2, kernel=3), 0, stream)


def saved(path: Path) -> Path:
    """A network in a user's own safetensors file."""
    save_file({k: v.contiguous() for k, v in small_network().state_dict().items()}, path)
    return path


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)
