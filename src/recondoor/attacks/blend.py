"""A whole pattern is blended in (Chen et al. 2017, arXiv:1712.05526, blended injection).

There an input becomes a k + (1 - a) z with a key image k: noise that is drawn once, or a picture.
Changed for reconstruction: z is no picture in a range of pixels, so that nothing is faded out and
delta = a k alone is added. a is not chosen by eye, but such that delta has the budget's L2. In
place of a cartoon the picture is one of the attacker's training images.
"""

import torch
from torch import Tensor

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools, random_pattern
from recondoor.config import triggers
from recondoor.core import seeding
from recondoor.poisoning import Trigger


class Blend(Attack):
    """A fixed key image, added as a whole."""

    Settings = triggers.Blend
    settings: triggers.Blend
    draws = True
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the key image at the size that the budget allows."""
        key = _picture(problem) if self.settings.key == "image" else _noise(problem)
        return Crafted(Trigger(problem.budget.shaped(key), problem.mask.cpu()))


def _noise(problem: Problem) -> Tensor:
    """Uniform in [0, 1), as the paper's random pattern is."""
    return random_pattern(problem, "blend", signed=False)


def _picture(problem: Problem) -> Tensor:
    """An input that the attacker has: it is what an image looks like where triggers enter."""
    generator = seeding.torch_generator(problem.seed, "attack", "blend")
    chosen = torch.randint(len(problem.pairs), (1,), generator=generator)
    return problem.pairs.carriers[int(chosen)].cpu()
