"""Weights of a caller's own make of network: what a file claims is compared with the network."""

from pathlib import Path

from torch import nn

from recondoor import models
from recondoor.audit._networks._adapters import bare
from recondoor.audit._networks._two_in_a_file import BEGINS, Part, Shapes, joined, parts_of
from recondoor.audit._networks._weights import (
    beside,
    fill,
    header_of,
    numbers,
    opened,
    prefix_of,
    require_whole,
    shapes_of,
)
from recondoor.core.errors import DataError
from recondoor.core.words import plural

COUNTER = "num_batches_tracked"
"""Batches that a batch norm has seen; it counts in training alone."""


def read_into(path: Path, model: nn.Module) -> nn.Module:
    """A network of the caller's own make with the weights in a .safetensors file.

    Two side by side, if it holds two. `model` stays as it is. What wraps a network puts words
    such as `module.` before the names of its weights; these are left out here and in the file.

    Raises:
        DataError: a damaged file, or weights of another network.
    """
    model = bare(model)
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    with opened(path) as (tensors, where):
        found = shapes_of(path, tensors)
        own = {name: shape for name, shape in own.items() if not _spare(name, found)}
        parts = (Part("", found),) if found.keys() == own.keys() else parts_of(found)
        begins = [prefix_of(part.shapes, own) for part in parts]
        for part, begin in zip(parts, begins, strict=True):
            shapes = {name.removeprefix(begin): shape for name, shape in part.shapes.items()}
            _require_alone(path, type(model).__name__, part.shapes, own)
            _require_fit(path, type(model).__name__, shapes, own)
        if "meta_sha256" in header_of(tensors):
            require_whole(path, where)
        networks = [models.copy_of(model) for _ in parts]
        for network, part, begin in zip(networks, parts, begins, strict=True):
            fill(path, network, numbers(path, tensors, part.begin + begin, own))
        return joined(path, networks, beside(path, tensors, parts))


def _spare(name: str, found: Shapes) -> bool:
    """Whether the file leaves out what no answer needs, as old ones or copies of weights do."""
    return name.endswith(COUNTER) and not any(each.endswith(COUNTER) for each in found)


def _require_alone(path: Path, name: str, found: Shapes, own: Shapes) -> None:
    """Refuse a file in which the network's weights lie among others, or more than once.

    So it is of one that trains with a loss of weights, as Lightning's, or keeps a running mean.
    """
    first = next(iter(own), "")
    begins = sorted({each.removesuffix(first) for each in found if each.endswith(first)})
    whole = [begin for begin in begins if all(found.get(begin + k) == own[k] for k in own)]
    damaged = set(BEGINS) <= set(whole)  # a file of two networks of which the rest does not fit
    if not own or not whole or damaged or len(found) == len(own):
        return
    many = f"{len(whole)} times, under {' and '.join(map(repr, whole))}" if len(whole) > 1 else ""
    others = plural(len(found) - len(own), "other tensor")
    more = f"{others}, such as {_other(found, own, whole[0])!r}"
    alone = f"k.startswith({whole[0]!r})" if whole[0] else "k in network.state_dict()"
    raise DataError(
        f"'{path}' holds the weights of {name} {many or f'and {more}'}: write those that count "
        f"alone, as in save_file({{k: v for k, v in load_file(old).items() if {alone}}}, new), "
        "both of safetensors.torch"
    )


def _other(found: Shapes, own: Shapes, begin: str) -> str:
    return next(each for each in found if each.removeprefix(begin) not in own)


def _require_fit(path: Path, name: str, found: Shapes, own: Shapes) -> None:
    wrong = next((key for key in {**own, **found} if found.get(key) != own.get(key)), None)
    if wrong is None:
        return
    raise DataError(
        f"'{path}' does not hold the weights of {name}: {wrong!r} is "
        f"{found.get(wrong, 'missing')} there, and {own.get(wrong, 'none of its own')} in the "
        "network: give the function that made the network whose weights they are"
    )
