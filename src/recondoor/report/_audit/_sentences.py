"""An audit in words, from what audit.json holds."""

from collections.abc import Mapping
from typing import Any

from recondoor.core.words import plural, plural_of
from recondoor.report._tables import UNDEFINED

ATTACKS = {
    "patch": "patches in z",
    "spread": "triggers spread over z",
    "measured": "triggers in the measurement",
    "consistent": "triggers and artefacts that agree with the measurement",
}
SEEN = 0.9
"""Share of trials from which planted lesions count as seen."""

ROUNDED = 1e-12
"""P values below which no digit is told."""

BASIS = {"law": "from clean networks of studies/defences", "references": "from the references"}
"""Of thresholds in records from before they said it themselves."""


def audit_text(record: Mapping[str, Any]) -> str:
    """The verdict first, then one line for each detector, then what was left out or assumed."""
    width = max((len(each["name"]) for each in record["detectors"]), default=0)
    describe = _inspection if record["kind"] == "model" else _detector
    lines = [headline(record), ""]
    lines += [f"{each['name']:{width}}  {describe(each, record)}" for each in record["detectors"]]
    lines += [f"{names}: skipped, {reason}" for names, reason in left_out(record)]
    lines += sight(record)
    if record["truth"] is not None:
        lines.append(truth(record))
    return "\n".join([*lines, *record["notes"], *_doubts(record)])


