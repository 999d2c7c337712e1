"""The records of a run's weights, checkpoints and history: what a run is carried on from."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from recondoor.records._base import (
    Count,
    Hex,
    Label,
    Record,
    Scalar,
    Seconds,
    Seed,
    Step,
    about,
    absent,
    validated,
)

DIGEST = "16 hex digits over the run and the rest of the line"


class TrainRow(Record):
    """One epoch; yardsticks of a trigger are left out of an original model that was taken over."""

    __pydantic_extra__: dict[str, Scalar]
    epoch: Step = about("counted from 1")
    samples: Step = about("training images seen so far")
    lr: float = about("learning rate of the epoch")
    train_loss: float = about("mean of the epoch's batch losses, while the weights were changing")
    val_loss: float = about("validation loss; early stopping looks at it alone")
    selection_loss: float | None = absent("mean of benign and attack mean squared error")
    benign_rmse: float | None = about("yardstick, as the next three")
    attack_rmse: float | None = absent(
        "for the original model with the heuristic trigger, as the next two"
    )
    recovery: float | None = absent("artefact recovery")
    ghost: float | None = absent("ghost")
    learnt: bool = Field(False, description="whether `recovery` is above `evaluate.transition`")
    best: bool = about("whether `val_loss` was lower than in every epoch before")


class AttackRow(Record):
    """One outer step of an attack; its other columns are the attack's own."""

    __pydantic_extra__: dict[str, Scalar]
    iteration: Step = about("counted from 1")
    outer_loss: float | None = absent(
        "attack error on a fully triggered batch after the inner steps, in the scale "
        "of `attack.bilevel.loss_scale`",
    )
    inner_loss: float | None = absent("loss of the last inner step before it was made, same scale")
    direct_norm: float | None = absent("L2 of the direct part of the hypergradient")
    bilevel_norm: float | None = absent("L2 of its bi-level part")
    cosine: float | None = absent("cosine between the two")
    l2: float | None = absent("L2 of the trigger after the step")
    linf: float | None = absent("its largest magnitude")
    change: float | None = absent("L2 of the step that the trigger made")


class TrainLine(TrainRow):
    """A line of history.jsonl."""

    stage: Literal["train"] = about("what the line is of")
    model: Label = about("row label")
    seed: Seed = about("root seed")
    digest: Hex | None = absent(DIGEST)


class AttackLine(AttackRow):
    """A line of history.jsonl."""

    stage: Literal["attack"] = about("what the line is of")
    model: Label = about("row label")
    seed: Seed = about("root seed")
    digest: Hex | None = absent(DIGEST)


class FitMeta(Record):
    """Where a training stands: beside the tensors of its checkpoint."""

    epoch: Step
    best_epoch: Step
    best_loss: float
    seconds: Seconds
    history: list[TrainRow]

    @model_validator(mode="after")
    def _agrees(self) -> "FitMeta":
        if [row.epoch for row in self.history] != list(range(1, self.epoch + 1)):
            raise ValueError(f"history: expected the epochs 1 to {self.epoch}, each once")
        if self.best_epoch > self.epoch:
            raise ValueError(f"best_epoch: {self.best_epoch} given, of {self.epoch} epochs")
        return self


class ModelMeta(FitMeta):
    """What stands beside trained weights."""

    samples: Step
    model: dict[str, JsonValue]


class CraftMeta(Record):
    """Where an attack stands: beside the tensors of its checkpoint."""

    iteration: Count
    seconds: Seconds
    numbers: dict[str, JsonValue]
    path_iteration: list[Count]
    history: list[AttackRow]


_LINE: TypeAdapter[TrainLine | AttackLine] = TypeAdapter(
    Annotated[TrainLine | AttackLine, Field(discriminator="stage")]
)


def require_line(value: object, where: str) -> TrainLine | AttackLine:
    """Return a line of history.jsonl as a record; errors as of `require`."""
    return validated(_LINE.validate_python, value, where)
