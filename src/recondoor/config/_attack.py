"""The section of the attacks: which are compared, where a trigger may lie, what they train."""

import re
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from recondoor.config._choice import Choice
from recondoor.config._own import Bilevel, Tangent
from recondoor.config._section import INNER, PIXELS, STEPS
from recondoor.core import registry

LABEL = re.compile(r"[a-z][a-z0-9-]*")


class Attack(Choice):
    """Which triggers are compared, where they may lie, and the surrogates of those that train."""

    kind: ClassVar[str] = "attacks"
    section: ClassVar[str] = "attack"

    names: tuple[str, ...] = Field(
        ("none", "heuristic", "bilevel", "random"), description="attacks to run, comma-separated"
    )
    mask: Literal["trigger", "search", "image"] = Field(
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
        labels = [registry.label(registry.check("attacks", name, "attack.names")) for name in names]
        for name, label in zip(names, labels, strict=True):
            if not LABEL.fullmatch(label):
                raise ValueError(f"'{name}' has to be named in letters from a to z, and digits")
            if labels.count(label) > 1 or label == "original":
                raise ValueError(f"'{name}' would be listed as '{label}', as another one is")
        return names

    @field_validator("surrogate_kernel")
    @classmethod
    def _odd(cls, kernel: int | None) -> int | None:
        if kernel is not None and kernel % 2 == 0:
            raise ValueError("expected an odd number")
        return kernel
