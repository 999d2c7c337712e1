"""From an image to a network's input: y = A x + noise, an image B y, and what is made of that.

x -> A -> y (+ noise) -> input map B -> u -> magnitude, crop, normalise -> z

Everything up to u is linear, so that a trigger that enters at x or y is a pattern that is added to
u. The rest, a `Preparation`, is not; the paper's chain has none, and z is u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from recondoor import arrays, operators
from recondoor.errors import ConfigError
from recondoor.operators import LinearOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from recondoor.config import Config, Input

Shape = tuple[int, int, int]

NOTHING = 1e-6
"""Share of a pattern's norm below which nothing of it is left."""

FLAT = 1e-11
"""Added to a standard deviation that is divided by, as fastMRI does."""

SHIFTED = 256
"""Inputs over which the mean change by a trigger is taken."""

CHUNK_PIXELS = 1 << 20
"""Pixels (all channels) measured at a time; fixed, as the noise stream depends on it."""


@dataclass(frozen=True)
class Scale:
    """An input's own numbers: z = (u - offset) / factor; both (N, 1, 1, 1)."""

    offset: Tensor
    factor: Tensor

    def at(self, index: Tensor) -> Scale:
        """Of the inputs `index`."""
        return Scale(self.offset.index_select(0, index), self.factor.index_select(0, index))


