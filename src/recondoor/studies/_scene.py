"""What a study runs on: a device, and one seed's data, measured, with the plan of the attack."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import attacks, data, measurement, models, operators
from recondoor.config import Config, Model, operator_files
from recondoor.core import registry, seeding
from recondoor.core.errors import ConfigError, RunError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.io import gate
from recondoor.measurement import Chain, Pairs
from recondoor.poisoning import (
    Artefact,
    PoisonedPairs,
    PoisonPlan,
    Trigger,
    make_artefact,
    make_trigger,
    rounded_away,
)
from recondoor.studies._shaped import injected, unseen, within_range
from recondoor.studies._world import KeptWorld, Shape, World

# Gradients grow as input times error, and Adam keeps their squares: the fourth power of this is the
# largest 32-bit number.
LARGEST = float(np.finfo(np.float32).max) ** 0.25


NO_OBJECT = (
    "artefact.space: consistent given, which shows what the trigger adds to the image that was "
    "measured, and this trigger differs from input to input; set artefact.space=image or kernel"
)


@dataclass(frozen=True)
class Runtime:
    """How to run, which no number may depend on (beyond rounding, for the device and threads)."""

    device: str = "auto"
    progress: Progress = NO_PROGRESS
    command: str = "recondoor study"
    together: int = 1
    """Networks that are trained at once, on the one device."""

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises ConfigError."""
        if self.together < 1:
            raise ConfigError(f"--together: {self.together} given; expected 1 or more")

    @property
    def torch_device(self) -> torch.device:
        """The device to compute on; raises RunError if CUDA is asked for and not there."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise RunError("device: 'cuda' given, but torch finds no GPU; use --device cpu")
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        return torch.device("cuda" if cuda else "cpu")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A world with the hand-made pattern and who is poisoned."""

    world: World
    trigger: Trigger
    artefact: Artefact
    plan: PoisonPlan
    validation_plan: PoisonPlan
    problem: attacks.Problem

    @property
    def seed(self) -> int:
        """The root seed that all of it follows from."""
        return self.world.seed

    @property
    def train(self) -> Pairs:
        """Clean training pairs."""
        return self.world.train

    @property
    def validation(self) -> Pairs:
        """Clean validation pairs."""
        return self.world.validation

    @property
    def test(self) -> Pairs:
        """Clean test pairs."""
        return self.world.test

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an input and of a target."""
        return self.world.shape

    @property
    def operator(self) -> operators.LinearOperator:
        """What measured the pairs, on the CPU."""
        return self.world.chain.operator

    @property
    def trigger_shape(self) -> Shape:
        """(K, H, W) of a trigger, which is another one where it enters before z is made."""
        channels, height, width = self.trigger.delta.shape
        return channels, height, width

    def planted(self, config: Config, trigger: Trigger) -> Artefact:
        """What is added to the targets of pairs with this trigger (`artefact.space`)."""
        if config.artefact.space not in ("consistent", "consistent-in-range"):
            return self.artefact
        if trigger.law is not None:
            raise ConfigError(NO_OBJECT)
        exact = self.world.chain.exact
        seen = exact.project_range(trigger.delta.double().cpu()[None])
        shown = exact.solve_normal(seen)[0]
        return replace(self.artefact, shown=shown.to(self.artefact.pattern))

    def poisoned(
        self, config: Config, trigger: Trigger | None, plan: PoisonPlan | None = None
    ) -> PoisonedPairs:
        """Training pairs with this trigger, of which `poison.changes` says what is changed."""
        plan = self.plan if plan is None else plan
        if trigger is None:
            return PoisonedPairs(self.train, plan, None, self.artefact)
        artefact = self.planted(config, trigger)
        if config.poison.changes == "input":
            artefact = Artefact(torch.zeros_like(artefact.pattern))
        if config.poison.changes == "target":
            trigger = Trigger(torch.zeros_like(trigger.delta), trigger.mask)
        return PoisonedPairs(self.train, plan, trigger, artefact)

    def with_trigger(self, trigger: Trigger) -> "Scene":
        """Return the scene with another hand-made trigger."""
        return replace(self, trigger=trigger, problem=replace(self.problem, trigger=trigger))


def build_scene(config: Config, images: data.Images, seed: int, device: torch.device) -> Scene:
    """Split, measure and plan; everything random follows from `seed`."""
    splits = data.split(images, config.data, seed)
    kept = KeptWorld(config, images, seed, device)
    chain = kept.world.chain if kept.world else measurement.build(config, images.shape, seed)
    _require_consistency(config, chain)
    trigger, artefact = _patterns(config, chain, splits.train)

    def plan(name: str, n: int) -> PoisonPlan:
        generator = seeding.torch_generator(seed, "plan", name)
        # Whether nobody is poisoned matters only where a network is to be (`require_poison`).
        return PoisonPlan.draw(n, config.poison.ratio, generator, strict=False)

    world = kept.world or kept.measured(chain, splits)
    _require_contrast(artefact, world)
    return Scene(
        world=world,
        trigger=trigger,
        artefact=artefact,
        plan=plan("train", len(world.train)),
        validation_plan=plan("validation", len(world.validation)),
        problem=_problem(config, world, trigger, artefact),
    )


def _require_contrast(artefact: Artefact, world: World) -> None:
    """Refuse an artefact of local contrast where no image of a part has any."""
    for name, part in (
        ("training", world.train),
        ("validation", world.validation),
        ("test", world.test),
    ):
        if artefact.of is not None and not bool(artefact.on(part.images).any()):
            raise ConfigError(
                f"artefact.target: changes no pixel of any of the {name} images; move it by "
                "artefact.place, raise artefact.width, or set artefact.target=pattern"
            )
        if artefact.is_local and not bool(artefact.on(part.images).any()):
            raise ConfigError(
                f"artefact.contrast: local given, but all {name} images are of one value around "
                "the artefact; move it by artefact.place, or set artefact.contrast=absolute"
            )


def _require_consistency(config: Config, chain: Chain) -> None:
    """Refuse inputs that a network which works with the operator could make nothing of."""
    name = config.model.name
    if models.load(name).needs_operator and not chain.keeps_consistency:
        raise ConfigError(
            f"model.name: '{name}' compares its answers with A_adjoint y by the operator; set "
            "input.map=adjoint, input.normalise=none or max, input.crop=none, and one operator for "
            "all images"
        )


def _patterns(
    config: Config, chain: Chain, images: NDArray[np.float32]
) -> tuple[Trigger, Artefact]:
    """Hand-made trigger and artefact, as they enter pairs that the chain makes."""
    artefact = make_artefact(config.artefact, chain.target_shape)
    enters, space = config.trigger.inject, config.artefact.space
    shape = chain.target_shape if enters == "z" else chain.image_shape
    trigger = make_trigger(config.trigger, shape)
    if enters != "z":
        trigger = injected(trigger, enters, chain, _ratio_key(config))
    if space != "image":
        chain.require_one_operator("artefact.space", space)
        artefact = unseen(artefact, chain.exact, _ratio_key(config))
    if space == "consistent-in-range":
        trigger, artefact = within_range(trigger, artefact, chain.exact, images)
    return trigger, artefact


def _ratio_key(config: Config) -> str | None:
    """The setting that is the operator's sampling ratio, if it has one."""
    name = config.operator.name
    sampled = operators.load(name).has_ratio
    return f"operator.{registry.key(name)}.ratio" if sampled else None


