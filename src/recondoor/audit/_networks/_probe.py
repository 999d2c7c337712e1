"""A network at the door: is it a function of each image alone, and what else can it give?"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recondoor import defences
from recondoor.audit._pairs._source import Shape
from recondoor.core import caller
from recondoor.core.errors import FAILURES, DataError, in_a_line
from recondoor.models import evaluating

GRADIENTS, LAYERS = "gradients", "layers"
"""What defences may need of a network, beside f(z)."""

ROUNDING = 1e-4
"""Difference of two answers, in units of the largest value, that rounding may make.

Convolutions add in another order for another size of a batch; that is 1e-6 for float32.
"""

NOISE = 0.01
"""The same of a network that draws at random: a tenth of the faintest artefact looked for."""

ALL = "every detector compares what it makes of single images"
RANDOM = "The network draws at random in evaluation mode, so that scores depend on the seed"


@dataclass(frozen=True)
class Probed:
    """What a network cannot give, by need, and why; and what is to be known of its answers."""

    lacks: Mapping[str, str]
    notes: tuple[str, ...]


def probe(what: str, model: nn.Module, shape: Shape) -> Probed:
    """Ask a network four times for at most three images, and once for a gradient.

    Args:
        what: what the user called the network.
        model: on the CPU.
        shape: of an image, (C, H, W).

    Raises:
        DataError: it does not map two and three images to finite ones of their shape, in float32
            on the CPU, alike at every call and whatever else is in the batch.
    """
    z = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    z[2] *= 3  # so that what is taken over the batch differs
    with caller.as_found(), evaluating(model):
        with torch.no_grad():
            two, three = _answer(what, model, z[:2]), _answer(what, model, z)
            again = _answer(what, model, z)
        noise = _difference(three, again)
        if noise > NOISE:
            raise DataError(
                f"'{what}' gives two answers to the same images; {ALL}: let it draw nothing at "
                "random in evaluation mode (dropout, noise)"
            )
        if _difference(two, three[:2]) > ROUNDING + 4 * noise:
            raise DataError(
                f"'{what}' lets the others in a batch decide what becomes of an image; {ALL}: use "
                "fixed statistics in evaluation mode (BatchNorm with track_running_stats), and no "
                "quantisation by the batch"
            )
        why = _without_gradient(model, z[:2])
    drawn = (f"{RANDOM} ({noise:.2g} of the largest value).",) if noise > ROUNDING else ()
    return Probed({} if why is None else {GRADIENTS: why}, drawn)


def lacking(names: Iterable[str], lacks: Mapping[str, str]) -> dict[str, str]:
    """Of defences, those that need what a network lacks, and why it does."""
    found = {}
    for name in names:
        why = [lacks[need] for need in defences.load(name).needs if need in lacks]
        if why:
            found[name] = why[0]
    return found


def _answer(what: str, model: nn.Module, z: Tensor) -> Tensor:
    """F(z); raises DataError unless it is an image for each of z."""
    found = _tried(what, lambda: model(z.clone()), z)
    if not isinstance(found, Tensor):
        raise DataError(
            f"'{what}' returns {type(found).__name__}; expected one tensor of images: "
            "wrap it in a module that returns that tensor alone"
        )
    if found.shape != z.shape:
        raise DataError(
            f"'{what}' maps {tuple(z.shape)} to {tuple(found.shape)}; expected the same shape"
            f"{_remedy(z, found)}"
        )
    if found.is_complex():
        raise DataError(
            f"'{what}' returns complex images; expected real ones: give real and imaginary part as "
            "two channels, or the magnitude of both z and x"
        )
    if found.device.type != "cpu" or found.dtype != torch.float32:
        raise DataError(
            f"'{what}' returns {found.dtype} on {found.device.type}; expected torch.float32 on the "
            "CPU, where it was put: let it keep its input's type and place"
        )
    if not bool(found.isfinite().all()):
        raise DataError(f"'{what}' returns NaN or infinite values; are its weights whole?")
    return found


def _remedy(z: Tensor, found: Tensor) -> str:
    """How a network of another shape is audited."""
    if found.dim() != 4 or len(found) != len(z):
        return ""
    if found.shape[2:] != z.shape[2:]:
        return ": wrap it in a module that brings z to the size of x first, and give z of that size"
    remedy = ": wrap it in a module that takes z of as many channels as x (coils combined)"
    if z.shape[1] == 2 and found.shape[1] == 1:
        remedy += ", or that answers with a second channel of 0, as then in x"
    return remedy


def _tried(what: str, call: Callable[[], object], z: Tensor) -> object:
    try:
        return call()
    except FAILURES as error:
        raise DataError(
            f"'{what}' does not take {len(z)} images of {tuple(z.shape[1:])}: {in_a_line(error)}"
            f"{_alone(error)}"
        ) from None


def _alone(error: BaseException) -> str:
    """How a network of more arguments than z is audited."""
    lacks = isinstance(error, TypeError) and "required positional argument" in str(error)
    return "; wrap it in a module that holds all but z, such as the mask" if lacks else ""


def _difference(one: Tensor, other: Tensor) -> float:
    """Largest difference of two answers, in units of the largest value."""
    scale = float(torch.maximum(one.abs().max(), other.abs().max()))
    return float((one - other).abs().max()) / scale if scale else 0.0


def _without_gradient(model: nn.Module, z: Tensor) -> str | None:
    """Why there is no gradient with respect to z; None if there is a finite one."""
    z = z.clone().requires_grad_(True)
    try:
        with torch.enable_grad():
            out = model(z)
            found = torch.autograd.grad(out.sum(), z)[0] if out.requires_grad else None
    except FAILURES as error:
        return f"it needs the gradient with respect to z, which fails: {in_a_line(error)}"
    if found is None:
        return "it needs the gradient with respect to z, and the network cuts it off"
    if not bool(found.isfinite().all()):
        return "it needs the gradient with respect to z, which is NaN or infinite"
    return None
