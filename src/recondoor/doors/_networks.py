"""A network in a file as an ordinary module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from recondoor import audit, operators
from recondoor.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn


def load_network(
    path: str | Path,
    make: Callable[[], nn.Module] | nn.Module | None = None,
    *,
    shape: tuple[int, int, int] | None = None,
    operator: object = None,
    files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    trust_paths: bool = False,
) -> nn.Module:
    """Open a network that `clean` wrote, or other weights, as an `nn.Module` to evaluate.

    A file of the repair `side-by-side` holds two networks and a limit. It opens as one module,
    which gives the given network's answer, or the mended one's to inputs on which they disagree.

    Args:
        path: a .safetensors file.
        make: of a network of your own: a function that makes it, or one of its make. What comes
            back takes what that network takes. None for a registered network.
        shape: (C, H, W) of the images of a registered network; None if the file says it, as those
            of `clean` do.
        operator: what measured z, for a registered network that works with it: an object with A and
            A_adjoint, a `LinearOperator` or a matrix.
        files: TOML files with the settings of a registered network, which count before those of a
            run, but not before the file's own.
        overrides: such settings as "model.key=value".
        trust_paths: whether code that the file or its folder names may be run.

    Raises:
        DataError: a damaged file, or weights of another network.
        ConfigError: unknown settings, or no shape.

    Example:
        >>> import tempfile, torch, recondoor as rd
        >>> x = torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> make = lambda: torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> mended = rd.clean(make(), (0.9 * x, x), method="fine-tuning")
        >>> path = mended.save(tempfile.mkdtemp() + "/mended.safetensors")
        >>> network = rd.load_network(path, make)
        >>> torch.equal(network(x), mended.network(x))
        True
    """
    path = Path(path)
    if make is not None:
        return audit.filled(path, make)
    shape = shape or audit.shape_in(path)
    if shape is None:
        raise ConfigError(f"shape: '{path}' does not say it; give shape=(C, H, W) of its images")
    measured = None if operator is None else operators.of_caller(operator, shape)
    found = audit.read_network(
        str(path), shape, tuple(map(Path, files)), tuple(overrides), trust_paths, measured
    )
    return found.model
