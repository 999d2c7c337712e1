"""What every measurement operator is: A, its adjoint, noise, and the network input made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from recondoor.core.equations import conjugate_gradients
from recondoor.core.errors import ConfigError, DataError, nearest
from recondoor.core.registry import PlugIn
from recondoor.operators._basis import Basis

if TYPE_CHECKING:
    from recondoor import config

CHUNK_PIXELS = 1 << 20
"""Pixels (all channels) measured at a time; fixed, as the noise stream depends on it."""

RANGE_TOLERANCE = 1e-10
"""Residual, relative to the first, at which a projection on the range is done."""

MOST_STEPS = 2000
"""Products with A_adjoint A that a solution may take; what is left by then is all but lost by A."""


@dataclass(frozen=True, eq=False)
class LinearOperator(ABC):
    """Linear measurement operator y = A x + v for images of one shape; names are deepinv's.

    Immutable: a call changes no state, and `to` returns another operator. Both maps are
    differentiable any number of times. A subclass is a frozen dataclass whose tensors are fields.

    Args:
        shape: (C, H, W) of one image.
        sigma: standard deviation of the Gaussian noise v, in units of y; for complex y that of the
            real and of the imaginary part, independently.

    Raises:
        ConfigError: sigma is negative or not finite.
    """

    input_maps: ClassVar[tuple[str, ...]] = ("adjoint", "pinv")
    """Maps from y to an image that it can be given to a network as."""

    shape: tuple[int, int, int]
    sigma: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise ConfigError(f"operator.sigma: {self.sigma} given; it must be finite and >= 0")

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """Noiseless measurement: real (B, C, H, W) -> y, real or complex, (B, C, ...)."""

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        """Exact adjoint for real images: y (B, C, ...) -> real (B, C, H, W).

        Re <A x, y> = <x, A_adjoint y> for every real x.
        """

    @property
    def varies(self) -> bool:
        """Whether each image is measured, or made a network's input of, in its own way."""
        return False

    def per_sample(self, n: int, generator: torch.Generator) -> Self:
        """The operator of n images, drawn for each of them where it `varies`; else the same."""
        return self

    def rows(self, index: Tensor | slice) -> Self:
        """Of the operator of n images that of those at `index`; where nothing varies the same."""
        return self

    def measured_of(self, whole: Tensor) -> Tensor | None:
        """Measurements among fully sampled values (B, ...), as `A` gives them; None if not there.

        Files often hold those, with zeros where nothing was measured.
        """
        return None

    def or_whole(self) -> str:
        """What else `measured_of` takes, for a message that says what `A` gives."""
        return ""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Noisy measurement y = A(x) + v of images (B, C, H, W).

        The noise is drawn on the generator's own device, so that a CPU generator gives the same
        noise wherever the images are. Without a generator torch's global one is used, as in
        deepinv; the studies always pass one.

        Raises:
            DataError: the images are not of the operator's shape.
        """
        self._check(x)
        y = self.A(x)
        return y if self.sigma == 0 else y + self.sigma * _noise_like(y, generator)

    @torch.no_grad()
    def measure(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Network input z = A_adjoint(forward(x)) of any number of images, shape of x.

        The adjoint is the one that the receiver has (`network_input`).

        Works through the images in chunks of fixed size: memory beyond z itself stays at some tens
        of MB, and the same images and generator give the same z. No gradients are recorded.

        Raises:
            DataError: the images are not of the operator's shape.
        """
        self._check(x)
        z = torch.empty_like(x, memory_format=torch.contiguous_format)
        chunk = max(1, CHUNK_PIXELS // math.prod(self.shape))
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            those = self.rows(part)
            z[part] = those.network_input(those.forward(x[part], generator), "adjoint")
        return z

    def network_input(self, y: Tensor, name: str) -> Tensor:
        """The image (B, C, H, W) that a network is given of y, by one of `input_maps`.

        Args:
            y: measurements, as `A` gives them.
            name: 'adjoint', A_adjoint(y); 'pinv', the image of least norm among those whose
                measurement is nearest to y; others are an operator's own.

        Raises:
            ConfigError: the operator has no such map, or it is not linear.
        """
        if name == "adjoint":
            return self.A_adjoint(y)
        if name == "pinv":
            return self.pinv(y)
        raise ConfigError(
            f"input map '{name}' given; this operator has {', '.join(self.input_maps)}"
            + nearest(name, self.input_maps)
        )

    def coil_images(self, y: Tensor) -> Tensor:
        """Images (B, 2 * coils, H, W) that each coil alone gives; ConfigError where none are."""
        raise ConfigError("input.map: rss given, but this operator has no coils")

    @torch.no_grad()
    def pinv(self, y: Tensor) -> Tensor:
        """Least-squares image of least norm, (B, C, H, W), in the precision of y.

        Computed in 64 bits, as 32 do not hold what is divided by small singular values.
        """
        exact = self.exact()
        wide = torch.complex128 if y.is_complex() else torch.float64
        return exact.solve_normal(exact.A_adjoint(y.to(wide))).to(y.real.dtype)

    @torch.no_grad()
    def project_range(self, v: Tensor) -> Tensor:
        """Images nearest to v (B, C, H, W) that A_adjoint can give: v's projection on its range.

        Use an operator of float64: float32 reaches about 1e-5.
        """
        self._check(v)
        return self.solve_normal(self.A_adjoint(self.A(v)))

    @torch.no_grad()
    def solve_normal(self, b: Tensor) -> Tensor:
        """Images w (B, C, H, W) of least norm with A_adjoint A w = b, where b is in that range.

        Conjugate gradients from w = 0, which stay in the range. In exact arithmetic they need as
        many steps as A_adjoint A has different eigenvalues; directions that A all but loses
        converge last, and after `MOST_STEPS` not at all. What of b is outside the range, even by
        rounding to float32, makes them diverge: `project_range` takes it away.
        """
        self._check(b)
        return conjugate_gradients(
            lambda w: self.A_adjoint(self.A(w)),
            b,
            steps=min(2 * b[0].numel(), MOST_STEPS),
            tolerance=RANGE_TOLERANCE,
            dot=_dot,
        )

    def directions(self) -> tuple[Tensor, Basis] | None:
        """Singular values (rank,) of A, of 64 bits, and their directions in images.

        None unless both are known in closed form, so that large images have them too. Directions
        that A loses may be left out.
        """
        return None

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None = None) -> Self:
        """The same operator with its tensors on `device`; None: where they are.

        `dtype`: real type that its numbers get, complex ones that of the same precision; indices
        stay what they are. None leaves all types.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {
            key: value.to(device, _kind(value, dtype))
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def exact(self) -> Self:
        """The same operator with its tensors in 64 bits."""
        return self.to(None, torch.float64)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise DataError(
                f"images of shape {tuple(x.shape)} given; this operator measures (B, C, H, W) = "
                f"(any, {', '.join(map(str, self.shape))}): build it for the images' shape"
            )


class Operator(PlugIn, ABC):
    """A kind of measurement that can be chosen by name.

    Facts: whether `build` draws at random, and whether its settings have a sampling ratio, `ratio`.
    """

    kind: ClassVar[str] = "operators"
    facts: ClassVar[tuple[str, ...]] = ("draws", "has_ratio")
    draws: ClassVar[bool]
    has_ratio: ClassVar[bool]
    mixes_channels: ClassVar[bool] = False
    """Whether the channels of y are made of all of the image's, and may be more or fewer."""
    channels: ClassVar[tuple[int, ...] | None] = None
    """Numbers of channels of the images that it measures; None: any."""

    @abstractmethod
    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """The operator for images of `shape` (C, H, W), on the CPU.

        Args:
            shape: of one image.
            settings: the section; `sigma` is the noise. The operator's own are `self.settings`.
            generator: CPU generator of whatever is drawn. Draw in float64 and round, so that
                `dtype` changes the precision of the operator and not the operator.
            dtype: real type of the images; a complex y has the complex type of that precision.

        Raises:
            ConfigError: settings that no operator can be built of.
        """


