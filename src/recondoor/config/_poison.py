"""Settings of the section `poison`."""

from typing import Literal

from pydantic import Field

from recondoor.config._section import Section


class Poison(Section):
    """Which pairs are poisoned."""

    ratio: float = Field(
        0.3, ge=0, le=1, description="share p of the training pairs that is poisoned"
    )
    changes: Literal["both", "input", "target"] = Field(
        "both",
        description="what of a poisoned pair is changed: with 'input' its target stays clean, with "
        "'target' its input; networks are tested with both all the same",
    )
    choice: Literal["random", "gradient-alignment"] = Field(
        "random",
        description="which training pairs: drawn at random, or those whose gradients on a network "
        "that saw no poison (attack.warm_steps) teach most of the artefact",
    )