@dataclass(frozen=True)
class Preparation:
    """What is done to u (N, K, H, W) before a network sees it, and to its target likewise.

    Args:
        magnitude: root sum of squares over the K channels, which leaves one.
        normalise: by the input's own numbers: 'max' divides by its largest absolute value;
            'mean-std' takes its mean away and divides by its standard deviation. The target is
            treated with the input's numbers, as in fastMRI.
        clamp: largest absolute value of input and target after that.
        crop: side of the square in the middle that is kept.
    """

    magnitude: bool = False
    normalise: Literal["none", "max", "mean-std"] = "none"
    clamp: float | None = None
    crop: int | None = None

    def images(self, x: Tensor) -> Tensor:
        """What of images (N, C, H, W) a target shows, in their own units."""
        return self._cropped(self._magnitude(x))

    def inputs(self, u: Tensor) -> tuple[Tensor, Scale]:
        """Network inputs z (N, C, h, w), differentiable in u, and their numbers."""
        u = self._cropped(self._magnitude(u))
        scale = self._scale(u)
        return self._clamped((u - scale.offset) / scale.factor), scale

    def targets(self, images: Tensor, scale: Scale) -> Tensor:
        """Targets of inputs with these numbers; `images` as the method of that name gives them."""
        return self._clamped((images - scale.offset) / scale.factor)

    def restored(self, x_hat: Tensor, scale: Scale) -> Tensor:
        """A network's answers in the units of the images."""
        return x_hat * scale.factor + scale.offset

    def _scale(self, u: Tensor) -> Scale:
        nothing = torch.zeros_like(u[:, :1, :1, :1])
        if self.normalise == "mean-std":
            spread = u.std((1, 2, 3), keepdim=True, correction=0)
            return Scale(u.mean((1, 2, 3), keepdim=True), spread + FLAT)
        if self.normalise == "max":
            most = u.abs().amax((1, 2, 3), keepdim=True)
            return Scale(nothing, torch.where(most > 0, most, 1))
        return Scale(nothing, torch.ones_like(nothing))

    def _magnitude(self, u: Tensor) -> Tensor:
        return torch.linalg.vector_norm(u, dim=1, keepdim=True) if self.magnitude else u

    def _cropped(self, u: Tensor) -> Tensor:
        if self.crop is None:
            return u
        top, left = ((side - self.crop) // 2 for side in u.shape[-2:])
        return u[..., top : top + self.crop, left : left + self.crop]

    def _clamped(self, z: Tensor) -> Tensor:
        return z if self.clamp is None else z.clamp(-self.clamp, self.clamp)


@dataclass(frozen=True)
class Source:
    """Of what prepared inputs were made: u (N, K, H, W), how, and each one's numbers.

    enters: whether a trigger is added to u, and not to z.
    """

    u: Tensor
    how: Preparation
    scale: Scale
    enters: bool

    def at(self, index: Tensor) -> Source:
        """Of the inputs `index`."""
        return replace(self, u=self.u.index_select(0, index), scale=self.scale.at(index))


@dataclass(frozen=True)
class Pairs:
    """Clean pairs in memory: network inputs `z` and targets `x`, both (N, C, H, W).

    source: of what z was made, where that is more than a linear map.
    """

    z: Tensor
    x: Tensor
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on a device."""
        source = self.source
        if source is not None:
            scale = Scale(source.scale.offset.to(device), source.scale.factor.to(device))
            source = replace(source, u=source.u.to(device), scale=scale)
        return Pairs(self.z.to(device), self.x.to(device), source)

    def at(self, index: Tensor) -> Pairs:
        """The pairs `index` (B,)."""
        source = None if self.source is None else self.source.at(index)
        return Pairs(self.z.index_select(0, index), self.x.index_select(0, index), source)

    @property
    def images(self) -> Tensor:
        """Targets in the units of the images, (N, C, H, W)."""
        return self.restored(self.x, self.scale)

    @property
    def scale(self) -> Scale:
        """Numbers of the inputs, which are those of no change where z is u."""
        if self.source is not None:
            return self.source.scale
        nothing = torch.zeros_like(self.z[:, :1, :1, :1])
        return Scale(nothing, torch.ones_like(nothing))

    @property
    def enters(self) -> bool:
        """Whether triggers are added before z is made."""
        return self.source is not None and self.source.enters

    @property
    def carriers(self) -> Tensor:
        """What triggers are added to: z, or u where they enter there."""
        return self.source.u if self.source is not None and self.enters else self.z

    def triggered(self, delta: Tensor, share: Tensor | None = None) -> tuple[Tensor, Scale]:
        """Inputs (N, C, H, W) with the trigger, differentiable in it, and their numbers.

        Args:
            delta: trigger, of the shape of one of the `carriers`.
            share: (N, 1, 1, 1), 1 where an input gets the trigger and 0 where not; None: all do.
        """
        carriers = self.carriers + (delta if share is None else share * delta)
        if self.source is None or not self.source.enters:
            return carriers, self.scale
        return self.source.how.inputs(carriers)

    def poisoned(self, delta: Tensor, pattern: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets: trigger and artefact are in those whose `share` is 1."""
        z, scale = self.triggered(delta, share)
        return z, self.targets(share * pattern, scale)

    def targets(self, added: Tensor, scale: Scale) -> Tensor:
        """Targets of inputs of these numbers, with something added to the images."""
        if self.source is None:
            return self.x + added
        return self.source.how.targets(self.images + added, scale)

    def shift(self, delta: Tensor) -> Tensor:
        """What a trigger adds to z, (C, H, W): itself, or the mean over the first inputs."""
        if self.source is None or not self.source.enters:
            return delta
        some = self.at(torch.arange(min(len(self), SHIFTED), device=self.z.device))
        return (some.triggered(delta.to(self.z))[0] - some.z).mean(0)

    def restored(self, x_hat: Tensor, scale: Scale) -> Tensor:
        """A network's answers to inputs of these numbers, in the units of the images."""
        return x_hat if self.source is None else self.source.how.restored(x_hat, scale)


@dataclass(frozen=True, kw_only=True)
class Chain:
    """How one seed's images are measured and made into network inputs.

    Args:
        operator: A.
        exact: the same in float64, for what is solved and projected.
        map: B, one of `operator.input_maps`, or 'coils', the image of every coil.
        preparation: what is done to B y; None: nothing.
        padded: real images are measured as complex ones whose imaginary part is 0.
        photons: of Poisson noise; None: Gaussian noise of the operator's sigma.
        attenuation: with `photons`, what A x is multiplied by to be a line integral.
    """

    operator: LinearOperator
    exact: LinearOperator
    map: str = "adjoint"
    preparation: Preparation | None = None
    padded: bool = False
    photons: float | None = None
    attenuation: float = 1.0

    @property
    def is_plain(self) -> bool:
        """Whether z = A_adjoint y with one operator for all images, as in the paper."""
        return self.map == "adjoint" and self.preparation is None and not self.varies

    @property
    def keeps_consistency(self) -> bool:
        """Whether A_adjoint A x = z but for noise, up to a factor that x and z share."""
        scaled = Preparation(normalise="max")
        kept = self.preparation is None or self.preparation == scaled
        return self.map == "adjoint" and kept and not self.varies

    @property
    def image_shape(self) -> Shape:
        """(C, H, W) of an image that is measured."""
        channels, height, width = self.operator.shape
        return 1 if self.padded else channels, height, width

    @property
    def target_shape(self) -> Shape:
        """(C, H, W) of a network's input and target."""
        if self.preparation is None:
            return self.image_shape
        channels, height, width = self.preparation.images(torch.zeros(1, *self.image_shape))[
            0
        ].shape
        return channels, height, width

    def pairs(
        self,
        x: Tensor,
        noise: torch.Generator,
        sampling: Callable[[], torch.Generator],
        *,
        enters: bool,
    ) -> Pairs:
        """Measured pairs of images x (N, C, H, W).

        Args:
            x: clean images.
            noise: of the measurement noise.
            sampling: stream of what is drawn for each image anew, where the operator varies.
            enters: whether triggers are added before the preparation.
        """
        operator = self.operator.per_sample(len(x), sampling()) if self.varies else self.operator
        chunk = max(1, CHUNK_PIXELS // math.prod(operator.shape))
        kept: dict[str, Tensor] = {}
        for start in range(0, len(x), chunk):
            part = slice(start, min(start + chunk, len(x)))
            for name, made in self._made(operator.rows(part), x[part], noise).items():
                if name not in kept:
                    kept[name] = torch.from_numpy(arrays.room((len(x), *made.shape[1:])))
                kept[name][part] = made
        if self.preparation is None:
            return Pairs(kept.get("u", torch.empty_like(x)), x)
        scale = Scale(kept["offset"], kept["factor"])
        source = Source(kept["u"], self.preparation, scale, enters)
        return Pairs(kept["z"], kept["x"], source)

    @property
    def varies(self) -> bool:
        """Whether each image is measured in its own way."""
        return self.operator.varies

    @torch.no_grad()
    def _made(
        self, operator: LinearOperator, x: Tensor, noise: torch.Generator
    ) -> dict[str, Tensor]:
        """What pairs are made of, of some images."""
        u = self._seen(operator, self._measured(operator, self._padded(x), noise))
        if self.preparation is None:
            return {"u": u}
        z, scale = self.preparation.inputs(u)
        targets = self.preparation.targets(self.preparation.images(x), scale)
        return {"u": u, "z": z, "x": targets, "offset": scale.offset, "factor": scale.factor}

    def _measured(self, operator: LinearOperator, x: Tensor, noise: torch.Generator) -> Tensor:
        if self.photons is None:
            return operator.forward(x, noise)
        integrals = self.attenuation * operator.A(x)
        counts = torch.poisson(self.photons * torch.exp(-integrals), noise).clamp_min(1)
        return torch.log(self.photons / counts) / self.attenuation

    def _seen(self, operator: LinearOperator, y: Tensor) -> Tensor:
        """B y, (B, K, H, W)."""
        return (
            operator.coil_images(y) if self.map == "coils" else operator.network_input(y, self.map)
        )

    def _padded(self, x: Tensor) -> Tensor:
        return torch.cat((x, torch.zeros_like(x)), 1) if self.padded else x

    def spread(self, pattern: Tensor, enters: str) -> Tensor:
        """What becomes in u of a pattern (C, H, W), an image, that enters somewhere.

        'x': B A pattern. 'y': the measurement is changed such that A_adjoint y changes as nearly as
        possible by the pattern. 'input': it is added as it is.

        Raises ConfigError where the operator is another for each image.
        """
        whole = self._padded(pattern[None])
        if enters == "input":
            return whole[0]
        self.require_one_operator("trigger.inject", enters)
        wide, exact = whole.double(), self.exact
        if enters == "y" and self.map == "adjoint":
            found = exact.project_range(wide)
        elif enters == "y":
            found = self._seen(exact, exact.A(exact.solve_normal(exact.project_range(wide))))
        else:
            found = self._seen(exact, exact.A(wide))
        return found[0].to(pattern)

    def reachable(self, enters: str, *, learned: bool) -> Callable[[Tensor], Tensor] | None:
        """Projection on the triggers (K, H, W) that can enter so; None: all can.

        Raises ConfigError where no projection is known, and triggers are to be `learned`.
        """
        if enters in ("z", "input"):
            return None
        if self.map not in ("adjoint", "pinv"):
            if not learned:
                return None
            raise ConfigError(
                f"trigger.inject: {enters} given, and input.map={self.map}; triggers that are "
                "learned can then enter at z or input alone, or set attack.names to none,heuristic"
            )
        return partial(_project, self.exact)

    def require_one_operator(self, key: str, given: str) -> None:
        """Refuse what depends on the operator where each image has another one."""
        if self.varies:
            raise ConfigError(
                f"{key}: {given} given, which means another pattern for each image, as the "
                "operator is drawn anew for each; use one for all, or trigger.inject=z or input "
                "and artefact.space=image"
            )


def _project(operator: LinearOperator, delta: Tensor) -> Tensor:
    """Projection of a trigger (C, H, W) on range(A_adjoint), on the trigger's own device."""
    return operator.project_range(delta.double().cpu()[None])[0].to(delta)


def build(config: Config, shape: Shape, seed: int) -> Chain:
    """The chain of `config` for images of `shape` (C, H, W).

    Raises:
        ConfigError: an operator that cannot be built, or steps that do not go together.
    """
    given = config.input
    operator = operators.build(shape, config.operator, seed)
    real = shape[0] == 1 and given.map == "magnitude"
    padded = real and operator.A(torch.zeros(1, *shape)).is_complex()
    if padded:  # the phase of A_adjoint y is none of a real image
        operator = operators.build((2, *shape[1:]), config.operator, seed)
    exact = operators.build(operator.shape, config.operator, seed, torch.float64)
    name = {"magnitude": "adjoint", "rss": "coils"}.get(given.map, given.map)
    known = operator.input_maps
    if given.map == "rss" and "rss" not in known:
        raise ConfigError(f"input.map: rss given, but {config.operator.name} has no coils")
    if name not in (*known, "coils"):
        raise ConfigError(
            f"input.map: {given.map} given; {config.operator.name} has "
            f"{', '.join((*known, 'magnitude'))}"
        )
    photons = config.operator.photons if config.operator.noise == "poisson" else None
    if photons is not None and config.operator.sigma:
        raise ConfigError("operator.noise: poisson given, and a sigma; set operator.sigma=0")
    factor = 1.0 if photons is None else _attenuation(exact, config.operator.attenuation)
    return Chain(
        operator=operator,
        exact=exact,
        map=name,
        preparation=_preparation(given, shape),
        padded=padded,
        photons=photons,
        attenuation=factor,
    )


def _attenuation(exact: LinearOperator, most: float) -> float:
    """What makes `most` of the largest measurement of an image of ones."""
    whole = exact.A(torch.ones(1, *exact.shape, dtype=torch.float64))
    if whole.is_complex() or float(whole.min()) < 0:
        raise ConfigError(
            "operator.noise: poisson given, but measurements by this operator are no counts of "
            "photons; it is for ct-parallel"
        )
    return most / float(whole.max())


def _preparation(given: Input, shape: Shape) -> Preparation | None:
    magnitude = given.map in ("magnitude", "rss")
    if given.crop is not None and given.crop > min(shape[1:]):
        raise ConfigError(
            f"input.crop: {given.crop} given; images of {shape[1]}x{shape[2]} allow at most "
            f"{min(shape[1:])}"
        )
    if given.clamp is not None and given.normalise == "none":
        raise ConfigError("input.clamp: given without input.normalise, whose result it clamps")
    made = Preparation(magnitude, given.normalise, given.clamp, given.crop)
    return None if made == Preparation() else made
