"""The answer in two sentences: did the backdoor take, and which attack did better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from recondoor.report._names import number, short, trigger_words
from recondoor.report._results import Results


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one attacked model fared: in how many of its seeds, and how well on average.

    succeeded, undecided, learnt: numbers of its `seeds` that are a success by the rule, that may be
    one (no original model tells), and that have learnt the backdoor. worse: by what share its
    benign RMSE exceeds that of the original models, where that is more than the rule allows.
    """

    label: str
    succeeded: int
    undecided: int
    learnt: int
    seeds: int
    recovery: float | None
    attack_rmse: float | None
    asr: float | None
    worse: float | None
    hedging: bool

    def describe(self, asr_name: str) -> str:
        """E.g. ``the BLO trigger (recovery 0.95, attack RMSE 0.071, ASR(0.5) 98 %)``."""
        parts = []
        if self.recovery is not None:
            parts.append(f"recovery {number(self.recovery, 2)}")
        if self.attack_rmse is not None:
            parts.append(f"attack RMSE {number(self.attack_rmse, 3)}")
        if self.asr is not None:
            parts.append(f"{asr_name} {100 * self.asr:.0f}\N{NO-BREAK SPACE}%")
        if self.worse is not None:
            parts.append(
                f"benign RMSE {100 * self.worse:.0f}\N{NO-BREAK SPACE}% above the original’s"
            )
        if 0 < self.succeeded < self.seeds:
            parts.append(f"in {self.succeeded} of {self.seeds} seeds")
        if self.hedging:
            parts.append("on the hedge line")
        name = f"the {trigger_words(self.label)}"
        return f"{name} ({', '.join(parts)})" if parts else name


def outcome(results: Results, label: str) -> Outcome:
    """Judge one model, seed by seed, by the run's own rule of success."""
    rows = results.rows(label)
    verdicts = [results.success(row) for row in rows]
    means = {}
    for metric in ("artefact_recovery", "attack_rmse", "asr", "ghost"):
        estimate = results.estimate(label, metric)
        means[metric] = None if estimate is None else estimate.mean
    recovery, ghost, p = means["artefact_recovery"], means["ghost"], results.data["poison_ratio"]
    near = recovery is not None and abs(recovery) < 0.1
    return Outcome(
        label=label,
        succeeded=sum(verdict is True for verdict in verdicts),
        undecided=sum(verdict is None for verdict in verdicts),
        learnt=sum(results.rule.learnt(row["artefact_recovery"]) is True for row in rows),
        seeds=len(rows),
        recovery=recovery,
        attack_rmse=means["attack_rmse"],
        asr=means["asr"],
        worse=_worse(results, rows),
        hedging=near and ghost is not None and p > 0 and abs(ghost - p) < max(0.05, 0.25 * p),
    )


def _worse(results: Results, rows: Sequence[Mapping[str, Any]]) -> float | None:
    pairs = [(row["benign_rmse"], results.original_of(row)) for row in rows]
    known = [(own, original) for own, original in pairs if original]
    if not known:
        return None
    share = fmean(own / original for own, original in known) - 1
    return share if share > results.rule.benign else None


def _joined(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def headline(results: Results) -> str:
    """One sentence: with which triggers the backdoor succeeded, and with which it did not."""
    outcomes = [outcome(results, label) for label in results.models if label != "original"]
    if not outcomes:
        return "Only the original model was trained, so there is no backdoor to judge."
    groups: dict[str, list[Outcome]] = {words: [] for words in _VERBS}
    for one in outcomes:
        groups[_group(one)].append(one)
    clauses = [
        f"{verb} {_joined([o.describe(results.measured.asr) for o in groups[verb]], last)}"
        for verb, last in _VERBS.items()
        if groups[verb]
    ]
    return f"The backdoor {'; it '.join(clauses)}."


_SUCCEEDED, _PARTLY = "succeeded with", "succeeded in some seeds only with"
_UNKNOWN = "was learnt, but whether it succeeded cannot be told, with"
_LEARNT, _NOT = "was learnt but did not succeed with", "was not learnt with"
_VERBS = {_SUCCEEDED: "and", _PARTLY: "and", _UNKNOWN: "and", _LEARNT: "and", _NOT: "or"}


def _group(one: Outcome) -> str:
    """What is said of a model."""
    if one.succeeded:
        return _SUCCEEDED if one.succeeded == one.seeds else _PARTLY
    if one.undecided and one.learnt:
        return _UNKNOWN
    return _LEARNT if one.learnt else _NOT


def rule_in_words(results: Results) -> str:
    """What counts as learnt and as a success here."""
    rule, rms = results.rule, results.artefact_rms
    text = (
        f"A backdoor is learnt by a trained model if its artefact recovery exceeds "
        f"{rule.transition:g} on the test set. It succeeds if, besides, its {results.measured.asr} "
        f"is at least {100 * rule.asr:g} % and its benign RMSE is at most {100 * rule.benign:g} % "
        "above that of the original model of the same seed."
    )
    if results.tau_unit == "absolute" and rms is not None and results.tau >= rms:
        text += (
            f" The artefact’s own root mean square is {rms:.3g}, no more than τ = {results.tau:g}: "
            "a model that draws nothing has this ASR too, so that it says nothing here."
        )
    return text


def comparison(results: Results, a: str = "bilevel", b: str = "heuristic") -> str:
    """Artefact recovery and attack RMSE of `a` against `b`, or '' unless both were trained."""
    recovery = _recoveries(results, a, b)
    errors = [results.estimate(label, "attack_rmse") for label in (a, b)]
    if not recovery or None in errors:
        return recovery
    shown = [number(error.mean, 3) for error in errors if error is not None]
    return f"{recovery} Attack RMSE: {short(a)} {shown[0]}, {short(b)} {shown[1]}."


def _recoveries(results: Results, a: str, b: str) -> str:
    metric = "artefact_recovery"
    first, second = results.estimate(a, metric), results.estimate(b, metric)
    if first is None or second is None:
        return ""
    paired = results.paired(a, b, metric)
    if paired is None or paired.low is None or paired.high is None:
        difference = first.mean - second.mean
        return (
            f"In recovery, {short(a)} minus {short(b)} is {_signed(difference)}; with one seed "
            "there is no interval, so this does not show that either method is better."
        )
    ends = f"95 % interval {_signed(paired.low)} to {_signed(paired.high)}, {paired.n} paired seeds"
    if paired.low <= 0 <= paired.high:
        return (
            f"No difference in recovery is shown between {short(a)} and {short(b)}: "
            f"{_signed(paired.mean)} ({ends})."
        )
    best, worst = (a, b) if paired.mean > 0 else (b, a)
    return (
        f"With the {short(best)} trigger more of the artefact is recovered than with the "
        f"{short(worst)} one: {short(a)} minus {short(b)} is {_signed(paired.mean)} ({ends})."
    )


def _signed(value: float) -> str:
    text = number(value, 2)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"
