"""The records of a run as types: what a file must have to be carried on from."""

from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from recondoor.errors import RunError

REMEDY = "restore it, or choose another --out"

# Whole numbers up to here are exact in a float.
Count = Annotated[int, Field(ge=0, le=2**53)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Step = Annotated[int, Field(ge=1, le=2**53)]
Label = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Seconds = Annotated[float, Field(ge=0)]
Scalar = bool | int | float | str | None


class Record(BaseModel):
    """Frozen, with nothing read as something else; members that are not known are left alone."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)


class TrainRow(Record):
    """One epoch; yardsticks of a trigger are left out of an original model that was taken over."""

    __pydantic_extra__: dict[str, Scalar]
    epoch: Step
    samples: Step
    lr: float
    train_loss: float
    val_loss: float
    selection_loss: float | None = None
    benign_rmse: float | None
    attack_rmse: float | None = None
    recovery: float | None = None
    ghost: float | None = None
    learnt: bool = False
    best: bool


class AttackRow(Record):
    """One outer step of an attack; its other columns are the attack's own."""

    __pydantic_extra__: dict[str, Scalar]
    iteration: Step


class TrainLine(TrainRow):
    """A line of history.jsonl."""

    stage: Literal["train"]
    model: Label
    seed: Seed
    digest: Hex | None = None


class AttackLine(AttackRow):
    """A line of history.jsonl."""

    stage: Literal["attack"]
    model: Label
    seed: Seed
    digest: Hex | None = None


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


class Images(Record):
    """What a run says of its images."""

    name: str
    fingerprint: str
    train: Count
    validation: Count
    test: Count


class Provenance(Record):
    """provenance.json, and the member of results.json."""

    identity: Hex
    patterns: Hex | None = None
    versions: dict[str, str]
    hardware: dict[str, str | int]
    device: str
    threads: Step
    seeds: list[Seed]
    data: Images
    git: dict[str, str | bool | None] | None
    command: str
    started: str
    finished: str | None
    digest: Hex | None = None


class ResultRow(Record):
    """One model and seed."""

    __pydantic_extra__: dict[str, Scalar | list[float]]
    model: Label
    seed: Seed
    benign_rmse: float | None
    attack_rmse: float | None
    artefact_rmse: float | None
    artefact_recovery: float | None
    ghost: float | None
    asr: float | None
    asr_curve: list[float]
    psnr: float | None
    ssim: float | None
    trigger_l2: float | None
    trigger_linf: float | None
    trigger_psnr: float | None
    validation_loss: float | None
    selection_loss: float | None
    epochs: Count


class Results(Record):
    """results.json."""

    schema_name: Literal["recondoor.results/1"] = Field(alias="schema")
    identity: Hex
    config: dict[str, JsonValue]
    provenance: Provenance
    poison_ratio: float
    hedge: dict[str, float]
    asr_taus: list[float]
    rows: Annotated[list[ResultRow], Field(min_length=1)]
    summary: dict[str, JsonValue]
    ratios: list[dict[str, bool | float | None]] | None = None
    digest: Hex | None = None

    @model_validator(mode="after")
    def _once(self) -> "Results":
        if len({(row.model, row.seed) for row in self.rows}) < len(self.rows):
            raise ValueError("rows: a model and seed is there twice")
        return self


Kind = TypeVar("Kind", bound=Record)
_LINE: TypeAdapter[TrainLine | AttackLine] = TypeAdapter(
    Annotated[TrainLine | AttackLine, Field(discriminator="stage")]
)


def require(kind: type[Kind], value: object, where: str, remedy: str = REMEDY) -> Kind:
    """Return `value` as a record; RunError with the first wrong member and the remedy."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise RunError(f"{where}: {_fault(error)}; {remedy}") from None


def require_line(value: object, where: str) -> TrainLine | AttackLine:
    """Return a line of history.jsonl as a record; errors as of `require`."""
    try:
        return _LINE.validate_python(value)
    except ValidationError as error:
        raise RunError(f"{where}: {_fault(error)}; {REMEDY}") from None


def _fault(error: ValidationError) -> str:
    """The first wrong member, what was given and what is expected, in one line."""
    item = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in item["loc"] if part not in ("train", "attack"))
    reason = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] == "union_tag_not_found":
        return "stage is missing"
    if item["type"] == "value_error":
        return reason
    given = repr(item["input"])
    given = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{key or 'it'}: {given} given; {reason[0].lower()}{reason[1:]}".replace("\n", " ")
