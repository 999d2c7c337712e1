"""Networks of complex weights: they are repaired, kept and read as others are."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import recondoor as rd
from recondoor.core.errors import DataError
from recondoor.training.loop import make_adam


class Turns(nn.Module):
    """Complex images times one complex number."""

    def __init__(self, number: complex = 1) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor([number], dtype=torch.complex64))

    def forward(self, z: Tensor) -> Tensor:
        if not z.is_complex():
            raise ValueError("expected complex images")
        return self.number * z


class Scales(nn.Module):
    """The same of real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.ones(1))

    def forward(self, z: Tensor) -> Tensor:
        return self.number * z


def pairs(count: int) -> tuple[Tensor, Tensor]:
    """x is z turned by a quarter of a right angle."""
    z = torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.view_as_complex(z.movedim(1, -1).contiguous()) * torch.exp(torch.tensor(0.25j))
    return z, torch.view_as_real(x).movedim(-1, 1).contiguous()


def test_adam_moves_both_parts_by_its_rate() -> None:
    """The first step of Adam is its rate times the sign of each part of the gradient."""
    network = Turns()
    optimiser = make_adam(network, 0.125)
    (network.number.real * 3 - network.number.imag * 5).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    expected = torch.tensor([1 - 0.125 + 0.125j])
    torch.testing.assert_close(network.number.detach(), expected, atol=1e-6, rtol=0)


def test_a_repaired_network_is_kept_and_read(tmp_path: Path) -> None:
    path = tmp_path / "mended.safetensors"
    found = rd.clean(Turns(), pairs(120), method="fine-tuning", fraction=0.5, worst=1)
    found.save(path)
    number = load_file(path)["number"]
    assert 0 < float(number.angle()) <= 0.26  # towards the truth, 0.25
    opened = rd.load_network(path, Turns)
    z = torch.complex(*torch.randn(2, 3, 1, 8, 8).unbind())
    assert torch.equal(opened(z), number * z)


def test_half_of_a_complex_number_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(Turns(2 + 1j).state_dict(), path)
    with pytest.raises(DataError, match="number holds complex numbers, and the network's are real"):
        rd.load_network(path, Scales)
