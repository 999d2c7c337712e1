"""The answer in two sentences: did the backdoor take, and which attack did better."""

from dataclasses import dataclass

from recondoor.report._names import TOOK, number, short
from recondoor.report._results import Results


@dataclass(frozen=True)
class Outcome:
    """How one attacked model fared: in how many of its seeds the backdoor took, and how well."""

    label: str
    took: int
    seeds: int
    recovery: float | None
    asr: float | None
    hedging: bool

    def describe(self, tau: float) -> str:
        """E.g. ``the BLO trigger (recovery 0.95, ASR(0.5) 98 %)``."""
        parts = []
        if self.recovery is not None:
            parts.append(f"recovery {number(self.recovery, 2)}")
        if self.asr is not None:
            parts.append(f"ASR({tau:g}) {100 * self.asr:.0f}\N{NO-BREAK SPACE}%")
        if 0 < self.took < self.seeds:
            parts.append(f"in {self.took} of {self.seeds} seeds")
        if self.hedging:
            parts.append("on the hedge line")
        name = f"the {short(self.label)} trigger"
        return f"{name} ({', '.join(parts)})" if parts else name


def outcome(results: Results, label: str) -> Outcome:
    """Judge one model: a seed took if its recovery and its ASR both exceed 0.5."""
    rows = results.rows(label)
    took = sum(
        (row["artefact_recovery"] or 0.0) > TOOK and (row["asr"] is None or row["asr"] > TOOK)
        for row in rows
    )
    means = {}
    for metric in ("artefact_recovery", "asr", "ghost"):
        estimate = results.estimate(label, metric)
        means[metric] = None if estimate is None else estimate.mean
    recovery, ghost, p = means["artefact_recovery"], means["ghost"], results.data["poison_ratio"]
    near = recovery is not None and abs(recovery) < 0.1
    hedging = near and ghost is not None and p > 0 and abs(ghost - p) < max(0.05, 0.25 * p)
    return Outcome(label, took, len(rows), recovery, means["asr"], hedging)


def _joined(words: list[str], last: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def headline(results: Results) -> str:
    """One sentence: with which triggers the backdoor took, and with which it did not."""
    outcomes = [outcome(results, label) for label in results.models if label != "original"]
    if not outcomes:
        return "Only the clean model was trained, so there is no backdoor to judge."
    groups = (
        ("took with", "and", [o for o in outcomes if o.took == o.seeds]),
        ("took in some seeds only with", "and", [o for o in outcomes if 0 < o.took < o.seeds]),
        ("did not take with", "or", [o for o in outcomes if o.took == 0]),
    )
    clauses = [
        f"{verb} {_joined([o.describe(results.tau) for o in group], last)}"
        for verb, last, group in groups
        if group
    ]
    return f"The backdoor {'; it '.join(clauses)}."


def comparison(results: Results, a: str = "bilevel", b: str = "heuristic") -> str:
    """One sentence on artefact recovery of `a` against `b`, or '' unless both were trained."""
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
