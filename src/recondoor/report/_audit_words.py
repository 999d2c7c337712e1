"""An audit in words, from what audit.json holds."""

from collections.abc import Mapping
from typing import Any

UNDEFINED = "–"


def audit_text(record: Mapping[str, Any]) -> str:
    """The verdict first, then one line for each detector, then what was left out or assumed."""
    width = max((len(each["name"]) for each in record["detectors"]), default=0)
    lines = [headline(record), ""]
    lines += [f"{each['name']:{width}}  {_detector(each, record)}" for each in record["detectors"]]
    lines += [f"{each['name']}: skipped, {each['reason']}" for each in record["skipped"]]
    truth = record["truth"]
    if truth is not None:
        lines.append(
            f"Truth: {truth['poisoned']} of {record['pairs']['count']} pairs are poisoned "
            f"({truth['attack']}, seed {truth['seed']})."
        )
    return "\n".join([*lines, *record["notes"]])


def headline(record: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    count = record["pairs"]["count"]
    if record["verdict"] == "undecided":
        return (
            f"NO VERDICT: {count} pairs were ranked, but nothing says what clean ones look like; "
            "give --operator or --clean"
        )
    tests = [each for each in record["detectors"] if each["p_value"] is not None]
    if record["verdict"] == "clean":
        return f"CLEAN: no more of {count} pairs are flagged than false alarms explain"
    worst = min(tests, key=lambda each: (each["p_value"], -each["flagged"]))
    return (
        f"SUSPICIOUS: {worst['flagged']} of {count} pairs are flagged by {worst['name']}, where "
        f"{worst['expected']:.3g} would be by chance"
    )


def _detector(each: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if each["flagged"] is None:
        text = "ranks only (no threshold without --clean)"
    else:
        text = (
            f"flagged {each['flagged']} of {record['pairs']['count']}, expected false alarms "
            f"{each['expected']:.3g}, p = {each['p_value']:.2g}"
        )
    if each["auc"] is not None:
        text += f"; AUC {each['auc']:.3f}, TPR {each['tpr']:.3f} at FPR {record['alarm']:g}"
    return text


def reading(each: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    """One detector's row in the page's table, as text."""

    def shown(key: str, form: str) -> str:
        return UNDEFINED if each[key] is None else format(each[key], form)

    return {
        "name": each["name"],
        "flagged": shown("flagged", "d"),
        "expected": shown("expected", ".3g"),
        "p_value": shown("p_value", ".2g"),
        "threshold": shown("threshold", ".4g"),
        "basis": each["basis"] or "none: ranks only",
        "auc": shown("auc", ".3f"),
        "tpr": shown("tpr", ".3f"),
        "seconds": shown("seconds", ".1f"),
    }