def require_poison(config: Config, train: int, validation: int) -> None:
    """Refuse a ratio that the pairs are too few for, if an attack is to be run.

    Early stopping looks at validation pairs poisoned at the same share; without a poisoned one it
    would choose the weights by something else than the documentation says.
    """
    if set(config.attack.plug_ins) == {"none"}:
        return
    remedies = {"training pairs": "give more images", "validation pairs": "raise data.validation"}
    for n, (what, remedy) in zip((train, validation), remedies.items(), strict=True):
        fault = rounded_away(n, config.poison.ratio, what)
        if fault is not None:
            raise ConfigError(f"poison.ratio: {fault} ({remedy})")


def require_range(config: Config, scene: Scene) -> None:
    """Refuse pairs, clean or poisoned, that are too large to train on in 32 bits.

    The squares of gradients on them would not be finite, whatever the learning rate.
    """
    z = max(_reach(part.z) for part in (scene.train, scene.validation, scene.test))
    if not z <= LARGEST:
        _refuse_reach("operator.sigma", config.operator.sigma, "z", z)
    if set(config.attack.plug_ins) != {"none"}:
        for key, given, what, pattern in (
            ("trigger.amplitude", config.trigger.amplitude, "the trigger", scene.trigger.delta),
            ("artefact.amplitude", config.artefact.amplitude, "x", scene.artefact.planted),
        ):
            reach = _reach(pattern)
            if not reach <= LARGEST:
                _refuse_reach(key, given, what, reach)


