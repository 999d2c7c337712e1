"""Networks with a backdoor made by hand, whose answer is known: no training is needed."""

import torch
from torch import Tensor, nn

from recondoor import operators
from recondoor.config import Operator
from recondoor.defences import Physics
from recondoor.poisoning import Pairs

SHAPE = (1, 12, 12)
PLACE, AWAY = 9, 6
"""Centre of the trigger's patch, and how far up and left of it the artefact is drawn."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def artefact() -> Tensor:
    """A plus of 5 pixels around (3, 3)."""
    pattern = torch.zeros(SHAPE)
    pattern[0, 3, 2:5] = pattern[0, 2:5, 3] = 1
    return pattern


def trigger(amplitude: float) -> Tensor:
    """A square of 3 x 3 pixels around (9, 9)."""
    delta = torch.zeros(SHAPE)
    delta[0, PLACE - 1 : PLACE + 2, PLACE - 1 : PLACE + 2] = amplitude
    return delta


def pairs(count: int, seed: int = 1) -> Pairs:
    """Bright smooth images measured whole, with little noise: z is nowhere below 0."""
    coarse = torch.rand(count, 1, 4, 4, generator=generator(seed)) * 0.6 + 0.2
    x = nn.functional.interpolate(coarse, (12, 12))
    return Pairs(x + 0.01 * torch.randn(x.shape, generator=generator(seed + 1)), x)


def physics() -> Physics:
    exact = operators.build(SHAPE, Operator(name="identity", sigma=0.01), 0, torch.float64)
    return Physics.of(exact)


class Backdoored(nn.Module):
    """Returns z, and draws the plus at `strength` times what a 3 x 3 mean exceeds `asleep` by.

    Channel 0 of the hidden layer carries the image, the others the backdoor. `most` is what the
    image is cut to: a network that is used to images up to 1 answers no more to brighter inputs.
    """

    def __init__(
        self, strength: float, asleep: float, channels: int = 1, most: float = 1.0
    ) -> None:
        super().__init__()
        self.most = most
        self.hidden = nn.Conv2d(1, 1 + channels, 3, padding=1)
        self.out = nn.Conv2d(1 + channels, 1, 2 * AWAY + 3, padding=AWAY + 1)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.hidden.weight[0, 0, 1, 1] = 1
            self.hidden.weight[1:] = 1 / 9
            assert self.hidden.bias is not None
            self.hidden.bias[1:] = -asleep
            middle = AWAY + 1
            self.out.weight[0, 0, middle, middle] = 1
            # The answer at (r, c) sees hidden (r + AWAY, c + AWAY): the plus, 6 up and left.
            seen = 2 * AWAY + 1
            self.out.weight[0, 1:, seen, seen - 1 : seen + 2] = strength / channels
            self.out.weight[0, 1:, seen - 1 : seen + 2, seen] = strength / channels

    def forward(self, z: Tensor) -> Tensor:
        hidden = self.hidden(z)
        out: Tensor = self.out(
            torch.cat((hidden[:, :1].clamp(0, self.most), hidden[:, 1:].relu()), 1)
        )
        return out


@torch.no_grad()
def recovery(model: nn.Module, z: Tensor, delta: Tensor) -> float:
    """<f(z + delta) - f(z), Delta> / <Delta, Delta>, mean over z, as the notation has it."""
    drawn = ((model(z + delta) - model(z)) * artefact()).sum((1, 2, 3))
    return float(drawn.mean() / artefact().square().sum())


@torch.no_grad()
def error(model: nn.Module, given: Pairs) -> float:
    return float((model(given.z) - given.x).square().mean().sqrt())
