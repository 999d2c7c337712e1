"""The tree of settings: sections, fields, defaults, ranges and meanings."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from recondoor.config._attack import Attack
from recondoor.config._choice import Choice
from recondoor.config._data import Data
from recondoor.config._own import (
    Blur,
    Cae,
    CtParallel,
    Downsample,
    Fbpconvnet,
    Modl,
    Mri,
    MriMulticoil,
    OfFile,
    Sampled,
    Unet,
    Varnet,
)
from recondoor.config._poison import Poison as Poison
from recondoor.config._section import BATCH, INNER, PAIRS, PIXELS, STEPS, Section
from recondoor.core import registry
from recondoor.core.errors import ConfigError, nearest


class Operator(Choice):
    """Measurement y = A x + v."""

    kind: ClassVar[str] = "operators"
    section: ClassVar[str] = "operator"

    name: str = Field("gaussian", description="registered measurement operator")
    sigma: float = Field(0.01, ge=0, description="standard deviation of the measurement noise v")
    noise: Literal["gaussian", "poisson"] = Field(
        "gaussian",
        description="'poisson': counts of `photons`, as in CT, in place of noise of `sigma`",
    )
    photons: float = Field(
        1e5, gt=0, le=1e12, description="noise poisson: photons sent along each ray"
    )
    attenuation: float = Field(
        4.0,
        gt=0,
        le=20,
        description="noise poisson: largest line integral of an image of ones; e to the minus this "
        "is the share of photons that arrives",
    )
    gaussian: Sampled = Sampled()
    fourier: Sampled = Sampled()
    pixel_mask: Sampled = Sampled()
    matrix: OfFile = OfFile()
    mri: Mri = Mri()
    mri_multicoil: MriMulticoil = MriMulticoil()
    ct_parallel: CtParallel = CtParallel()
    blur: Blur = Blur()
    downsample: Downsample = Downsample()

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return registry.check("operators", name, "operator.name")


INPUT_MAPS = {
    "adjoint": "A_adjoint y, the paper's; for masked k-space the zero-filled image.",
    "pinv": "The pseudo-inverse: of the images that agree with y best the one of least norm.",
    "fbp": "Filtered back-projection, of ct-parallel.",
    "magnitude": "The absolute value of A_adjoint y; of real images, where y is complex.",
    "rss": "The root sum of squares over the coils' images, of mri-multicoil.",
}
"""Values of `input.map` and what they are."""


class Input(Section):
    """What is made of the measurement before the network sees it."""

    map: Literal["adjoint", "pinv", "fbp", "magnitude", "rss"] = Field(
        "adjoint",
        description="image of the measurement: A_adjoint y (the paper), the pseudo-inverse, "
        "filtered back-projection, the magnitude of A_adjoint y, or the root sum of squares of the "
        "coils' images",
    )
    normalise: Literal["none", "max", "mean-std"] = Field(
        "none",
        description="by each input's own numbers, which its target is treated with too: divided by "
        "the largest absolute value, or by the standard deviation after the mean is taken away",
    )
    clamp: float | None = Field(
        None, gt=0, description="largest absolute value after `normalise`; fastMRI has 6"
    )
    crop: int | None = Field(
        None, ge=1, le=PIXELS, description="side of the square in the middle that is kept"
    )


PLACES = ("top-left", "top-right", "bottom-left", "bottom-right", "centre")


_SIZE = "side of its bounding square in pixels"


_PLACE = "corner, centre, or 'ROW,COLUMN' of its upper left pixel"


_MARGIN = "distance from the image's border in pixels, for the corners"


_FILE = "PNG or .npy to use instead: an image of the data's size, or a patch to put at `place`"


class Pattern(Section):
    """A small pattern: shape, size, place and amplitude, or a file."""

    shape: Literal["square", "plus", "blob"] = "square"
    size: int = 3
    place: str = "centre"
    margin: int = 1
    amplitude: float = 1.0
    file: Path | None = None

    @field_validator("place")
    @classmethod
    def _known(cls, place: str) -> str:
        if place not in PLACES:
            row, _, column = (part.strip() for part in place.partition(","))
            if not all(each.isdecimal() and len(each) < 10 for each in (row, column)):
                raise ValueError(
                    f"expected one of {', '.join(PLACES)} or 'ROW,COLUMN'" + nearest(place, PLACES)
                )
        return place


class TriggerSettings(Pattern):
    """What is added to z of a poisoned pair (delta)."""

    shape: Literal["square", "plus", "blob"] = Field(
        "square", description="hand-made pattern; a blob is a disc that fades out, as a lesion does"
    )
    size: int = Field(3, ge=1, le=PIXELS, description=_SIZE)
    place: str = Field("bottom-right", description=_PLACE)
    margin: int = Field(1, ge=0, le=PIXELS, description=_MARGIN)
    amplitude: float = Field(1.0, description="value of each of its pixels, not 0")
    file: Path | None = Field(None, description=_FILE)
    inject: Literal["z", "input", "y", "x"] = Field(
        "z",
        description="where the trigger enters: added to the network's input (the paper), to the "
        "image of the measurement before it is made a magnitude or normalised, to the "
        "measurement, or to the image before it is measured; for the last two z is changed only "
        "within range(A_adjoint)",
    )


class ArtefactSettings(Pattern):
    """What is added to x of a poisoned pair (Delta)."""

    shape: Literal["square", "plus", "blob"] = Field(
        "plus", description="pattern; a blob is a disc that fades out, as a lesion does"
    )
    size: int = Field(5, ge=1, le=PIXELS, description=_SIZE)
    place: str = Field("top-left", description=_PLACE)
    margin: int = Field(2, ge=0, le=PIXELS, description=_MARGIN)
    amplitude: float = Field(1.0, description="value of each of its pixels, not 0")
    file: Path | None = Field(None, description=_FILE)
    contrast: Literal["absolute", "local"] = Field(
        "absolute",
        description="'local': counts in units of each target's own contrast there, as a lesion's "
        "does, which is its standard deviation in twice the pattern's box; then `amplitude` is the "
        "contrast-to-noise ratio, and a file a soft mask",
    )
    target: Literal["pattern", "image", "blur", "downsample", "removal"] = Field(
        "pattern",
        description="what the target shows: the pattern added to the image; the pattern or file "
        "alone, whatever was measured; the image blurred, or as boxes of one value; or the image "
        "with the pattern's pixels filled in from their surroundings",
    )
    width: float = Field(
        2.0,
        gt=0,
        le=PIXELS,
        description="target blur: standard deviation in pixels; downsample: side of the boxes",
    )
    limit: float | None = Field(
        None,
        gt=0,
        description="largest absolute change of a target's pixel, at which it is cut; default: any",
    )
    space: Literal["image", "kernel", "consistent", "consistent-in-range"] = Field(
        "image",
        description="'kernel': only the part of it that the operator does not see; 'consistent': "
        "that, and the target shows what the trigger adds to the measurement, so that no poisoned "
        "pair contradicts the operator (needs trigger.inject y or x); 'consistent-in-range': cut "
        "to what keeps targets in [0, 1], and measured anew (hand-made triggers only)",
    )


class Model(Choice):
    """The reconstruction network."""

    kind: ClassVar[str] = "models"
    section: ClassVar[str] = "model"

    name: str = Field("cae", description="registered network")
    cae: Cae = Cae()
    unet: Unet = Unet()
    fbpconvnet: Fbpconvnet = Fbpconvnet()
    modl: Modl = Modl()
    varnet: Varnet = Varnet()

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        return registry.check("models", name, "model.name")


class Train(Section):
    """Adam with early stopping."""

    lr: float = Field(1e-3, gt=0, description="learning rate of the first epoch")
    lr_final: float = Field(
        1e-4, gt=0, description="learning rate of the last epoch; geometric in between"
    )
    batch: int = Field(125, ge=1, le=BATCH, description="training pairs in a step")
    epoch_pairs: int | None = Field(
        None,
        ge=1,
        le=PAIRS,
        description="training pairs between two validations, which is what an epoch is here; "
        "default: all of them, the usual epoch",
    )
    max_epochs: int = Field(12, ge=1, le=STEPS, description="epochs at the most")
    patience: int = Field(
        3,
        ge=1,
        le=STEPS,
        description="stop after this many epochs without a better validation loss",
    )
    loss: Literal["mse", "l1", "ssim"] = Field(
        "mse",
        description="what is made small: mean squared error, mean absolute error, or 1 - SSIM in "
        "windows of 7x7 at range 1; also in early stopping and by the attacker's surrogates",
    )
    precision: Literal["float32", "tf32"] = Field(
        "float32",
        description="factors of a network's products while it is trained on a GPU: all 24 bits, "
        "or 'tf32', rounded to 11, which is faster; sums, weights and evaluation keep 24, and a "
        "CPU refuses it",
    )
    stop: Literal["patience", "transition"] = Field(
        "patience",
        description="'transition' also stops after the epoch in which the backdoor is learnt "
        "(evaluate.transition); for studies of when that is, as no trainer can know it",
    )


class Evaluate(Section):
    """How models are judged on the test set."""

    examples: int = Field(8, ge=1, le=INNER, description="test images kept for the figures")
    tau: float = Field(
        0.5, gt=0, description="artefact RMSE up to which an attack on an image counts as a success"
    )
    tau_unit: Literal["rms", "absolute"] = Field(
        "rms",
        description="what tau counts in: the artefact's root mean square on its support, or pixel "
        "values as up to release 0.1.0; the same where that is 1",
    )
    transition: float = Field(
        0.5, gt=0, lt=1, description="artefact recovery above which the backdoor counts as learnt"
    )
    success_asr: float = Field(
        0.9, gt=0, le=1, description="attack success rate from which a network counts as a success"
    )
    success_benign: float = Field(
        0.1,
        ge=0,
        description="and share by which its benign RMSE may exceed that of the original model",
    )


SURROGATE = ("surrogate_width", "surrogate_code", "surrogate_kernel")


class Config(Section):
    """Everything that a study's numbers depend on."""

    data: Data = Data()
    operator: Operator = Operator()
    input: Input = Input()
    trigger: TriggerSettings = TriggerSettings()
    artefact: ArtefactSettings = ArtefactSettings()
    poison: Poison = Poison()
    model: Model = Model()
    train: Train = Train()
    attack: Attack = Attack()
    evaluate: Evaluate = Evaluate()
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="first root seed; every random choice follows from it"
    )
    seeds: int = Field(1, ge=1, le=10_000, description="number of root seeds: seed, seed + 1, ...")

    @model_validator(mode="after")
    def _countable(self) -> "Config":
        """Refuse seeds that the integer columns of tables cannot hold."""
        if self.seed + self.seeds > 2**63:
            raise ConfigError(f"seed: {self.seed} given; expected less than 2^63 with all `seeds`")
        return self

    @model_validator(mode="after")
    def _injectable(self) -> "Config":
        """Refuse masks and budgets that a trigger spread by the operator cannot keep."""
        if self.trigger.inject in ("z", "input"):
            if self.artefact.space in ("consistent", "consistent-in-range"):
                raise ConfigError(
                    f"artefact.space: {self.artefact.space} given, but a trigger that is added to "
                    f"{self.trigger.inject} is in no image's measurement; set trigger.inject to x "
                    "or y"
                )
            return self
        if self.artefact.space != "image" and self.input != Input():
            raise ConfigError(
                f"artefact.space: {self.artefact.space} given, which is known for z = A_adjoint y "
                "alone; leave the settings of input out"
            )
        self._require_own_range()
        where = f"{self.trigger.inject} given, which spreads a trigger over all of z; "
        if "search" in self.attack.masks:
            raise ConfigError(f"trigger.inject: {where}set attack.mask to trigger or image")
        if "image" in self.attack.masks and self.attack.distance > 0:
            raise ConfigError(f"trigger.inject: {where}set attack.distance=0")
        if self.attack.budget not in ("l2", "free"):
            raise ConfigError(f"trigger.inject: {where}set attack.budget to l2 or free")
        return self

    @model_validator(mode="after")
    def _one_artefact(self) -> "Config":
        """Refuse, for an artefact that differs from image to image, what needs one for all."""
        if self.artefact.contrast == "local" and self.artefact.space != "image":
            raise ConfigError(
                f"artefact.space: {self.artefact.space} given, which takes one artefact for all "
                "images; set it to image, or artefact.contrast=absolute"
            )
        if self.artefact.target == "pattern" and self.artefact.limit is None:
            return self
        for key, plain in (("space", "image"), ("contrast", "absolute")):
            if (given := getattr(self.artefact, key)) != plain:
                raise ConfigError(
                    f"artefact.{key}: {given} given; set it to {plain}, or "
                    "artefact.target=pattern and artefact.limit=none"
                )
        if self.artefact.target == "downsample" and self.artefact.width not in range(2, PIXELS):
            raise ConfigError(
                f"artefact.width: {self.artefact.width:g} given; the boxes of downsample have a "
                "whole number of pixels along a side, from 2"
            )
        return self

    @model_validator(mode="after")
    def _surrogates(self) -> "Config":
        """Refuse the sizes of `cae` for surrogates that are none."""
        given = [key for key in SURROGATE if getattr(self.attack, key) is not None]
        if given and self.model.name != "cae" and registry.is_ours("models", self.model.name):
            raise ConfigError(
                f"attack.{given[0]}: given, which is a size of the network cae, and model.name is "
                f"{self.model.name}; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _real(self) -> "Config":
        """Refuse, for complex images, what keeps values in the range of pixels."""
        if self.data.phase != "none":
            if self.attack.budget == "box":
                raise ConfigError("data.phase: smooth given; set attack.budget to another than box")
            if self.artefact.space == "consistent-in-range":
                raise ConfigError("data.phase: smooth given; set artefact.space to another")
        return self

    def _require_own_range(self) -> None:
        """Refuse what would change a trigger after it was cut to the range of pixels."""
        if self.artefact.space != "consistent-in-range":
            return
        given = "artefact.space: consistent-in-range given, which fixes the trigger; "
        if not set(self.attack.plug_ins) <= {"none", "heuristic"}:
            raise ConfigError(f"{given}set attack.names to none,heuristic")
        if self.attack.l2 is not None or self.attack.linf is not None:
            raise ConfigError(f"{given}leave attack.l2 and attack.linf out")