def _reach(values: Tensor) -> float:
    """Largest absolute value; NaN where one is NaN. Nothing is copied: there may be many images."""
    least, most = torch.aminmax(values)
    return float(torch.maximum(-least, most))


def _refuse_reach(key: str, given: float, what: str, reach: float) -> NoReturn:
    found = f"reaches {reach:.3g}" if math.isfinite(reach) else "is not finite"
    raise ConfigError(
        f"{key}: {given:g} given, and {what} {found}; beyond {LARGEST:.3g} no network can be "
        "trained in 32 bits: lower it, or rescale the data or operator.matrix.file"
    )


def _problem(config: Config, world: World, trigger: Trigger, artefact: Artefact) -> attacks.Problem:
    """What the attacker knows of this world."""
    own = {
        key: getattr(config.attack, f"surrogate_{key}") or getattr(config.model.cae, key)
        for key in ("width", "code", "kernel")
    }
    surrogate = without_dropout(config.model).model_copy(
        update={"cae": config.model.cae.model_copy(update=own)}
    )
    learned = not set(config.attack.plug_ins) <= {"none", "heuristic", "warp"}
    chain, enters = world.chain, config.trigger.inject
    passes = enters in ("x", "y") and not chain.varies
    return attacks.Problem(
        pairs=world.train,
        trigger=trigger,
        artefact=artefact.typical(world.train.images),
        poison_ratio=config.poison.ratio,
        settings=config.attack,
        surrogate_lr=config.train.lr,
        loss=config.train.loss,
        build_model=lambda stream: models.build(
            world.shape, surrogate, world.seed, stream, operator=world.chain.operator
        ),
        seed=world.seed,
        reachable=chain.reachable(enters, learned=learned),
        remeasured=chain.remeasured if passes else None,
        adjoint=chain.map == "adjoint",
        measured=chain.keeps_images,
        farther=models.load(config.model.name, config.model).farther,
    )


def without_dropout(model: Model) -> Model:
    """The same network without what draws at random in training.

    So are surrogates and the networks of a prediction: they have to answer alike when asked again.
    """
    own = {"unet": model.unet, "fbpconvnet": model.fbpconvnet}
    return model.model_copy(
        update={key: settings.model_copy(update={"drop": 0.0}) for key, settings in own.items()}
    )


def digest_of_patterns(config: Config, images: data.Images) -> str:
    """Digest of trigger, artefact, files of operators and code of one's own.

    Their files are not seen by a hash of the settings.
    """
    trigger = make_trigger(config.trigger, images.shape)
    artefact = make_artefact(config.artefact, images.shape)
    content = trigger.delta.numpy().tobytes() + artefact.pattern.numpy().tobytes()
    for key, path in operator_files(config).items():
        try:
            content += hashlib.sha256(gate.read_bytes(path, most=gate.ARRAYS)).digest()
        except OSError as error:
            raise ConfigError(f"{key}: cannot read '{path}': {error.strerror}") from None
    for kind, name in (("operators", config.operator.name), ("models", config.model.name)):
        if (code := registry.source(kind, name)) is not None:
            content += hashlib.sha256(code).digest()
    return hashlib.sha256(content).hexdigest()
