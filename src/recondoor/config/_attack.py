"""The section of the attacks: which are compared, where a trigger may lie, what they train."""

import re
from typing import ClassVar, Literal, get_args

from pydantic import Field, field_validator

from recondoor.config._choice import Choice
from recondoor.config._own import Bilevel, Tangent
from recondoor.config._section import INNER, PIXELS, STEPS
from recondoor.config._triggers import Blend, Frequency, Measurement, SampleSpecific, Uap, Warp
from recondoor.core import registry

LABEL = re.compile(r"[a-z][a-z0-9-]*")
Mask = Literal["trigger", "search", "image"]


class Attack(Choice):
    """Which triggers are compared, where they may lie, and the surrogates of those that train."""

    kind: ClassVar[str] = "attacks"
    section: ClassVar[str] = "attack"

    names: tuple[str, ...] = Field(
        ("none", "heuristic", "bilevel", "random"),
        description="attacks to run, comma-separated; NAME@MASK gives one a mask of its own",
    )
    mask: Mask = Field(
        "trigger",
        description="where a trigger may lie: on the pixels of the hand-made one, on these moved "
        "to where they are learnt fastest, or anywhere in the image",
    )
    distance: int = Field(
        3,
        ge=0,
        le=PIXELS,
        description="masks search and image: least distance to the artefact in pixels; 3 leaves "
        "two pixels between them, 0 allows the artefact's own",
    )
    budget: Literal["l2", "linf", "box", "free"] = Field(
        "l2",
        description="what bounds a trigger: its L2, its L-inf, the pixel range [0, 1], or nothing",
    )
    l2: float | None = Field(
        None, gt=0, description="budget l2: largest L2; default: the hand-made trigger's"
    )
    linf: float | None = Field(
        None, gt=0, description="budget linf: largest absolute pixel; default: the hand-made one's"
    )
    batch: int = Field(125, ge=2, le=INNER, description="batch of the surrogates and of every loss")
    holdout: float = Field(
        0.1, gt=0, lt=1, description="share of the training pairs kept for the outer losses"
    )
    warm_steps: int = Field(
        300,
        ge=0,
        le=STEPS,
        description="surrogates: Adam steps before the outer steps (warm), oldest age (ensemble, "
        "tangent, place search)",
    )
    surrogates: int = Field(
        4,
        ge=1,
        le=INNER,
        description="surrogates of ensemble; ages looked at by tangent and place search",
    )
    surrogate_width: int | None = Field(
        None, ge=1, le=4096, description="model.width of the surrogates; default: the victim's"
    )
    surrogate_code: int | None = Field(
        None, ge=1, le=4096, description="model.code of the surrogates; default: the victim's"
    )
    surrogate_kernel: int | None = Field(
        None, ge=3, le=101, description="model.kernel of the surrogates; default: the victim's"
    )

    bilevel: Bilevel = Bilevel()
    tangent: Tangent = Tangent()
    blend: Blend = Blend()
    frequency: Frequency = Frequency()
    uap: Uap = Uap()
    measurement: Measurement = Measurement()
    sample_specific: SampleSpecific = SampleSpecific()
    warp: Warp = Warp()

    @field_validator("names", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("expected at least one attack")
        if len(set(names)) < len(names):
            raise ValueError("an attack is named twice")
        for name in names:
            _require_entry(name)
        labels = [registry.label(name) for name in names]
        for name, label in zip(names, labels, strict=True):
            if not LABEL.fullmatch(label):
                raise ValueError(f"'{name}' has to be named in letters from a to z, and digits")
            if labels.count(label) > 1 or label == "original":
                raise ValueError(f"'{name}' would be listed as '{label}', as another one is")
        return names

    @property
    def plug_ins(self) -> tuple[str, ...]:
        """The names without the masks that some have of their own."""
        return tuple(registry.without_place(name) for name in self.names)

    @property
    def masks(self) -> set[Mask]:
        """Every mask that an attack here has."""
        return {self.mask, *(self.at(name).mask for name in self.names)}

    def at(self, name: str) -> "Attack":
        """The settings of the entry `name`, NAME or NAME@MASK: its own mask, if it has one."""
        _, _, mask = name.partition(registry.PLACE)
        return self.model_copy(update={"mask": mask}) if mask else self

    @field_validator("surrogate_kernel")
    @classmethod
    def _odd(cls, kernel: int | None) -> int | None:
        if kernel is not None and kernel % 2 == 0:
            raise ValueError("expected an odd number")
        return kernel


def _require_entry(name: str) -> None:
    """Refuse what is neither an attack nor an attack at a mask; raises ValueError, ConfigError."""
    plug_in, at, mask = name.partition(registry.PLACE)
    registry.check("attacks", plug_in, "attack.names")
    if at and mask not in get_args(Mask):
        raise ValueError(f"'{name}': the mask after {at} has to be {', '.join(get_args(Mask))}")
    if at and plug_in == "none":
        raise ValueError(f"'{name}': the original model has no trigger, and so no mask")
