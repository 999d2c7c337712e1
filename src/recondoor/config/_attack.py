"""The settings of the attacks: which are compared, where a trigger may lie, how it is learned."""

import re
from typing import Literal

from pydantic import Field, field_validator

from recondoor import registry
from recondoor.config._section import INNER, PIXELS, STEPS, Section

LABEL = re.compile(r"[a-z][a-z0-9-]*")


class Attack(Section):
    """Which triggers are compared, and how the learned ones are found."""

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
    variant: Literal["warm", "paper", "ensemble"] = Field(
        "ensemble",
        description="bilevel: 'paper' is the literal recipe, 'warm' starts from a surrogate that "
        "was trained, 'ensemble' averages over surrogates of different ages",
    )
    start: Literal["random", "heuristic", "tangent"] = Field(
        "tangent", description="bilevel, but variant paper: the first trigger"
    )
    iterations: int = Field(50, ge=1, le=STEPS, description="bilevel: outer steps at the most")
    patience: int | None = Field(
        None,
        ge=1,
        le=STEPS,
        description="bilevel: stop after this many outer steps without a better objective on "
        "held-out pairs, and keep the best trigger; default: never, and keep the last",
    )
    solver: Literal[
        "unrolled", "checkpointed", "truncated", "direct", "implicit-cg", "implicit-neumann"
    ] = Field("unrolled", description="bilevel: how the hypergradient is found")
    inner_steps: int = Field(2, ge=1, le=INNER, description="bilevel: inner steps m")
    inner_lr: float | None = Field(
        None,
        gt=0,
        description="bilevel: inner learning rate beta; default: 0.001 for adam, else 0.01, the "
        "paper's",
    )
    inner_optimiser: Literal["sgd", "momentum", "adam"] | None = Field(
        None,
        description="bilevel: optimiser of the inner steps; default: sgd in the variant paper, "
        "else adam, which carries on with the moments of the surrogate's training",
    )
    truncation: int = Field(
        1,
        ge=1,
        le=INNER,
        description="bilevel, solver truncated: inner steps that are differentiated",
    )
    terms: int = Field(
        10,
        ge=1,
        le=INNER,
        description="bilevel, implicit solvers: conjugate-gradient steps or series terms",
    )
    damping: float = Field(
        1e-3, gt=0, description="bilevel, implicit solvers: what is added to the Hessian"
    )
    outer_optimiser: Literal["sgd", "adam", "normalised", "sign"] | None = Field(
        None,
        description="bilevel: outer step; default: sgd in the variant paper, else normalised",
    )
    outer_lr: float = Field(10.0, gt=0, description="bilevel, outer sgd: learning rate alpha")
    step: float = Field(
        0.05,
        gt=0,
        le=1,
        description="bilevel, other outer steps: their length as a share of the budget",
    )
    objective: Literal["image", "artefact", "recovery"] | None = Field(
        None,
        description="bilevel: outer loss: attack error over the image or over the artefact's "
        "pixels, or the squared distance of f(z + delta) - f(z) from the artefact; default: image "
        "in the variant paper, else recovery",
    )
    benign_weight: float | None = Field(
        None,
        ge=0,
        description="bilevel: weight lambda of the benign error in the outer loss; default: 0 in "
        "the variant paper and for recovery, else (1 - p) / p, the share that it has in training",
    )
    direct_weight: float | None = Field(
        None,
        ge=0,
        description="bilevel: weight of the hypergradient's direct part, which asks how a frozen "
        "network answers to the trigger and not how training does; default: 1 in the variant "
        "paper, else 0",
    )
    batch: int = Field(125, ge=2, le=INNER, description="batch of the surrogates and of every loss")
    holdout: float = Field(
        0.1, gt=0, lt=1, description="share of the training pairs kept for the outer losses"
    )
    loss_scale: Literal["pixel-mean", "row-sum", "sum"] = Field(
        "pixel-mean",
        description="bilevel: squared error averaged over the batch and, within an image, averaged "
        "over pixels, summed over its rows, or summed over all its pixels",
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
    tangent_steps: int = Field(
        10,
        ge=1,
        le=INNER,
        description="tangent: power iterations; each costs two gradients a surrogate",
    )

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
