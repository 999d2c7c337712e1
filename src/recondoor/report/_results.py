"""results.json, checked against its schema and read by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from recondoor.config import row_label
from recondoor.core.errors import ReportError
from recondoor.evaluation import yardsticks
from recondoor.evaluation.statistics import Estimate, SuccessRule
from recondoor.io import seal
from recondoor.records import RESULTS, schema
from recondoor.report._json import read_json
from recondoor.report._names import Measured, in_order

RULES: dict[str, Any] = schema("results")
SETTINGS: dict[str, Any] = RULES["properties"]["config"]


def estimate_of(given: Mapping[str, Any], sign: int = 1) -> Estimate:
    """An entry of the summary, times `sign`."""
    ends = given["ci95"]
    low, high = (None, None) if ends is None else sorted(sign * end for end in ends)
    return Estimate(sign * float(given["mean"]), low, high, int(given["n"]))


@dataclass(frozen=True)
class Results:
    """A view of a results.json that has passed its schema."""

    data: Mapping[str, Any]

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models that have rows, in the order of the report."""
        return in_order(row["model"] for row in self.data["rows"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that have rows, increasing."""
        return tuple(sorted({row["seed"] for row in self.data["rows"]}))

    @property
    def tau(self) -> float:
        """Up to which artefact RMSE a test image counts as a success in `asr`, in `tau_unit`."""
        return float(self._evaluate.get("tau", 0.5))

    @property
    def tau_unit(self) -> str:
        """What tau and `asr_taus` count in; runs from before there was a choice say nothing."""
        return str(self._evaluate.get("tau_unit", "absolute"))

    @property
    def artefact_rms(self) -> float | None:
        """Root mean square of the artefact on its support, by the rows or the hedge line."""
        for row in self.data["rows"]:
            if row.get("artefact_rms"):
                return float(row["artefact_rms"])
        share = 1 - float(self.data["poison_ratio"])
        return float(self.data["hedge"]["artefact_rmse"]) / share if share > 0 else None

    @property
    def measured(self) -> Measured:
        """How the yardsticks were measured."""
        rows = self.data["rows"]
        return Measured.of(
            [(self.tau, self.tau_unit, self.artefact_rms)],
            [row.get("data_range", 1.0) for row in rows],
            [row.get("ssim_window", 11) for row in rows],
        )

    @property
    def rule(self) -> SuccessRule:
        """When a network is a success, by the run's own settings."""
        return SuccessRule.of(self._evaluate)

    @property
    def _evaluate(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.data["config"].get("evaluate", {})
        return found

    def original_of(self, row: Mapping[str, Any]) -> float | None:
        """Benign RMSE of the original model of a row's seed, None where there is none."""
        same = [one for one in self.rows("original") if one["seed"] == row["seed"]]
        return float(same[0]["benign_rmse"]) if same else None

    def success(self, row: Mapping[str, Any]) -> bool | None:
        """Whether a row is a success; None where that cannot be told."""
        recovery, asr = row["artefact_recovery"], row["asr"]
        return self.rule(recovery, asr, row["benign_rmse"], self.original_of(row))

    @property
    def awaited(self) -> list[tuple[str, int]]:
        """(attack, seed) of what the settings ask for and no row holds yet."""
        config = self.data["config"]
        names = config.get("attack", {}).get("names", ())
        seeds = range(config["seed"], config["seed"] + config["seeds"])
        found = {(row["model"], row["seed"]) for row in self.data["rows"]}
        asked = [(row_label(name), seed) for seed in seeds for name in names]
        return [pair for pair in asked if pair not in found]

    def rows(self, label: str) -> list[Mapping[str, Any]]:
        """Rows of one model, by seed."""
        rows = [row for row in self.data["rows"] if row["model"] == label]
        return sorted(rows, key=lambda row: int(row["seed"]))

    def estimate(self, label: str, metric: str) -> Estimate | None:
        """Summary of one yardstick of one model, None where it is undefined.

        What the summary leaves out (times, counts) is the plain mean of the rows, without interval.
        What is infinite in a row has no mean.
        """
        if self.infinite(label, metric):
            return None
        given = self.data["summary"]["models"].get(label, {}).get(metric)
        if given is not None:
            return estimate_of(given)
        values = [row[metric] for row in self.rows(label) if row.get(metric) is not None]
        return Estimate(fmean(values), None, None, len(values)) if values else None

    def infinite(self, label: str, metric: str) -> int:
        """In how many rows of a model a yardstick is infinite, which is null in the file."""
        if not yardsticks.of(metric).unbounded:
            return 0
        return sum(metric in row and row[metric] is None for row in self.rows(label))

    def paired(self, a: str, b: str, metric: str) -> Estimate | None:
        """Difference a - b of a yardstick, seed by seed; turned round if stored as b - a."""
        for given in self.data["summary"]["paired"]:
            if given["metric"] == metric and (given["a"], given["b"]) == (a, b):
                return estimate_of(given)
            if given["metric"] == metric and (given["a"], given["b"]) == (b, a):
                return estimate_of(given, sign=-1)
        return None


def fault_of(data: object, schema: Mapping[str, Any]) -> str | None:
    """What breaks a schema and where, in one line; None if nothing does."""
    error = best_match(Draft202012Validator(schema).iter_errors(data))
    if error is None:
        return None
    where = error.json_path.removeprefix("$").removeprefix(".") or "the top level"
    message = " ".join(error.message.split())
    return f"{where}: {message if len(message) <= 160 else message[:157] + '...'}"


def check_settings(settings: object, name: str) -> None:
    """Refuse settings, a part of them or all, that reports could not quote; raises ReportError."""
    fault = fault_of(settings, SETTINGS | {"required": []})
    if fault is not None:
        raise ReportError(f"{name}: {fault}")


def check(data: object, name: str = "results.json") -> Results:
    """Check a parsed results.json against the schema that ships and return a view of it.

    Raises ReportError naming the member that is wrong, what it holds and what is expected.
    """
    found = data.get("schema") if isinstance(data, Mapping) else None
    if isinstance(found, str) and found != RESULTS:
        raise ReportError(
            f"{name}: schema '{found}' is not '{RESULTS}', which this version reads;\n"
            "report it with the version of recondoor that wrote it, or run the study again"
        )
    fault = fault_of(data, RULES)
    if fault is not None:
        raise ReportError(
            f"{name}: {fault}\nexpected {RESULTS}; run the study again in this folder"
        )
    results = Results(cast(Mapping[str, Any], data))
    _check_consistent(results, name)
    return results


def _check_consistent(results: Results, name: str) -> None:
    """What a schema cannot say: curves as long as their axis, every row in the summary."""
    taus = len(results.data["asr_taus"])
    seen: set[tuple[str, int]] = set()
    for i, row in enumerate(results.data["rows"]):
        key = (row["model"], row["seed"])
        if len(row["asr_curve"]) not in (0, taus):
            raise ReportError(
                f"{name}: rows[{i}].asr_curve has {len(row['asr_curve'])} values, "
                f"asr_taus has {taus}; they must match"
            )
        if row["model"] not in results.data["summary"]["models"]:
            raise ReportError(f"{name}: rows[{i}]: model '{row['model']}' is not in the summary")
        if key in seen:
            raise ReportError(f"{name}: rows[{i}]: a second row for {key[0]}, seed {key[1]}")
        seen.add(key)


def read(path: Path) -> Results:
    """Read and check a results.json.

    Raises ReportError if it cannot be read, is against its schema or is not as it was written.
    """
    results = check(read_json(path), str(path))
    if (fault := seal.fault(results.data)) is not None:
        raise ReportError(f"{path}: {fault}; restore it, or run the study again")
    return results
