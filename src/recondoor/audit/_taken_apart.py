"""The operator of pairs taken apart, with the noise that they show."""

from dataclasses import replace

from recondoor.audit._pairs._source import Given
from recondoor.core.errors import FAILURES, ConfigError, in_a_line
from recondoor.defences import Physics, SlicePhysics, Storage
from recondoor.operators import LinearOperator, Slices
from recondoor.poisoning import Pairs


def _masks_lack(operator: Slices, way: str, trusted: bool) -> str | None:
    """Why masks of each slice are not compared with their pairs, and what would mend it."""
    own = "slices have masks of their own"
    if operator.coils > 1:
        return f"{own}, and such pairs of several coils are not compared with the operator"
    if way != "adjoint":
        return f"{own}, and such pairs are compared with the operator where z is A_adjoint y alone"
    if trusted:
        return (
            f"{own}, and with --clean such pairs are not compared with the operator; leave it out"
        )
    return None


def _of(operator: LinearOperator, way: str, partial: bool) -> Physics:
    if isinstance(operator, Slices):
        return SlicePhysics.of_masks(operator.masks, operator.shape, operator.sigma)
    return Physics.of(operator, way, partial)


def take_apart(
    given: Given, clean: Pairs | None, notes: list[str], partial: bool = False
) -> tuple[Physics | None, str | None]:
    """The operator taken apart, or why there is none; the noise is estimated where unknown.

    `partial`: whether a part will do, where all of it is too much.
    """
    if given.operator is None:
        return None, "no operator is known; give --operator"
    if isinstance(given.operator, Slices):
        lacks = _masks_lack(given.operator, given.way, clean is not None)
        if lacks is not None:
            return None, lacks
    try:
        physics = _of(given.operator, given.way, partial)
    except ConfigError as error:
        return None, str(error)
    except FAILURES as error:
        return None, f"the operator could not be taken apart, {in_a_line(error)}"
    if physics.partial:
        notes.append(
            "The operator, or what made z of y, is not taken apart whole: z is compared with it by "
            f"{physics.rank} means over boxes of an image."
        )
    trusted = clean or given.pairs
    stored = Storage.of(given.pairs.z).coarser(Storage.of(trusted.z))
    physics = replace(physics, stored=stored)
    if stored.coarse:
        notes.append(
            "z was stored more coarsely than in 32 bits: its rounding is allowed for, and hides "
            "triggers that are smaller."
        )
    if given.noise_known:
        return physics, None
    source = (
        "the clean pairs"
        if clean is not None
        else ("the pairs' own median residual, which holds while fewer than half are poisoned")
    )
    physics = physics.estimated(trusted.z, trusted.x)
    notes.append(
        f"The noise level was not given: sigma = {physics.sigma:.3g}, estimated from {source}."
    )
    return physics, None