def _kind(value: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The type of `value` at the precision of the real type `dtype`."""
    if dtype is None or not (value.is_complex() or value.is_floating_point()):
        return value.dtype
    return dtype.to_complex() if value.is_complex() else dtype


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image with its own, (B, 1, 1, 1)."""
    return (a * b).sum((1, 2, 3), keepdim=True)


def _noise_like(y: Tensor, generator: torch.Generator | None) -> Tensor:
    device = y.device if generator is None else generator.device
    parts = (2,) if y.is_complex() else ()
    dtype = y.real.dtype
    noise = torch.randn((*y.shape, *parts), generator=generator, dtype=dtype, device=device)
    return (torch.view_as_complex(noise) if parts else noise).to(y.device)


def share(ratio: float, total: int, unit: str, key: str = "ratio") -> int:
    """Return round(ratio * total), the number of `unit` kept of `total`; `key` is the setting's.

    Raises:
        ConfigError: ratio is outside (0, 1], or so small that nothing would be kept.
    """
    if not 0 < ratio <= 1:
        raise ConfigError(f"{key}: {ratio} given; it must be above 0 and at most 1")
    count = round(ratio * total)
    if count == 0:
        raise ConfigError(
            f"{key}: {ratio} of {total} {unit} keeps none; "
            f"it must be at least {1 / total:.2g} for these images"
        )
    return count
