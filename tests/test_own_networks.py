"""Networks of a user's own shapes at the door: adapted, or refused in one line with the remedy."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import recondoor as rd
from recondoor.audit import read_network
from recondoor.audit._networks._adapters import own
from recondoor.core.errors import DataError
from recondoor.defences import SideBySide


class Flat(nn.Module):
    """Takes (B, H, W), as many MR codes do."""

    def forward(self, z: Tensor) -> Tensor:
        batch, height, width = z.shape
        return 2 * z.reshape(batch, height, width)


class Turns(nn.Module):
    """Multiplies complex images by i; with or without a channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, z: Tensor) -> Tensor:
        if z.dim() != self.dim or not z.is_complex():
            raise ValueError("expected complex images")
        return 1j * z


class Combines(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return z.square().sum(1, keepdim=True).sqrt()


class Pairs(nn.Module):
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z, z


class Upsamples(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.interpolate(z, scale_factor=2)


class Spectrum(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        found: Tensor = torch.fft.fft2(z)
        return found


class Raises(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        raise RuntimeError("no kernel for this\nand more")


def test_images_without_channels_are_given_as_such() -> None:
    network = read_network(Flat(), (1, 6, 6))
    z = torch.rand(3, 1, 6, 6)
    assert torch.equal(network.model(z), 2 * z)
    assert "without channels" in network.notes[0]
    assert isinstance(own(network.model), Flat)


@pytest.mark.parametrize("dim", [3, 4])
def test_two_channels_are_given_as_complex_images(dim: int) -> None:
    network = read_network(Turns(dim), (2, 6, 6))
    z = torch.rand(3, 2, 6, 6)
    expected = torch.stack((-z[:, 1], z[:, 0]), 1)
    assert torch.equal(network.model(z), expected)
    assert not network.lacks


@pytest.mark.parametrize(
    ("model", "channels", "said"),
    [
        (Combines(), 4, "as many channels as x (coils combined)"),
        (Combines(), 2, "or that answers with a second channel of 0, as then in x"),
        (Pairs(), 1, "returns tuple; expected one tensor of images: wrap it in a module"),
        (Upsamples(), 1, "brings z to the size of x first"),
        (Spectrum(), 1, "real and imaginary part as two channels"),
        (Raises(), 1, "does not take 2 images of (1, 6, 6): RuntimeError: no kernel for this"),
    ],
)
def test_other_networks_are_refused_in_one_line(model: nn.Module, channels: int, said: str) -> None:
    with pytest.raises(DataError) as refused:
        read_network(model, (channels, 6, 6))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_networks_that_fit_are_left_as_they_are() -> None:
    network = read_network(nn.Conv2d(1, 1, 3, padding=1), (1, 6, 6))
    assert isinstance(network.model, nn.Conv2d) and not network.notes


class Normalises(nn.Module):
    """Takes the mean away in the memory of its input."""

    def forward(self, z: Tensor) -> Tensor:
        mean = z.mean((1, 2, 3), keepdim=True)
        z -= mean
        return 2 * z + mean


class ByNumpy(nn.Module):
    """Writes where PyTorch does not see it."""

    def forward(self, z: Tensor) -> Tensor:
        values = z.detach().numpy()
        values *= 0.5
        return z.clone()


@pytest.mark.parametrize("model", [Normalises(), ByNumpy(), nn.ReLU(inplace=True)])
def test_a_network_that_changes_its_input_leaves_the_data_as_they_are(model: nn.Module) -> None:
    network = read_network(model, (1, 6, 6))
    z = torch.rand(3, 1, 6, 6) - 0.5
    before = z.clone()
    assert torch.equal(network.model(z), model(before.clone()))
    assert torch.equal(z, before)
    assert "changes its input" in network.notes[0]
    both = SideBySide(model, model, 1.0)
    both(z.clone())
    assert float(both.apart(z).max()) == 0 and torch.equal(z, before)


def test_scores_of_a_network_that_changes_its_input_are_those_of_one_that_does_not() -> None:
    class Spares(Normalises):
        def forward(self, z: Tensor) -> Tensor:
            return super().forward(z.clone())

    x = torch.rand(120, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    found = [
        rd.audit_inputs(model, 0.9 * x[:20], clean=(0.9 * x[20:], x[20:]), alarm=0.05)
        for model in (Normalises(), Spares())
    ]
    assert found[0].table["threshold"].equals(found[1].table["threshold"])
    assert found[0].suspicious.equals(found[1].suspicious)


@pytest.mark.parametrize("model", [nn.Conv2d(1, 1, 1, device="meta"), nn.LazyConv2d(1, 1)])
def test_a_network_without_numbers_is_refused(model: nn.Module) -> None:
    with pytest.raises(DataError, match="weight has no numbers yet.*load its weights first"):
        read_network(model, (1, 6, 6))


def test_weights_without_the_counters_of_batch_norms_are_opened(tmp_path: Path) -> None:
    """Old files and copies of weights lack them, and no answer needs them."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    network(torch.randn(8, 1, 6, 6))
    weights = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    save_file(weights, tmp_path / "net.safetensors")
    opened = rd.load_network(tmp_path / "net.safetensors", copy.deepcopy(network))
    z = torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        assert torch.equal(opened.eval()(z), network.eval()(z))
    del weights["1.running_mean"]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(DataError, match=r"running_mean.* is missing"):
        rd.load_network(tmp_path / "less.safetensors", network)
