"""The records of provenance.json and results.json; the columns of a row are the yardsticks'."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, create_model, model_validator

from recondoor.evaluation import yardsticks
from recondoor.records._base import (
    Count,
    Hex,
    Interval,
    Label,
    Record,
    Scalar,
    Seed,
    Shape,
    Share,
    Step,
    about,
    absent,
)

Positive = yardsticks.Positive


class Git(Record):
    """State of the checkout that a run began in."""

    commit: str | None = about("commit checked out when the run began")
    dirty: bool | None = about("whether tracked files differed from it")


class Images(Record):
    """What a run says of its images."""

    name: str = about("name of the data set, or of the file or folder")
    fingerprint: str = about("SHA-256 of the images before splitting")
    shape: Shape = absent("[C, H, W] of an image")
    train: Count = about("number of training images")
    validation: Count = about("number of validation images")
    test: Count = about("number of test images")


class Provenance(Record):
    """provenance.json, and the member of results.json, as any writer may give it."""

    identity: str = absent("hash of the settings that names the run, 12 hex digits")
    patterns: str | None = absent(
        "SHA-256 of trigger and artefact as drawn or read from their files"
    )
    digest: str | None = absent(
        "SHA-256 of all other members as JSON with sorted keys and no white space; "
        "left out where the run began under a version that sealed nothing",
    )
    versions: Mapping[str, JsonValue] = about("package -> version, and `python`")
    hardware: Mapping[str, JsonValue] = about(
        "`processor`, `cores` (usable), `memory_gib`, `machine`, `system`, and `gpu` "
        "where one was used"
    )
    device: str = absent("`cpu` or `cuda`")
    threads: Step = about("CPU threads of torch when the run began")
    seeds: list[Seed] = about("seeds that have rows")
    data: Images = about("what the images are")
    parameters: Count = absent("trainable parameters of the network")
    git: Git | None = about("null where the package is not run from a git checkout")
    command: str = about("command that began the run")
    started: str | None = absent("when the run began, UTC")
    finished: str | None = absent(
        "when results.json was last written, UTC; null before the first row"
    )


class OwnProvenance(Provenance):
    """What a run that is to be carried on has besides."""

    identity: Hex
    patterns: Hex | None = None
    digest: Hex | None = None
    versions: Mapping[str, str]
    hardware: Mapping[str, str | int]
    device: str
    started: str
    finished: str | None


class ResultRow(Record):
    """One model and seed; its columns are `yardsticks.YARDSTICKS`."""

    __pydantic_extra__: dict[str, Scalar | list[float]]
    model: Label = about(
        "row label: `original`, `heuristic`, `bilevel`, `random`, or an added attack"
    )
    seed: Seed = about("root seed")


class Estimate(Record):
    """Mean of a yardstick over seeds."""

    mean: float = about("mean over seeds")
    ci95: Interval
    n: Step = about("number of seeds")


class Difference(Record):
    """Differences a - b of a yardstick, seed by seed."""

    a: Label = about("first row label")
    b: Label = about("second row label")
    metric: str = about("key of the yardstick, as in `rows`")
    mean: float = about("mean over seeds of a - b")
    ci95: Interval
    n: Step = about("number of seeds that both have")


Estimates = Annotated[
    dict[str, Annotated[Estimate | None, Field(description="estimate of one yardstick")]],
    Field(description="row label -> estimates"),
]


class OverSubjects(Record):
    """Mean of a yardstick over test subjects, each one's value the mean over seeds."""

    mean: float = about("mean over subjects")
    ci95: Annotated[list[float], Field(min_length=2, max_length=2)] | None = about(
        "lower and upper end of the 95 % interval, or null where there is one subject"
    )
    n: Step = about("number of subjects; of one there is no interval")


OfSubjects = Annotated[
    dict[str, Annotated[OverSubjects, Field(description="estimate of one yardstick")]],
    Field(description="row label -> estimates"),
]


class Summary(Record):
    """Means over seeds, and over subjects where they are known."""

    models: dict[Label, Estimates] = about(
        "label -> yardstick -> estimate; a yardstick that is null in every row is left out or null"
    )
    paired: list[Difference] = about(
        "differences a - b, taken seed by seed; empty where there is one seed"
    )
    subjects: dict[Label, OfSubjects] = absent(
        "label -> yardstick by volume -> estimate over the test subjects"
    )


