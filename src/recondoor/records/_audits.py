"""The records of audit.json: of training pairs, of a network, of inputs."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from recondoor.records._base import (
    Count,
    Record,
    Seconds,
    Seed,
    Shape,
    Share,
    Step,
    about,
    absent,
)

MOST_SHOWN = 100
"""Pairs or inputs of which evidence.npz keeps pictures."""

AUDIT = "recondoor.audit/1"
"""Name and version of audit.json."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z]+\.[a-z]+$")]
Sees = Annotated[
    list[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")]],
    Field(max_length=20, json_schema_extra={"uniqueItems": True}),
]
Alarm = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(ge=0)]
Cosine = Annotated[float, Field(ge=-1.000001, le=1.000001)]
Range = Annotated[list[Count], Field(min_length=2, max_length=2)]


class Skipped(Record):
    """A detector that did not look."""

    name: str
    reason: str


class MadeBy(Record):
    """When and with what an audit was made."""

    command: str
    finished: str = about("UTC.")
    versions: dict[str, JsonValue]
    git: dict[str, JsonValue] | None


class Operator(Record):
    """The measurement operator."""

    measured: Step = about("Rank of A.")
    values: Step = about("Values of an image.")
    sigma: Positive = about("Standard deviation of the noise.")
    sigma_estimated: bool = about("Whether sigma was estimated from pairs.")


SeenOperator = Annotated[
    Operator | None,
    about("The measurement operator as the physics detectors saw it; null if there was none."),
]


class Set(Record):
    """Images that were looked at."""

    count: Step = about("Pairs or inputs looked at, N.")
    shape: Shape = about("(C, H, W) of an image.")


DetectorName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:-]*$")]
"""As it is registered, or MODULE:NAME."""


class Planted(Record):
    """What a test of all pairs would have seen: discs that it planted in the pairs themselves."""

    contrast: Positive = about("Height of the disc, as a share of each target's range.")
    share: Share = about("Share of the pairs that got it.")
    found: Share = about("Share of the trials in which it was seen.")
    alike: Share = about("The same where only pairs of alike images got it.")
    smallest: Positive | None = about(
        "Smallest contrast that was seen in nine of ten trials; null if none was."
    )


class WholeTest(Record):
    """A test of all pairs together."""

    level: Alarm = about("P value up to which the pairs are suspicious.")
    planted: Planted | None = about("Null if the pairs are suspicious or the test abstains.")


class Detector(Record):
    """What one detector of pairs or inputs found."""

    name: DetectorName
    threshold: float | None = about(
        "Score above which a pair or input is flagged; null if the detector only ranks."
    )
    basis: Literal["law", "clean pairs"] | None = about("What the threshold comes from.")
    flagged: Count | None
    expected: Positive | None = about("False alarms to expect if all are clean.")
    p_value: Share | None = about("Probability of as many flagged ones or more if all are clean.")
    auc: Share | None = about("Area under the ROC curve, by the truth.")
    tpr: Share | None = about(
        "True-positive rate at the false-positive rate `alarm`, by the truth."
    )
    sees: Sees = absent("Kinds of attack that this detector is known to see and could see here.")
    whole: WholeTest | None = absent(
        "What only a test of all pairs together has; null for detectors of single ones."
    )
    seconds: Seconds


class Audit(Record):
    """What an audit found.

    Numbers that are not defined are null. Readers ignore members that they do not know.
    """

    schema_name: Literal["recondoor.audit/1"] = Field(
        alias="schema", description="Name and version of this format."
    )
    kind: str
    files: Annotated[dict[FileName, Sha256], Field(max_length=16)] = absent(
        "SHA-256 of the files beside this one, by name; audits of version 0.1.0 have none."
    )
    digest: Sha256 = absent(
        "SHA-256 of this file's other members, as JSON with sorted keys and no spaces."
    )
    verdict: Literal["suspicious", "clean", "undecided"] = about(
        "suspicious: some detector flags more than false alarms explain; clean: none "
        "does, and some of them are known to see; undecided: otherwise, see reason."
    )
    sees: Sees = absent(
        "Kinds of attack that detectors of known power could see here: patch, spread, measured, "
        "consistent (docs/audit.md)."
    )
    blind_to: Sees = absent("The other kinds. A clean verdict says nothing of them.")
    reason: str | None = absent(
        "Why the verdict is undecided: what was given and what is lacking; null otherwise.",
    )
    name: str = about("What the pairs, the network or the inputs are called.")
    alarm: Alarm = about(
        "False-alarm rate per pair or input; of a network, the probability with which a clean "
        "one is flagged, by any detector that compares with references or by one with a law."
    )
    level: float = about(
        "Probability at most with which something clean is called suspicious, over all detectors."
    )
    skipped: list[Skipped] = about("Detectors that did not look.")
    notes: list[str] = about("What was assumed or estimated.")
    provenance: MadeBy


