"""What defences say of one input, or of the training pair that it would be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from recondoor import audit, defences
from recondoor.core import registry
from recondoor.core.errors import FAILURES, ConfigError, RecondoorError, in_a_line
from recondoor.defences import Defender, InputDetector, PairDetector, Physics, Storage
from recondoor.evaluation import metrics
from recondoor.explore._pictures import Json, Span, number, picture
from recondoor.poisoning import Artefact, Pairs, Trigger
from recondoor.studies import Scene

ALARM = audit.InputRequest.alarm
"""Probability with which something clean is flagged: that of an audit of inputs."""
QUICK = 1_024
"""Values of an image up to which an operator is taken apart in less than a second."""


@dataclass(frozen=True)
class Subject:
    """One clean pair, what is done to it, and which network looks at it."""

    pairs: Pairs
    trigger: Trigger
    artefact: Artefact
    model: str


class Opinions:
    """Detectors that can judge one input or pair alone, with what is trusted of a run.

    As in an audit of inputs, validation pairs are trusted: detectors compare with some of them and
    the thresholds come from the others.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._seed = seed
        own = audit.kept_apart(len(scene.validation))
        every = torch.arange(len(scene.validation))
        self._compared = scene.validation.at(every[:own])
        self._trusted = scene.validation.at(every[own:]).z
        self._physics: Physics | None = None
        self._misfit: str | None = None
        self._thresholds: dict[tuple[str, str], float] = {}
        inputs = (n for n in defences.names("input") if not defences.input_detector(n).trains)
        self._names = [*inputs, *filter(_judges_alone, defences.names("pairs"))]

    def described(self) -> list[Json]:
        """Detectors, which of them apply, and why others do not."""
        lines = registry.describe("defences")
        found = []
        for name in self._names:
            lacking, detector = self._lacking(name), defences.load(name)
            of = "input" if isinstance(detector, InputDetector) else "training pair"
            needs = "physics" in detector.needs
            found.append(
                {
                    "key": name,
                    "words": lines[name],
                    "of": of,
                    "lacking": lacking,
                    "on": lacking is None
                    and needs
                    and "clean" not in detector.needs
                    and self._values <= QUICK,
                    "slow": needs and self._values > QUICK,
                }
            )
        return found

    def of(self, name: str, subject: Subject, model: nn.Module) -> Json:
        """Scores of the clean and the triggered one, against the threshold.

        One that fails says why in its own line. Raises ConfigError for a detector that is not among
        those described.
        """
        if name not in self._names:
            raise ConfigError(f"'{name}' is no detector that judges one input alone")
        try:
            return {"key": name} | self._judged(name, subject, model)
        except RecondoorError as error:
            return {"key": name, "unsure": str(error)}
        except FAILURES as error:
            return {"key": name, "unsure": f"it failed, {in_a_line(error)}"}

    def _judged(self, name: str, subject: Subject, model: nn.Module) -> Json:
        detector = defences.load(name)
        lacking = self._lacking(name)
        physics = None if lacking else self._taken_apart(name)
        if physics is not None:
            lacking = self._misfit
        if lacking is not None:
            return {"lacking": lacking}
        defender = Defender(self._compared, physics, model, seed=self._seed)
        with registry.told(detector, f"'{name}'"):
            if isinstance(detector, InputDetector):
                return self._of_input(detector, name, subject, defender)
            assert isinstance(detector, PairDetector)
            return self._of_pair(detector, subject, defender)

    def _of_input(
        self, detector: InputDetector, name: str, subject: Subject, defender: Defender
    ) -> Json:
        triggered, _ = subject.pairs.triggered(subject.trigger.on(subject.pairs))
        z = torch.cat((subject.pairs.z, triggered))
        limit = self._limit(detector, name, subject.model, defender)
        found = _opinion(detector.scores(z, defender), limit, detector.explain)
        if "unsure" in found:
            return found
        found["blind"] = detector.blind(z, defender)
        repaired = detector.repaired(z, defender)
        return found if repaired is None else found | self._repaired(repaired, subject)

    def _repaired(self, repaired: Tensor, subject: Subject) -> Json:
        """Reconstructions of the clean and the triggered input without what a trigger does."""
        pairs = subject.pairs
        pattern = subject.artefact.on(pairs.images)
        clean = pairs.restored(repaired[:1], pairs.scale)
        scale = pairs.triggered(subject.trigger.on(pairs))[1]
        triggered = pairs.restored(repaired[1:], scale)
        recovery = metrics.mean(metrics.artefact_recovery(triggered, clean, pattern))
        span = Span.of(pairs.images.numpy())
        return {
            "repaired": picture("f(z + δ), repaired", triggered[0].numpy(), span),
            "recovery": number(recovery),
        }

    def _of_pair(self, detector: PairDetector, subject: Subject, defender: Defender) -> Json:
        ones = torch.ones(1, 1, 1, 1)
        planted = subject.artefact.planted_on(subject.pairs.images)
        z, x = subject.pairs.poisoned(subject.trigger.on(subject.pairs), planted, ones)
        pairs = Pairs(torch.cat((subject.pairs.z, z)), torch.cat((subject.pairs.x, x)))
        limit = detector.law(defender, ALARM)
        found = _opinion(detector.scores(pairs, defender), limit, detector.explain)
        return found | {"blind": detector.blind(self._scene.validation, defender)}

    def _limit(
        self, detector: InputDetector, name: str, model: str, defender: Defender
    ) -> float | None:
        """Score above which an input is flagged, by its law or by trusted inputs."""
        if detector.certain:
            return detector.law(defender, ALARM)
        key = (name, model)
        if key not in self._thresholds:
            clean = detector.scores(self._trusted, defender)
            self._thresholds[key] = defences.threshold(clean, ALARM)
        return self._thresholds[key]

    def _lacking(self, name: str) -> str | None:
        """Why a detector does not apply to this run; None if it does."""
        if "physics" in defences.load(name).needs:
            operator = self._scene.world.range_of
            if operator is None:
                return "inputs are not AᵀA x + noise of one operator here"
            if self._values > defences.MOST_PIXELS and operator.directions() is None:
                return (
                    f"needs the singular vectors of the operator, which is for at most "
                    f"{defences.MOST_PIXELS} values; these images have {self._values}"
                )
        need = round(1 / ALARM) - 1
        if len(self._trusted) < need:
            return f"needs {need} trusted pairs; this run keeps {len(self._trusted)}"
        return None

    def _taken_apart(self, name: str) -> Physics | None:
        """The operator, taken apart when it is first needed."""
        operator = self._scene.world.range_of
        if "physics" not in defences.load(name).needs or operator is None:
            return None
        if self._physics is None:
            stored = Storage.of(self._scene.validation.z)
            self._physics = replace(Physics.of(operator), stored=stored)
            why = audit.misfit_of_trusted(self._physics, self._scene.validation, ALARM)
            self._misfit = why and f"the operator did not measure the trusted pairs: {why}"
        return self._physics

    @property
    def _values(self) -> int:
        channels, height, width = self._scene.shape
        return channels * height * width


def _judges_alone(name: str) -> bool:
    """Whether a detector of pairs needs no other pairs: the operator says what clean ones are."""
    detector = defences.pair_detector(name)
    has_law = type(detector).law is not PairDetector.law
    return has_law and detector.needs == ("physics",) and not detector.compares


def _opinion(scores: Tensor, limit: float | None, explain: Callable[[float], str]) -> Json:
    """What is flagged of the clean and the triggered one; or why that cannot be said."""
    clean, triggered = (float(score) for score in scores)
    if limit is None:
        return {"unsure": "it has no threshold here, and only ranks"}
    for what, value in (("score of the clean one", clean), ("threshold", limit),
                        ("score of the triggered one", triggered)):  # fmt: skip
        if not math.isfinite(value):
            return {"unsure": f"its {what} is no finite number"}
    flagged = [score > limit for score in (clean, triggered)]
    return {
        "clean": number(clean),
        "triggered": number(triggered),
        "threshold": number(limit),
        "flags_clean": flagged[0],
        "flags_triggered": flagged[1],
        "reason": explain(triggered) if flagged[1] else None,
    }
