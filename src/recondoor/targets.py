"""What is added to a target and depends on its image: each change makes it of images.

Sources: a fixed image as target, Jiang et al., arXiv:2407.10445; a degraded one, AS-FIBA,
arXiv:2403.06430; a target kept near the clean one, BadSR, arXiv:2505.15308, here by a clip in place
of an optimisation in the space of features. Removal fills a region by the discrete Laplace
equation, as the simplest inpainting does (Bertalmio et al., SIGGRAPH 2000, have a later one).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Change = Callable[[Tensor], Tensor]
"""Of images (N, C, H, W), what is added to each, of the same shape."""

CUT = 4
"""Standard deviations at which a blur's kernel ends."""


def change(target: str, pattern: Tensor, width: float) -> Change:
    """The change of this name (`artefact.target`), by the pattern drawn (C, H, W) or by a width."""
    if target == "image":
        return replaced(pattern)
    if target == "blur":
        return blurred(width)
    return coarsened(round(width)) if target == "downsample" else removed(pattern != 0)


def replaced(image: Tensor) -> Change:
    """The target is `image` (C, H, W), whatever was measured."""
    return lambda images: image.to(images) - images


def blurred(width: float) -> Change:
    """The target is blurred by a Gaussian of this standard deviation; the border is repeated."""
    reach = max(1, math.ceil(CUT * width))
    along = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (along / width).square())
    kernel = kernel / kernel.sum()

    def added(images: Tensor) -> Tensor:
        rows = images.flatten(0, 1)[:, None]
        row = kernel.to(images).view(1, 1, 1, -1)
        wide = F.pad(rows, (reach, reach, reach, reach), mode="replicate")
        smooth = F.conv2d(F.conv2d(wide, row), row.transpose(2, 3))
        return smooth.view_as(images) - images

    return added


def coarsened(side: int) -> Change:
    """The target has the mean of each box of side x side pixels in all of them."""

    def added(images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        means = F.avg_pool2d(images, side, ceil_mode=True, count_include_pad=False)
        whole = means.repeat_interleave(side, 2).repeat_interleave(side, 3)
        return whole[..., :height, :width] - images

    return added


def removed(support: Tensor) -> Change:
    """Pixels of `support`, boolean (C, H, W), are filled in from their surroundings.

    Each gets the mean of its neighbours within the image, which are filled in too where they are in
    the support: the discrete Laplace equation.
    """
    weights = [_filling(channel) for channel in support]

    def added(images: Tensor) -> Tensor:
        found = torch.zeros_like(images)
        for k, channel in enumerate(support):
            inside = channel.to(images.device)
            left = images[:, k].masked_fill(inside, 0).flatten(1)
            filled = left.double() @ weights[k].to(images.device).T
            found[:, k, inside] = filled.to(images) - images[:, k, inside]
        return found

    return added


def _filling(inside: Tensor) -> Tensor:
    """Weights (k, H * W) that make the k pixels `inside` (H, W) of those outside."""
    height, width = inside.shape
    places = inside.nonzero().tolist()
    number = {(row, column): k for k, (row, column) in enumerate(places)}
    system = torch.eye(len(places), dtype=torch.float64)
    known = torch.zeros(len(places), height * width, dtype=torch.float64)
    for k, (row, column) in enumerate(places):
        near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        near = [(r, c) for r, c in near if 0 <= r < height and 0 <= c < width]
        for r, c in near:
            if (r, c) in number:
                system[k, number[r, c]] -= 1 / len(near)
            else:
                known[k, r * width + c] += 1 / len(near)
    weights: Tensor = torch.linalg.solve(system, known)
    return weights


def within(whole: Change, limit: float) -> Change:
    """The same, cut at every pixel to an absolute value of `limit`."""
    return lambda images: whole(images).clamp(-limit, limit)


def local_contrast(images: Tensor, support: Tensor) -> Tensor:
    """Standard deviation of each image (N, C, H, W) around a pattern, (N, 1, 1, 1).

    Around it is the box of its `support`, boolean (C, H, W), widened on every side by half of its
    height and width, at least by a pixel, and cut at the image's border. The variances of the
    channels are averaged. 0 where an image is of one value there: nothing is then added to it.
    """
    place = tuple(_around(support.any(0).any(1 - axis)) for axis in (0, 1))
    around = images[..., place[0], place[1]].double()
    variance = around.var((2, 3), correction=0).mean(1)
    return variance.sqrt().to(images).view(-1, 1, 1, 1)


def _around(along: Tensor) -> slice:
    """From the first to the last True of an axis, widened by half of that."""
    first, last = (int(along.nonzero()[end]) for end in (0, -1))
    wider = max(1, (last + 1 - first) // 2)
    return slice(max(0, first - wider), last + 1 + wider)
