"""A smooth warp of the image (WaNet, Nguyen and Tran, ICLR 2021).

There a control grid of k x k random displacements, divided by their mean magnitude, is scaled by a
strength s, made as large as the image by bicubic interpolation, added to the identity and clipped
to the image; inputs are sampled there. Changed for reconstruction: the image is warped before it
is measured, so that z becomes A_adjoint (A warp(x) + v), and what the trigger adds to z is
A_adjoint A (warp(x) - x), another pattern for each input. s is not chosen by eye, but by bisection
such that the mean L2 of what is added has the budget's size. No noise mode: nothing is trained
against other warps.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from recondoor.attacks._base import Attack
from recondoor.attacks._each import mean_l2, tried, trigger_of
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.config import triggers
from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Law, Pairs

HALVINGS = 30
FARTHEST = 0.5
"""Largest mean displacement, as a share of the larger side."""


class Warp(Attack):
    """The same displacements in every image."""

    Settings = triggers.Warp
    settings: triggers.Warp
    draws = True
    trains = False
    budgets = ("l2", "free")
    differs = True

    def require(self, problem: Problem) -> None:
        """Images have to be known, and to be measured anew."""
        if problem.remeasured is None or not problem.measured:
            raise ConfigError(
                "attack.names: warp given, which changes the image before it is measured; set "
                "trigger.inject=x, attack.mask=image and attack.distance=0, one operator for all "
                "images, and no input.crop or input.clamp"
            )

    def law_shapes(self, problem: Problem) -> dict[str, tuple[int, ...]]:
        """The displacements in pixels: of rows, then of columns."""
        return {"field": (2, *problem.pairs.x.shape[-2:])}

    def law(self, arrays: Mapping[str, Tensor], mask: Tensor, problem: Problem) -> Law:
        """What warped images add to what is made of their measurements."""
        field = arrays["field"]

        def added(pairs: Pairs) -> Tensor:
            assert problem.remeasured is not None
            images = pairs.images
            return problem.remeasured(warped(images, field) - images) * mask.to(images)

        return added

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the strongest warp whose mean L2 is within the budget; says so if it is less."""
        height, width = problem.pairs.x.shape[-2:]
        unit = smooth(self.settings.grid, (height, width), problem.seed)
        pairs, mask, radius = tried(problem), problem.mask.cpu(), problem.budget.radius

        def size(strength: float) -> float:
            return mean_l2(self.law({"field": strength * unit}, mask, problem)(pairs))

        low, high = 0.0, FARTHEST * max(height, width)
        if size(high) <= radius:
            low = high
            tools.say(f"warp: L2 {size(low):.3g} of {radius:.3g}, as no warp changes more")
        for _ in range(HALVINGS if low < high else 0):
            middle = (low + high) / 2
            low, high = (middle, high) if size(middle) <= radius else (low, middle)
        arrays = {"field": low * unit}
        law = self.law(arrays, mask, problem)
        return Crafted(trigger_of(law, problem), arrays=arrays)


def smooth(grid: int, shape: tuple[int, int], seed: int) -> Tensor:
    """Displacements (2, H, W) of mean magnitude about 1, drawn on grid x grid control points."""
    generator = seeding.torch_generator(seed, "attack", "warp")
    drawn = 2 * torch.rand((1, 2, grid, grid), generator=generator, dtype=torch.float64) - 1
    drawn = drawn / drawn.abs().mean()
    made = F.interpolate(drawn, size=shape, mode="bicubic", align_corners=True)
    return made[0].float()


def warped(images: Tensor, field: Tensor) -> Tensor:
    """Images (N, C, H, W), sampled `field` (2, H, W) pixels away; beyond the border its values."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device, dtype=images.dtype)
    columns = torch.arange(width, device=images.device, dtype=images.dtype)
    at = torch.stack(torch.meshgrid(rows, columns, indexing="ij")) + field.to(images)
    scaled = [2 * at[k] / max(side - 1, 1) - 1 for k, side in ((1, width), (0, height))]
    places = torch.stack(scaled, -1).clamp(-1, 1).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, places, mode="bilinear", align_corners=True)
