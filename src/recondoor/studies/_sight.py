"""Can the network see a trigger from the artefact, and the attacks work: asked beforehand."""

import torch
from torch import nn

from recondoor import attacks, models, theory
from recondoor.config import Config
from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Artefact, make_artefact, make_trigger
from recondoor.studies._scene import NO_OBJECT, Scene

SIDES = (256, 192, 128, 96, 64, 48, 32, 28)
"""Sizes of images that are tried for a remedy."""


def require_sight(config: Config, scene: Scene) -> None:
    """Refuse attacks that follow the growth rate where it is 0 whatever the networks learn.

    The paper's network is small, and so may be one's own: in large images no path leads from a
    trigger in one corner to an artefact in another. The package's other networks see everywhere, as
    they normalise or use the operator.
    """
    asked = [name for name in config.attack.names if _follows_growth(config, name)]
    own = registry.is_outside(type(models.load(config.model.name, config.model)))
    small = own or config.model.name == "cae"
    if not asked or not small or config.attack.mask != "trigger":
        return
    problem = scene.problem
    model, side = problem.build_model("sight"), max(scene.shape[1:])
    if _meets(model, problem.artefact, problem.mask):
        return
    raise ConfigError(
        f"attack.names: {asked[0]} given, but at {scene.shape[1]}x{scene.shape[2]} pixels the "
        f"network {config.model.name} does not see from the trigger to the artefact, so that "
        f"nothing could be learnt; {_smaller(config, scene, side)}lay the trigger nearer with "
        "--set attack.mask=image, or take a network that sees far, as --set model.name=unet"
    )


def require_made_for(config: Config, scene: Scene) -> None:
    """Refuse attacks that are not made for the data, the measurement or the budget."""
    for name in config.attack.names:
        attack = attacks.require(name, scene.problem)
        if attack.differs and config.artefact.space.startswith("consistent"):
            raise ConfigError(NO_OBJECT)


def _follows_growth(config: Config, name: str) -> bool:
    own = config.attack.bilevel
    started = own.variant != "paper" and own.start == "tangent"
    return name in ("tangent", "measurement") or (name == "bilevel" and started)


def _meets(model: nn.Module, artefact: Artefact, mask: torch.Tensor) -> bool:
    """Whether a path leads from a pixel of the mask, in any channel, to one of the artefact."""
    seen = theory.structural_field(model, artefact).any(0)
    where = mask.bool().any(0)
    # A mask of another size is of a trigger that enters before a crop, and of what it spreads to.
    return seen.shape != where.shape or bool((seen & where).any())


def _smaller(config: Config, scene: Scene, side: int) -> str:
    """The remedy by size, with the largest one that is known to do."""
    kernel = config.attack.surrogate_kernel or config.model.cae.kernel
    own = config.model.cae.model_copy(update={"kernel": kernel})
    network = config.model.model_copy(update={"cae": own})
    for size in (each for each in SIDES if each < side):
        shape = (scene.shape[0], size, size)
        try:
            trigger = make_trigger(config.trigger, shape)
            artefact = make_artefact(config.artefact, shape)
            model = models.build(shape, network, 0)
        except ConfigError:
            continue  # also where one's own network asks for more than a size
        if _meets(model, artefact, trigger.mask):
            return f"add --set data.size={size}, "
    return ""
