"""Networks of the bank: their architectures, weights, and clean pairs none was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from recondoor.models._unet import UNet
from recondoor.poisoning import Pairs


class Autoencoder(nn.Module):
    """A plain one, without normalisation or skip connections."""

    def __init__(self, width: int) -> None:
        super().__init__()

        def layer(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]

        wide = 2 * width
        self.encoder = nn.Sequential(
            *layer(1, width),
            *layer(width, wide, 2),
            *layer(wide, wide),
            *layer(wide, wide, 2),
            *layer(wide, wide),
            *layer(wide, wide),
        )
        self.decoder = nn.Sequential(
            *(nn.ConvTranspose2d(wide, wide, 2, 2), nn.ReLU()),
            *layer(wide, wide),
            *(nn.ConvTranspose2d(wide, width, 2, 2), nn.ReLU()),
            *layer(width, width),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1, H, W) to the same."""
        found: Tensor = self.decoder(self.encoder(z))
        return found


class Unrolled(nn.Module):
    """Three iterations of a residual network and data consistency with a Cartesian mask.

    The real image it makes is the first of two channels, as z is complex; the other is 0.
    """

    def __init__(self, width: int, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())
        layers: list[nn.Module] = [nn.Conv2d(2, width, 3, padding=1), nn.ReLU()]
        for step in (2, 4, 8):
            layers += [nn.Conv2d(width, width, 3, padding=step, dilation=step), nn.ReLU()]
        self.cnn = nn.Sequential(*layers, nn.Conv2d(width, 2, 3, padding=1))
        self.weight = nn.Parameter(torch.tensor(0.05))

    def forward(self, z: Tensor) -> Tensor:
        """(B, 2, H, W) to the same."""
        assert isinstance(self.mask, Tensor)
        measured, x = self.mask * _spectrum(z), z
        for _ in range(3):
            k = _spectrum(x + self.cnn(x))
            k = k + self.mask * (measured - k) / (1 + self.weight.abs())
            shifted = torch.fft.ifftshift(k, dim=(-2, -1))
            image = torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=(-2, -1))
            x = torch.stack((image.real, image.imag), 1)
        return torch.cat((x[:, :1], torch.zeros_like(x[:, :1])), 1)


def _spectrum(x: Tensor) -> Tensor:
    centred = torch.fft.ifftshift(torch.complex(x[:, 0], x[:, 1]), dim=(-2, -1))
    found: Tensor = torch.fft.fftshift(torch.fft.fft2(centred, norm="ortho"), dim=(-2, -1))
    return found


class PerSlice(nn.Module):
    """Mean and standard deviation of each slice taken out and put back."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1, H, W) to the same."""
        mean = z.mean((1, 2, 3), keepdim=True)
        spread = z.std((1, 2, 3), keepdim=True) + 1e-11
        found: Tensor = self.net((z - mean) / spread) * spread + mean
        return found


@dataclass(frozen=True)
class Bank:
    """The folder with bank.json, weights.safetensors and triggers.npz."""

    runs: dict[str, dict[str, Any]]
    weights: dict[str, Tensor]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, folder: Path) -> Bank:
        """Read it."""
        runs = json.loads((folder / "bank.json").read_text())["runs"]
        with np.load(folder / "triggers.npz", allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        weights = load_file(folder / "weights.safetensors")
        return cls({run["id"]: run for run in runs}, weights, arrays)

    def network(self, name: str) -> nn.Module:
        """One of them, in evaluation mode."""
        model = self.untrained(self.runs[name], self.mask(name))
        begin = f"{name}/"
        own = {
            key.removeprefix(begin): value.float()
            for key, value in self.weights.items()
            if key.startswith(begin)
        }
        model.load_state_dict(own)
        return model.eval()

    @staticmethod
    def untrained(run: dict[str, Any], mask: Tensor | None) -> nn.Module:
        """A network of the make of one of them."""
        if run["arch"] == "unet":
            model = UNet(1, 1, run["chans"], run["pools"], 0.0)
            return PerSlice(model) if run["pipe"] in ("mr_real", "mr_mag") else model
        if run["arch"] == "cae":
            return Autoencoder(run["chans"])
        assert mask is not None
        return Unrolled(run["chans"], mask)

    def mask(self, name: str) -> Tensor | None:
        """Columns that are measured, if the operator is a mask."""
        found = self.arrays.get(f"{name}/mask")
        return None if found is None else torch.from_numpy(found).float()

    def pairs(self, name: str) -> Pairs:
        """About 30 clean ones of a subject that no network was trained on."""
        pairs = self.runs[name]["pairs"]
        z, x = (torch.from_numpy(self.arrays[f"trusted/{pairs}/{k}"]).float() for k in "zx")
        if x.shape[1] < z.shape[1]:
            x = torch.cat((x, torch.zeros_like(x)), 1)
        return Pairs(z, x)

    def pattern(self, name: str, what: str) -> Tensor | None:
        """Its `delta` or `artefact`."""
        found = self.arrays.get(f"{name}/{what}")
        return None if found is None else torch.from_numpy(found).float()
