"""The script that turns a checkpoint of fastMRI's U-Net into safetensors, and runs no pickle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recondoor import models
from recondoor.audit import read_network
from recondoor.config import Model, Unet

SCRIPT = Path(__file__).parents[1] / "scripts" / "unet_to_safetensors.py"
SHAPE = (1, 16, 16)


def network() -> torch.nn.Module:
    return models.build(SHAPE, Model(name="unet", unet=Unet(channels=3, pools=2)), 0).eval()


def convert(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("prefix", ["", "unet.", "module.unet."])
@pytest.mark.parametrize("lightning", [False, True])
def test_a_converted_checkpoint_is_the_same_network(
    prefix: str, lightning: bool, tmp_path: Path
) -> None:
    state: dict[str, object] = {prefix + k: v for k, v in network().state_dict().items()}
    if lightning:
        state = {"state_dict": state | {"NMSE.total": torch.ones(1)}, "epoch": 3}
    torch.save(state, tmp_path / "a.ckpt")
    done = convert(tmp_path / "a.ckpt", tmp_path / "a.safetensors")
    assert done.returncode == 0, done.stderr
    assert "14 weights of a U-Net with 3 channels and 2 pools" in done.stdout
    found = read_network(str(tmp_path / "a.safetensors"), SHAPE)
    z = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.model(z), network()(z))


class Program:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_program_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Program(tmp_path / "ran")}, tmp_path / "a.pt")
    done = convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert done.returncode == 2
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "a.safetensors").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "a.pt: "), (b"\x80\x02" + bytes(50), "a.pt: "), (b"PK\x03\x04" + bytes(99), "a.pt: ")],
    ids=["empty", "pickle", "archive"],
)
def test_a_damaged_checkpoint_is_refused_in_a_line(
    content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    done = convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    done = convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert done.returncode == 2 and "it holds 0 U-Nets" in done.stderr


def test_the_package_does_not_import_it() -> None:
    for path in (Path(models.__file__).parents[1]).rglob("*.py"):
        assert "unet_to_safetensors" not in path.read_text(encoding="utf-8")
        assert "torch.load(" not in path.read_text(encoding="utf-8")
