"""Settings of plug-ins: each plug-in has its own, which lie in its section under its name.

The package's own are classes here, as a refused setting is to be told without importing torch. A
plug-in from outside has its class `Settings`; of it the tree holds what differs from the defaults.
"""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from recondoor.config._section import INNER, PIXELS, STEPS, Section
from recondoor.core.errors import ConfigError, nearest


class PlugInSettings(Section):
    """Settings of one plug-in: frozen, checked, with a `Field` for each."""

    def files(self) -> dict[str, Path]:
        """Files that the settings name, by key."""
        return {key: value for key, value in vars(self).items() if isinstance(value, Path)}


class Sampled(PlugInSettings):
    """Of an operator that keeps a share."""

    ratio: float = Field(0.5, gt=0, le=1, description="sampling ratio m/n")


class OfFile(PlugInSettings):
    """Of the operator `matrix`."""

    file: Path | None = Field(
        None, description="matrix: .npy with the matrix, (m, C * H * W), real or complex"
    )


class Mri(PlugInSettings):
    """Of the operator `mri`: which columns of k-space are measured."""

    place: ClassVar[str] = "operator.mri"

    acceleration: float = Field(
        4.0, ge=1, le=PIXELS, description="columns of k-space for each that is measured"
    )
    centre: float = Field(
        0.08,
        ge=0,
        le=1,
        description="share of the columns that is measured in any case, the centre",
    )
    pattern: Literal["random", "equispaced"] = Field(
        "random", description="how the measured columns outside the centre lie"
    )
    mask_per: Literal["set", "slice"] = Field(
        "set", description="'slice': each image has a mask of its own"
    )
    file: Path | None = Field(
        None, description=".npy of 0 and 1 for the W columns, zero frequency at W // 2: own mask"
    )

    @model_validator(mode="after")
    def _one_mask(self) -> Self:
        if self.file is not None and self.mask_per == "slice":
            raise ConfigError(
                f"{self.place}.file: given, which is one mask for all, but {self.place}.mask_per "
                "is 'slice'; leave one of them out"
            )
        return self


SIMULATED = ("birdcage", "estimated")


class MriMulticoil(Mri):
    """Of the operator `mri-multicoil`."""

    place: ClassVar[str] = "operator.mri_multicoil"

    coils: int = Field(8, ge=1, le=1024, description="receiver coils")
    maps: str = Field(
        "birdcage",
        description="sensitivities: 'birdcage' simulates them; 'estimated' too, but z is made with "
        "maps estimated from the measured centre; or a complex .npy (coils, H, W)",
    )

    @field_validator("maps")
    @classmethod
    def _known(cls, maps: str) -> str:
        if maps not in SIMULATED and not maps.endswith(".npy"):
            raise ValueError(
                f"expected {', '.join(SIMULATED)} or a path that ends with .npy"
                + nearest(maps, SIMULATED)
            )
        return maps

    def files(self) -> dict[str, Path]:
        return super().files() | ({} if self.maps in SIMULATED else {"maps": Path(self.maps)})


class CtParallel(PlugInSettings):
    """Of the operator `ct-parallel`."""

    views: int = Field(60, ge=1, le=INNER, description="directions, evenly over half a turn")


class Blur(PlugInSettings):
    """Of the operator `blur`."""

    width: float = Field(1.5, gt=0, le=PIXELS, description="standard deviation in pixels")


class Downsample(PlugInSettings):
    """Of the operator `downsample`."""

    factor: int = Field(2, ge=1, le=PIXELS, description="side of the boxes that are averaged")


class Cae(PlugInSettings):
    """Of the network `cae`."""

    width: int = Field(64, ge=1, le=4096, description="channels of the first two convolutions")
    code: int = Field(32, ge=1, le=4096, description="channels of the other layers")
    kernel: int = Field(5, ge=3, le=101, description="side of every kernel; odd")

    @field_validator("kernel")
    @classmethod
    def _odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("expected an odd number")
        return kernel


CHANNELS = 4096
"""Most channels of a layer."""
POOLS = 16
"""Most halvings of an image."""
UNROLLED = 1000
"""Most steps that a network is unrolled to."""


class Unet(PlugInSettings):
    """Of the network `unet`."""

    channels: int = Field(
        16, ge=1, le=CHANNELS, description="channels of the first level, doubled by each pooling"
    )
    pools: int = Field(4, ge=1, le=POOLS, description="times that height and width are halved")
    drop: float = Field(
        0.0, ge=0, lt=1, description="share of the channels that a training step leaves out"
    )


