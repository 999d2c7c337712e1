"""The answer in words: how many succeed, where the transition lies, how it was computed."""

from collections.abc import Sequence

import numpy as np

from recondoor.core.words import plural
from recondoor.report._sweep._axes import Axis, text
from recondoor.report._sweep._lines import over
from recondoor.report._sweep._load import STATES, Row, SweepData
from recondoor.report._sweep._series import Series, levels_of

MOST_TOLD = 4


def heading(data: SweepData) -> str:
    """Data sets and poison ratios."""
    names = sorted({str(row.get("data.name")) for row in data.rows})
    ratios = sorted({row["poison.ratio"] for row in data.attacked if row.get("poison.ratio")})
    parts = [", ".join(names) or data.folder.name]
    if ratios:
        ends = dict.fromkeys(text(end) for end in (ratios[0], ratios[-1]))
        parts.append(f"poison ratio {' to '.join(ends)}")
    return ", ".join(parts)


def headline(data: SweepData) -> str:
    """How many networks there are, and how many of them succeed."""
    if not data.rows:
        return "No point is finished yet, so there is nothing to judge."
    names = {row["point"] for row in data.rows}
    size = (
        f"{plural(len(data.attacked), 'poisoned network')} of {plural(len(names), 'point')} and "
        f"{plural(len(data.seeds), 'seed')}"
    )
    if not data.attacked:
        return f"{size}: only original models were trained, so there is no backdoor to judge."
    verdicts = [data.success(row) for row in data.attacked]
    sure = sum(verdict is True for verdict in verdicts)
    strong = sum(bool(data.strong(row)) for row in data.attacked)
    asr = f"{data.measured.asr} ≥ {data.rule.asr:g}"
    if data.judged:
        errors = _attack_errors([row for row in data.attacked if data.success(row)])
        return f"{size}: {sure} succeed ({asr}, benign RMSE near the original model’s){errors}."
    errors = _attack_errors([row for row in data.attacked if data.strong(row)])
    judged = f"; {sure} of them are known to be as good on clean inputs" if sure else ""
    return f"{size}: {strong} have learnt the backdoor ({asr}){errors}{judged}."


def unjudged(data: SweepData) -> str:
    """Why learnt networks are not called successes, where no original model tells."""
    if data.judged:
        return ""
    return (
        "A success asks besides for a benign RMSE near that of the original model of the same seed "
        "and settings. Where no such model was trained, this page says what was learnt, and counts "
        "no successes."
    )


def _attack_errors(rows: Sequence[Row]) -> str:
    """Mean recovery of some networks, with the attack RMSE that it comes with."""
    pairs = [
        (row["artefact_recovery"], row["attack_rmse"])
        for row in rows
        if row["artefact_recovery"] is not None and row["attack_rmse"] is not None
    ]
    if not pairs:
        return ""
    recovery, error = np.mean(pairs, axis=0)
    return f", with a mean recovery of {recovery:.2f} and a mean attack RMSE of {error:.3f}"


def state(data: SweepData) -> str:
    """How far the sweep is."""
    counts = [f"{data.states[name]} {name}" for name in STATES if data.states[name]]
    words = f"{plural(len(data.record['points']), 'run')} (points times seeds): "
    waiting = "" if not data.states["waiting"] else "; those under way are among the waiting ones"
    return words + ", ".join(counts or ["none"]) + waiting


def stopped(data: SweepData) -> str:
    """A warning where trainings ended with the transition."""
    if not any(row.get("train.stop") == "transition" for row in data.attacked):
        return ""
    return (
        "Trainings of this sweep stop with the transition: their yardsticks are those just after "
        "it, and not those of a finished network."
    )


def transitions(data: SweepData, axes: Sequence[Axis]) -> list[str]:
    """For each numeric axis, between which levels mean recovery passes the transition, of whom.

    Rows and columns of a place have their map instead.
    """
    found = []
    for axis in (axis for axis in axes if axis.numeric and " " not in axis.key):
        told: dict[str, list[str]] = {}
        for one in over(data, axes, axis):
            told.setdefault(_transition(data, axis, one), []).append(one.label)
        clauses = [f"{where}{_whose(labels)}" for where, labels in told.items()]
        if clauses:
            what = f"Over the {axis.title}, mean recovery passes {data.transition:g}"
            found.append(f"{what} {'; '.join(clauses)}.")
    return found


def _whose(labels: Sequence[str]) -> str:
    shown = [label for label in labels if label][:MOST_TOLD]
    more = f" and {len(labels) - MOST_TOLD} more" if len(labels) > MOST_TOLD else ""
    return f" ({'; '.join(shown)}{more})" if shown else ""


def _transition(data: SweepData, axis: Axis, one: Series) -> str:
    means = {
        level: float(np.mean(values))
        for level, rows in levels_of(axis, one.rows).items()
        if (values := [r["artefact_recovery"] for r in rows if r["artefact_recovery"] is not None])
    }
    levels = list(means)
    above = [means[level] > data.transition for level in levels]
    crossed = [
        f"{text(a)} and {text(b)}"
        for a, b, before, after in zip(levels, levels[1:], above, above[1:], strict=False)
        if before != after
    ]
    if crossed:
        return f"between {', between '.join(crossed)}"
    return f"before {text(levels[0])}" if all(above) else f"nowhere up to {text(levels[-1])}"


def coverage(data: SweepData) -> str:
    """What one seed cannot tell."""
    return "With one seed there is no interval and no test." if len(data.seeds) < 2 else ""