class Truth(Record):
    """Which run it is of."""

    attack: str | None
    seed: Seed


class PairsTruth(Truth):
    """How many pairs of a run are poisoned."""

    poisoned: Count


class PairsAudit(Audit):
    """audit.json of an audit of training pairs."""

    kind: Literal["data"] = about("What was audited.")
    pairs: Set
    clean_pairs: Step | None = about("Trusted clean pairs, M; null if none were given.")
    operator: SeenOperator
    truth: PairsTruth | None = about(
        "What is known of the pairs; null unless they are those of a run."
    )
    detectors: Annotated[list[Detector], Field(max_length=100)]
    doubts: list[str] = absent(
        "What keeps pairs that no detector finds suspicious from being called clean."
    )


class InputDetector(Detector):
    """What one detector of inputs found."""

    name: str


class InputsTruth(Truth):
    """How many inputs of a run are triggered."""

    triggered: Count


class InputsAudit(Audit):
    """audit.json of an audit of inputs."""

    kind: Literal["input"] = about("What was audited.")
    network: str = about("What the network is called.")
    inputs: Set
    clean_pairs: Step = about("Trusted clean pairs.")
    threshold_pairs: Step = about(
        "Those of them that thresholds come from; detectors compare with the others."
    )
    operator: SeenOperator
    truth: InputsTruth | None = about(
        "What is known of the inputs; null unless they are those of a run."
    )
    detectors: list[InputDetector]
    repairs: list[str] = about(
        "Defences whose reconstructions are in repaired.npz under their names."
    )
    repaired: str | None = about("That of them which repaired.npz also calls 'repaired'.")


class Network(Record):
    """The network that was audited."""

    kind: str = about("Its class.")
    parameters: Count
    shape: Shape = about("(C, H, W) of an image.")


class NetworkTruth(Record):
    """What a run says of its network."""

    backdoored: bool = about("Whether its training pairs were poisoned.")
    attack: str
    seed: Seed
    recovery: float | None = about("Artefact recovery on the test set, by results.json.")


class Place(Record):
    """Where the recovered trigger is."""

    rows: Range
    columns: Range


class NetworkDetector(Record):
    """What one detector of networks found."""

    name: str
    score: float = about("The higher, the more suspicious.")
    threshold: float | None = about(
        "Score above which a network is flagged; null if the detector only ranks."
    )
    basis: Literal["law", "references"] | None = about("What the threshold comes from.")
    law_from: str | None = absent(
        "Where the threshold comes from in the detector's own words, if that is its law."
    )
    explained: str = absent("What a network with this score does, in the detector's own words.")
    flagged: bool | None
    draws: bool | None = absent(
        "Of a network that is flagged: whether it draws an artefact as no reference does; else it "
        "was trained on pairs with a hidden pattern. null if it is not flagged."
    )
    measures: dict[str, float] = absent("What is compared with the references, by name.")
    planted: list[float] = absent(
        "Scores of networks of the same make that were trained with a backdoor and learnt it."
    )
    references_above: Count = about("Reference networks that score as high.")
    place: Place | None = about(
        "First and last row and column of the recovered trigger's pixels above a fifth "
        "of its largest; null if none was recovered."
    )
    trigger_l2: Positive | None = about("Null if no trigger was recovered.")
    artefact_l2: Positive | None = about("Of the pixels that count; null if none was recovered.")
    overlap_trigger: Cosine | None = about(
        "Cosine of the recovered and the true trigger, where the truth is known."
    )
    overlap_artefact: Cosine | None = about("The same of the artefact.")
    sees: Sees = absent("Kinds of attack that this detector is known to see and could see here.")
    seconds: Seconds


class NetworkAudit(Audit):
    """audit.json of an audit of a network."""

    kind: Literal["model"] = about("What was audited.")
    network: Network
    clean_pairs: Step = about("Trusted clean pairs.")
    references: Count = about("Networks known to be clean.")
    truth: NetworkTruth | None = about(
        "What is known of the network; null unless it lies in the folder of a run."
    )
    detectors: list[NetworkDetector]
    skipped: list[Skipped] = absent("Detectors that failed; audits of version 0.1.0 have none.")