class Fbpconvnet(Unet):
    """Of the network `fbpconvnet`."""


class Modl(PlugInSettings):
    """Of the network `modl`."""

    width: int = Field(32, ge=1, le=CHANNELS, description="channels of the denoiser")
    iterations: int = Field(
        3, ge=1, le=UNROLLED, description="times that denoiser and data consistency take turns"
    )
    steps: int = Field(
        6, ge=1, le=UNROLLED, description="conjugate-gradient steps of each data consistency"
    )


class Varnet(PlugInSettings):
    """Of the network `varnet`."""

    channels: int = Field(8, ge=1, le=CHANNELS, description="as of unet, in each cascade")
    pools: int = Field(2, ge=1, le=POOLS, description="as of unet, in each cascade")
    cascades: int = Field(4, ge=1, le=UNROLLED, description="steps, each with a U-Net of its own")


class Tangent(PlugInSettings):
    """Of the attack `tangent`, also as a start of `bilevel`."""

    steps: int = Field(
        10,
        ge=1,
        le=INNER,
        description="power iterations; each costs two gradients a surrogate",
    )


class Bilevel(PlugInSettings):
    """Of the attack `bilevel` and of its control `direct`."""

    variant: Literal["warm", "paper", "ensemble"] = Field(
        "ensemble",
        description="'paper' is the literal recipe, 'warm' starts from a surrogate that "
        "was trained, 'ensemble' averages over surrogates of different ages",
    )
    start: Literal["random", "heuristic", "tangent"] = Field(
        "tangent", description="but variant paper: the first trigger"
    )
    iterations: int = Field(50, ge=1, le=STEPS, description="outer steps at the most")
    patience: int | None = Field(
        None,
        ge=1,
        le=STEPS,
        description="stop after this many outer steps without a better objective on "
        "held-out pairs, and keep the best trigger; default: never, and keep the last",
    )
    solver: Literal[
        "unrolled", "checkpointed", "truncated", "direct", "implicit-cg", "implicit-neumann"
    ] = Field("unrolled", description="how the hypergradient is found")
    inner_steps: int = Field(2, ge=1, le=INNER, description="inner steps m")
    inner_lr: float | None = Field(
        None,
        gt=0,
        description="inner learning rate beta; default: 0.001 for adam, else 0.01, the paper's",
    )
    inner_optimiser: Literal["sgd", "momentum", "adam"] | None = Field(
        None,
        description="optimiser of the inner steps; default: sgd in the variant paper, "
        "else adam, which carries on with the moments of the surrogate's training",
    )
    truncation: int = Field(
        1,
        ge=1,
        le=INNER,
        description="solver truncated: inner steps that are differentiated",
    )
    terms: int = Field(
        10,
        ge=1,
        le=INNER,
        description="implicit solvers: conjugate-gradient steps or series terms",
    )
    damping: float = Field(1e-3, gt=0, description="implicit solvers: what is added to the Hessian")
    outer_optimiser: Literal["sgd", "adam", "normalised", "sign"] | None = Field(
        None,
        description="outer step; default: sgd in the variant paper, else normalised",
    )
    outer_lr: float = Field(10.0, gt=0, description="outer sgd: learning rate alpha")
    step: float = Field(
        0.05,
        gt=0,
        le=1,
        description="other outer steps: their length as a share of the budget",
    )
    objective: Literal["image", "artefact", "recovery"] | None = Field(
        None,
        description="outer loss: attack error over the image or over the artefact's "
        "pixels, or the squared distance of f(z + delta) - f(z) from the artefact; default: image "
        "in the variant paper, else recovery",
    )
    benign_weight: float | None = Field(
        None,
        ge=0,
        description="weight lambda of the benign error in the outer loss; default: 0 in "
        "the variant paper and for recovery, else (1 - p) / p, the share that it has in training",
    )
    direct_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the hypergradient's direct part, which asks how a frozen "
        "network answers to the trigger and not how training does; default: 1 in the variant "
        "paper, else 0",
    )
    loss_scale: Literal["pixel-mean", "row-sum", "sum"] = Field(
        "pixel-mean",
        description="squared error averaged over the batch and, within an image, averaged "
        "over pixels, summed over its rows, or summed over all its pixels",
    )
