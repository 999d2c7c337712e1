"""How images are measured, and what is made of the measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor import operators
from recondoor.core.errors import ConfigError
from recondoor.io import arrays
from recondoor.measurement._pairs import Pairs, Preparation, Scale, Source
from recondoor.operators import CHUNK_PIXELS, LinearOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from recondoor.config import Config, Input

Shape = tuple[int, int, int]


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

    def remeasured(self, images: Tensor) -> Tensor:
        """B A of images (N, C, H, W), or of what is added to u, without noise: (N, K, H, W).

        On the device of the images. Raises ConfigError where the operator is another for each.
        """
        self.require_one_operator("trigger.inject", "x")
        whole = self._padded(images.cpu()) if images.shape[1] == 1 else images.cpu()
        return self._seen(self.operator, self.operator.A(whole)).to(images)

    @property
    def keeps_images(self) -> bool:
        """Whether `Pairs.images` are the images that were measured."""
        how = self.preparation
        if how is None:
            return True
        real = not how.magnitude or self.image_shape[0] == 1
        return real and how.crop is None and how.clamp is None

    def from_measurement(self, added: Tensor) -> Tensor:
        """What becomes in u (K, H, W) of something that is added to a measurement.

        Args:
            added: of the shape and type of one measurement, without its batch.

        Raises ConfigError where the operator is another for each image.
        """
        self.require_one_operator("trigger.inject", "y")
        return self._seen(self.exact, added[None])[0]

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