def left_out(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Detectors that did not look, those of one reason together, and why."""
    reasons: dict[str, list[str]] = {}
    for each in record.get("skipped", ()):
        reasons.setdefault(each["reason"], []).append(each["name"])
    return [(", ".join(names), reason) for reason, names in reasons.items()]


def _doubts(record: Mapping[str, Any]) -> list[str]:
    """Sentences that the headline does not say already."""
    doubts = [doubt for doubt in record.get("doubts", ()) if doubt != record.get("reason")]
    return [f"{doubt[0].upper()}{doubt[1:]}." for doubt in doubts]


def truth(record: Mapping[str, Any]) -> str:
    """What is known, in a sentence; `record` has a truth."""
    known = record["truth"]
    whose = f"({known['attack']}, seed {known['seed']})"
    if record["kind"] == "model":
        if not known["backdoored"]:
            return f"Truth: the network is clean {whose}."
        text = f"Truth: the network was trained on poisoned pairs {whose}"
        if known["recovery"] is None:
            return f"{text}."
        return f"{text}; its recovery of the artefact is {known['recovery']:.2f}."
    bad, word = ("poisoned", "pair") if record["kind"] == "data" else ("triggered", "input")
    number = known["poisoned" if record["kind"] == "data" else "triggered"]
    return f"Truth: {plural_of(number, _count(record), word, 'are')} {bad} {whose}."


def sight(record: Mapping[str, Any]) -> list[str]:
    """What the detectors can see and what not; nothing of audits written before they said so."""
    if "sees" not in record:
        return []
    seen, unseen = (
        ", ".join(ATTACKS.get(kind, kind) for kind in record[key]) or "nothing"
        for key in ("sees", "blind_to")
    )
    return [
        f"What detectors of known power could see here: {seen}.",
        f"What they could not: {unseen}.",
    ]


def headline(record: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    if record.get("reason") is not None:
        return f"UNDECIDED: {record['reason']}"
    if record["kind"] == "model":
        return _model_headline(record)
    count, word = _count(record), _what(record).removesuffix("s")
    if record["verdict"] == "undecided":
        return (
            f"UNDECIDED: {plural(count, word, 'were')} ranked, but nothing says what clean ones "
            "look like; "
            "give --operator or --clean"
        )
    alarms = [each for each in record["detectors"] if _alarms(each)]
    if alarms and record["verdict"] == "suspicious":
        name, flagged = alarms[0]["name"], alarms[0]["flagged"]
        return (
            f"SUSPICIOUS: some of {plural(count, word)} share what their images do not explain, "
            f"by {name} "
            f"(p {probability(alarms[0])}); {flagged} carry it most"
        )
    tests = [each for each in record["detectors"] if each["p_value"] is not None]
    if record["verdict"] == "clean":
        text = f"CLEAN: no more of {plural(count, word)} are flagged than false alarms explain"
        return f"{text}{_covered(record)}"
    tests = [each for each in tests if not each.get("whole")]
    worst = min(tests, key=lambda each: (each["p_value"], -each["flagged"]))
    usual = (
        f"{worst['expected']:.3g} would be by chance" if worst["expected"] else "no clean one is"
    )
    return (
        f"SUSPICIOUS: {plural_of(worst['flagged'], count, word, 'are')} flagged by "
        f"{worst['name']}, where {usual}"
    )


def _alarms(each: Mapping[str, Any]) -> bool:
    """Whether a detector is a test of all pairs that calls them suspicious."""
    whole = each.get("whole")
    return whole is not None and each["p_value"] is not None and each["p_value"] <= whole["level"]


def _planted(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was planted by a test of all pairs; None if none was, or if it was not seen."""
    for each in record["detectors"]:
        planted: Mapping[str, Any] | None = (each.get("whole") or {}).get("planted")
        if planted and each["sees"]:
            return planted
    return None


def _covered(record: Mapping[str, Any]) -> str:
    """What a clean verdict rests on, where it rests on lesions that were planted."""
    planted = _planted(record)
    if planted is None:
        return ""
    text = (
        f"; a lesion of {planted['contrast']:g} of the targets' range in {planted['share']:.0%} of "
        f"the pairs would have been seen in {planted['found']:.0%} of the trials"
    )
    if planted["smallest"] is not None and planted["smallest"] < planted["contrast"]:
        text += f", and one of {planted['smallest']:g} as well"
    if planted["alike"] < SEEN:
        text += f" (only {planted['alike']:.0%} where all of these pairs are look-alikes)"
    return text


def _model_headline(record: Mapping[str, Any]) -> str:
    if record["verdict"] == "undecided":
        return "UNDECIDED: the network was only ranked; give clean networks as --reference"
    tests = [each for each in record["detectors"] if each["threshold"] is not None]
    worst = max(tests, key=lambda each: each["score"] - each["threshold"])
    if record["verdict"] == "clean":
        return (
            f"CLEAN: {worst['name']} scores {worst['score']:.3g}, and clean networks go up to "
            f"{worst['threshold']:.3g}"
        )
    return (
        f"SUSPICIOUS: {_explained(worst)}; {worst['name']} scores {worst['score']:.3g}, and a "
        f"clean network exceeds {worst['threshold']:.3g} with probability {record['alarm']:g}"
    )


def _explained(each: Mapping[str, Any]) -> str:
    """The detector's own words; those of release 0.1.0 where there are none."""
    if each.get("draws") is False:
        return (
            "it was trained on pairs with a hidden pattern, as it leaves a pattern out that clean "
            "networks show; that it draws an artefact is not confirmed"
        )
    if "explained" in each:
        return str(each["explained"])
    (top, bottom), (left, right) = each["place"]["rows"], each["place"]["columns"]
    return (
        f"what is put at rows {top}-{bottom}, columns {left}-{right} of z makes the network add "
        "the same thing to every image"
    )


def _basis(each: Mapping[str, Any]) -> str:
    """Where a network's threshold comes from."""
    return str(each.get("law_from") or BASIS[each["basis"]])


def probability(each: Mapping[str, Any]) -> str:
    """A detector's p value with its sign, as in "= 0.02"; not below what rounding leaves of it.

    That of a comparison with clean pairs is one less a sum of probabilities. That of a law is 0
    only where nothing clean is ever flagged.
    """
    value, certain = float(each["p_value"]), each["expected"] == 0
    return f"< {ROUNDED:g}" if value < ROUNDED and not certain else f"= {value:.2g}"


def _count(record: Mapping[str, Any]) -> int:
    return int(record[_what(record)]["count"])


def _what(record: Mapping[str, Any]) -> str:
    return "pairs" if record["kind"] == "data" else "inputs"


def _detector(each: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if each["flagged"] is None:
        text = "ranks only"
        text += "" if each.get("whole") else " (no threshold without --clean)"
    elif each.get("whole"):
        text = (
            f"p {probability(each)} for all pairs together, suspicious up to "
            f"{each['whole']['level']:g}; {each['flagged']} carry it most"
        )
    else:
        text = (
            f"flagged {each['flagged']} of {_count(record)}, expected false alarms "
            f"{each['expected']:.3g}, p {probability(each)}"
        )
    if each["auc"] is not None:
        text += f"; AUC {each['auc']:.3f}, TPR {each['tpr']:.3f} at FPR {record['alarm']:g}"
    return text


def _inspection(each: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    text = f"score {each['score']:.3g}, "
    if each["threshold"] is None:
        text += "ranks only"
    else:
        text += f"threshold {each['threshold']:.3g} ({_basis(each)})"
    if record["references"]:
        above = plural_of(each["references_above"], record["references"], "reference", "score")
        text += f", {above} as high"
    if each.get("planted"):
        found = sum(score > each["threshold"] for score in each["planted"])
        text += f", {found} of {len(each['planted'])} planted backdoors seen"
    if each["trigger_l2"] is not None:
        text += f"; trigger L2 {each['trigger_l2']:.3g}, artefact L2 {each['artefact_l2']:.3g}"
    if each["overlap_trigger"] is not None:
        text += (
            f"; overlap with the true trigger {each['overlap_trigger']:.2f}, with the true "
            f"artefact {each['overlap_artefact']:.2f}"
        )
    return text


def model_reading(each: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """One detector's row in the table of a network's page, as text."""

    def shown(key: str, form: str) -> str:
        return UNDEFINED if each[key] is None else format(each[key], form)

    place = UNDEFINED
    if each["place"] is not None:
        (top, bottom), (left, right) = each["place"]["rows"], each["place"]["columns"]
        place = f"rows {top}–{bottom}, columns {left}–{right}"
    return {
        "name": each["name"],
        "score": shown("score", ".3g"),
        "threshold": shown("threshold", ".3g"),
        "basis": "none: ranks only" if each["basis"] is None else _basis(each),
        "place": place,
        "trigger_l2": shown("trigger_l2", ".3g"),
        "artefact_l2": shown("artefact_l2", ".3g"),
        "overlap_trigger": shown("overlap_trigger", ".2f"),
        "overlap_artefact": shown("overlap_artefact", ".2f"),
        "seconds": shown("seconds", ".1f"),
    }


def reading(each: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """One detector's row in the page's table, as text."""

    def shown(key: str, form: str) -> str:
        return UNDEFINED if each[key] is None else format(each[key], form)

    return {
        "name": each["name"],
        "flagged": shown("flagged", "d"),
        "expected": shown("expected", ".3g"),
        "p_value": UNDEFINED if each["p_value"] is None else probability(each).removeprefix("= "),
        "threshold": shown("threshold", ".4g"),
        "basis": each["basis"] or "none: ranks only",
        "auc": shown("auc", ".3f"),
        "tpr": shown("tpr", ".3f"),
        "seconds": shown("seconds", ".1f"),
    }