class Hedge(Record):
    """Where a network sits that cannot tell poisoned from clean inputs."""

    ghost: float = about("p")
    artefact_rmse: Positive = about("(1 - p) times the root mean square of Delta on its support")
    artefact_recovery: float = about("0")


class Candidate(Record):
    """One poison ratio that was tried."""

    ratio: Share = about("candidate p")
    validation_loss: Positive = about("of the heuristic attack, mean over seeds")
    selection_loss: Positive = about(
        "of the heuristic attack, mean over seeds; the least one is chosen"
    )
    benign_rmse: Positive = about("of the heuristic attack on validation images, mean over seeds")
    attack_rmse: Positive | None = about("likewise")
    artefact_recovery: float | None = about("likewise")
    ghost: float | None = about("likewise")
    chosen: bool = about("whether the study was run at this p")


class PoisonSettings(Record):
    """What reports read of the section `poison`."""

    ratio: Share = absent("the share p that was set")


class AttackSettings(Record):
    """What reports read of the section `attack`."""

    names: list[str] = absent("attacks to run")


class EvaluateSettings(Record):
    """What reports read of the section `evaluate`."""

    tau: Annotated[float, Field(gt=0)] = absent(
        "artefact RMSE up to which an attack on an image counts as a success, in `tau_unit`"
    )
    tau_unit: Literal["rms", "absolute"] = absent(
        "what tau counts in: the artefact's root mean square on its support, or pixel values; "
        "absent in runs of release 0.1.0, which is pixel values"
    )
    transition: Share = absent("artefact recovery above which the backdoor counts as learnt")
    success_asr: Share = absent("attack success rate from which a network counts as a success")
    success_benign: Positive = absent(
        "share by which its benign RMSE may exceed that of the original model"
    )


class Settings(Record):
    """What reports read of the settings of a run."""

    seed: Seed = about("first root seed")
    seeds: Annotated[int, Field(ge=1, le=10_000)] = about(
        "number of root seeds asked for by the last command that computed something"
    )
    data: dict[str, JsonValue] = absent("clean images and how they are split")
    poison: PoisonSettings = absent("which pairs are poisoned")
    attack: AttackSettings = absent("which triggers are compared, and how they are found")
    evaluate: EvaluateSettings = absent("how models are judged")


RESULTS = "recondoor.results/1"
"""Name and version of results.json."""


class Results(Record):
    """Numbers that are not defined are null; readers ignore members that they do not know."""

    schema_name: Literal["recondoor.results/1"] = Field(
        alias="schema", description="name and version of this format"
    )
    identity: str = absent("hash of the settings that names the run, 12 hex digits")
    digest: str | None = absent(
        "SHA-256 of all other members as JSON with sorted keys and no white space"
    )
    config: Settings = about(
        "the whole resolved configuration: one object for each section, and the leaves "
        "seed and seeds"
    )
    provenance: Provenance = about("with what, where and from which data")
    poison_ratio: Share = about("p, the share of poisoned training pairs")
    hedge: Hedge = about(
        "what a network scores that cannot tell poisoned from clean inputs and "
        "predicts x + p Delta always"
    )
    asr_taus: list[Positive] = about(
        "thresholds tau, in `config.evaluate.tau_unit` and increasing, at which each "
        "row's asr_curve is given"
    )
    rows: list[ResultRow]
    summary: Summary = about(
        "means over seeds with 95 % intervals, and paired differences between models"
    )
    ratios: list[Candidate] = absent("only after `--ratios`: what each candidate scored")


class _OwnResults(Results):
    """results.json of a run that is to be carried on."""

    identity: Hex
    provenance: OwnProvenance
    digest: Hex | None = None

    @model_validator(mode="after")
    def _once(self) -> "_OwnResults":
        if len({(row.model, row.seed) for row in self.rows}) < len(self.rows):
            raise ValueError("rows: a model and seed is there twice")
        return self


def with_rows(kind: type[Results]) -> type[Results]:
    """The record of results whose rows have the yardsticks of now as columns."""
    columns = {
        y.key: (y.values, Field(... if y.required else None, description=y.in_words))
        for y in yardsticks.YARDSTICKS
    }
    row = create_model("ResultRow", __base__=ResultRow, **columns)  # type: ignore[call-overload]
    rows = Field(description="one object for each model and seed", min_length=1)
    made: type[Results] = create_model(kind.__name__, __base__=kind, rows=(list[row], rows))
    return made


OwnResults = with_rows(_OwnResults)
