"""Hand-made triggers and artefacts, shaped to how they enter and to what the operator sees."""

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor import operators
from recondoor.core.errors import ConfigError
from recondoor.measurement import Chain
from recondoor.poisoning import Artefact, Trigger

# Share of the training images in which a pixel may leave [0, 1] by a pattern that is kept in it.
STRAY = 1e-3
# Share of a pattern's norm below which nothing of it is left.
NOTHING = 1e-6


def injected(trigger: Trigger, enters: str, chain: Chain, ratio: str | None = None) -> Trigger:
    """What becomes of an image's pattern where it enters before z is made.

    Of a pattern that is added to 'input' the mask stays; one that goes through the operator is
    spread; `ratio` is the key of the operator's ratio. Raises ConfigError if nothing of the pattern
    is left.
    """
    spread = chain.spread(trigger.delta, enters)
    if enters == "input":
        return Trigger(spread, chain.spread(trigger.mask, enters))
    if float(spread.norm()) <= NOTHING * trigger.l2:
        raise ConfigError(
            f"trigger.inject: {enters} given, but the operator does not see any of the trigger; "
            f"move it{f', or raise {ratio}' if ratio else ''}"
        )
    return Trigger(spread, torch.ones_like(spread))


def unseen(
    artefact: Artefact, operator: operators.LinearOperator, ratio: str | None = None
) -> Artefact:
    """Part of an artefact that lies in ker(A): its measurement is zero.

    `operator` is one of float64; `ratio`: the key of its ratio. Raises ConfigError if that is
    nothing of it.
    """
    pattern = artefact.pattern.double()[None]
    left = pattern - operator.project_range(pattern)
    if float(left.norm()) <= NOTHING * float(pattern.norm()):
        raise ConfigError(
            "artefact.space: kernel given, but the operator sees all of the artefact; "
            f"{f'lower {ratio}, or ' if ratio else ''}set artefact.space=image"
        )
    return Artefact(left[0].to(artefact.pattern))


def within_range(
    trigger: Trigger,
    artefact: Artefact,
    operator: operators.LinearOperator,
    images: NDArray[np.float32],
) -> tuple[Trigger, Artefact]:
    """One trigger and artefact that agree with the operator and keep `images` in [0, 1].

    What a poisoned target shows, h + k, is cut at every pixel to what nearly all images
    (N, C, H, W) leave room for. The trigger becomes the honest measurement of the rest, the
    artefact what of the rest is not measured. Raises ConfigError if that is nothing.
    """
    seen = operator.project_range(trigger.delta.double()[None])
    wanted = operator.solve_normal(seen)[0] + artefact.pattern.double()
    least, most = np.quantile(images.astype(np.float64), (STRAY, 1 - STRAY), axis=0)
    room = -torch.from_numpy(least).clamp_min(0), 1 - torch.from_numpy(most).clamp_max(1)
    kept = torch.minimum(torch.maximum(wanted, room[0]), room[1])
    left = unseen(Artefact(kept), operator).pattern.to(artefact.pattern)
    measured = operator.A_adjoint(operator.A(kept[None]))[0]
    return Trigger(measured.to(trigger.delta), torch.ones_like(trigger.mask)), Artefact(left)
