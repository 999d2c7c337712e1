"""Mending a network: repair it with a few trusted pairs, and measure what that did on others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recondoor import caller, config, defences, metrics, registry, rundir, seeding
from recondoor.audit._data import take_apart
from recondoor.audit._judgement import choose
from recondoor.audit._model import Truth, truth_of
from recondoor.audit._network_file import Network
from recondoor.audit._pairs import Given
from recondoor.audit._probe import lacking
from recondoor.audit._record import describe_provenance
from recondoor.audit._references import FEWEST
from recondoor.audit._subject import Subject, read_subject, read_trusted
from recondoor.defences import Defender
from recondoor.errors import ConfigError, DataError, RunError
from recondoor.models import reconstruct
from recondoor.poisoning import Pairs
from recondoor.progress import NO_PROGRESS, Progress

SCHEMA = "recondoor.clean/1"
INVERSION = "trigger-inversion"

SHARE = 0.05
"""Share of the trusted pairs that a repair may use unless told otherwise."""

ALARM, GROWTH = 0.05, 1.1
"""Rate at which clean networks are taken for backdoored, and growth of the error worth a word."""


@dataclass(frozen=True)
class MendRequest:
    """What network is to be repaired, and how.

    Args:
        subject: the network and what is trusted.
        method: a defence of kind "repair".
        fraction: share of the trusted pairs that the repair may use, in (0, 1): of a file the
            others measure what it did, of a run its test pairs do. None for `SHARE`, or `FEWEST`
            pairs where those are more.
    """

    subject: Subject
    method: str = "trigger-unlearning"
    fraction: float | None = None


@dataclass(frozen=True)
class Mended:
    """The repaired network, (yardstick, before, after) rows, and what to be wary of."""

    request: MendRequest
    network: Network
    model: nn.Module
    used: int
    held_out: int
    rows: list[tuple[str, float, float]]
    notes: list[str]


@caller.afresh()
def mend(request: MendRequest, progress: Progress = NO_PROGRESS) -> Mended:
    """Repair a network.

    Raises:
        ConfigError: an unknown method, a fraction out of range, no trusted data, a repair that
            needs the operator where none is given.
        DataError: a network or pairs that cannot be read, or too few pairs.
    """
    (method,) = choose((request.method,), "repair", "--method")
    network, given = read_subject(request.subject, progress, "train")
    for name, why in lacking((method, INVERSION), network.lacks).items():
        raise DataError(f"'{network.name}' cannot be repaired with {name}: {why}")
    used, others = _split(given, request.fraction)
    data = request.subject.data
    if data is None or (isinstance(data, Path) and data.is_dir()):
        others = read_trusted(request.subject, progress, "test").pairs
    physics, missing = take_apart(given, given.pairs, [])
    if missing is not None and "physics" in defences.load(method).needs:
        raise ConfigError(f"--method: {method} needs the operator, but {missing}")
    defender = Defender(used, physics, network.model, seed=given.seed, progress=progress)
    repair = defences.repair(method)
    with registry.told(repair, f"--method: '{method}'"):
        model = repair.repair(defender).eval()
    rows = _compare(network, model, defender, others, given)
    notes = [
        *network.notes,
        *given.notes,
        *_notes(rows, defences.network_detector(INVERSION).law(defender, ALARM)),
    ]
    return Mended(request, network, model, len(used), len(others), rows, notes)


def _notes(rows: list[tuple[str, float, float]], limit: float | None) -> list[str]:
    notes = []
    (_, *benign), (_, score, _) = rows[:2]  # what `_compare` tells first
    if limit is not None and score <= limit:
        notes.append(
            f"The trigger recovered is none by its score ({score:.3g}, clean networks go up to "
            f"{limit:.3g}): there may be no backdoor, or one that inversion does not find."
        )
    if benign[1] > GROWTH * benign[0]:
        notes.append(
            f"The benign error grew by {benign[1] / benign[0] - 1:.0%}: try another --method, such "
            "as fine-pruning, or more clean pairs."
        )
    return notes


def _split(given: Given, fraction: float | None) -> tuple[Pairs, Pairs]:
    """Pairs to repair with, drawn by the seed, and the others."""
    if fraction is not None and not 0 < fraction < 1:
        raise ConfigError(f"--fraction: {fraction} given; expected a share between 0 and 1")
    pairs, total = given.pairs, len(given.pairs)
    count = max(FEWEST, round(SHARE * total)) if fraction is None else round(fraction * total)
    if count < FEWEST or total - count < 1:
        raise ConfigError(
            f"--fraction: {count} of {total} clean pairs; a repair needs {FEWEST} or more, and "
            "some to measure it by: raise it or give more --data"
        )
    order = torch.randperm(total, generator=seeding.torch_generator(given.seed, "trusted"))
    used, others = order[:count], order[count:]
    return Pairs(pairs.z[used], pairs.x[used]), Pairs(pairs.z[others], pairs.x[others])


def _compare(
    network: Network, model: nn.Module, defender: Defender, others: Pairs, given: Given
) -> list[tuple[str, float, float]]:
    """Benign error; how suspicious it is; recovery by the trigger found; what the true one does."""
    inversion = defences.network_detector(INVERSION)
    found = inversion.inspect(defender)
    again = inversion.inspect(
        Defender(defender.clean, model=model, seed=defender.seed, progress=defender.progress)
    )
    patterns: dict[str, tuple[Tensor, Tensor]] = {}
    if found.trigger is not None and found.counted is not None:
        patterns["recovery by the recovered trigger"] = found.trigger, found.counted
    truth = truth_of(network)
    if truth is not None and truth.trigger is not None and truth.artefact is not None:
        patterns["recovery by the true trigger"] = truth.trigger, truth.artefact
    both = network.model, model
    benign = [
        metrics.root_mean(metrics.mse(reconstruct(each, others.z), others.x)) for each in both
    ]
    rows: list[tuple[str, float, float]] = [
        ("benign RMSE", benign[0], benign[1]),
        (f"{INVERSION} score", found.score, again.score),
    ]
    planted = None if truth is None else _planted(network, truth, given)
    if truth is not None and truth.trigger is not None and planted is not None:
        attacked = [_attack_rmse(each, others, truth.trigger, planted) for each in both]
        rows.append(("attack RMSE by the true trigger", attacked[0], attacked[1]))
    for name, (trigger, artefact) in patterns.items():
        if not bool(artefact.any()):
            continue  # inversion found nothing that the network adds
        before, after = (_recovery(each, others.z, trigger, artefact) for each in both)
        rows.append((name, before, after))
    return rows


def _planted(network: Network, truth: Truth, given: Given) -> Tensor | None:
    """What the targets of poisoned pairs have besides x, (C, H, W); None where nothing tells.

    Where targets show the trigger (`artefact.space`), that takes the operator.
    """
    if network.run is None or truth.trigger is None or truth.artefact is None:
        return None
    # Compared, not followed: no path that they name is opened here.
    settings = rundir.settings(network.run[0], trusted_paths=True)
    if not settings.artefact.space.startswith("consistent"):
        return truth.artefact
    if given.operator is None:
        return None
    inside = given.operator.project_range(truth.trigger.double()[None])
    return truth.artefact + given.operator.solve_normal(inside)[0].to(truth.artefact)


def _attack_rmse(model: nn.Module, pairs: Pairs, trigger: Tensor, planted: Tensor) -> float:
    """By its definition in `metrics`: of f(z + delta) against x + Delta."""
    triggered = reconstruct(model, pairs.z + trigger)
    return metrics.root_mean(metrics.mse(triggered, pairs.x, planted))


def _recovery(model: nn.Module, z: Tensor, trigger: Tensor, artefact: Tensor) -> float:
    triggered, clean = reconstruct(model, z + trigger), reconstruct(model, z)
    return metrics.mean(metrics.artefact_recovery(triggered, clean, artefact))


def require_new(out: Path, force: bool) -> None:
    """Refuse to write over a file, unless `force`; raises RunError or ConfigError."""
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out: '{out}' given; expected a name that ends in .safetensors")
    rundir.require_place(out.parent)
    for path in (out, out.with_suffix(".json")):
        if path.exists() and not force:
            raise RunError(f"{path}: is there already; give --force, or choose another --out")


def mended_record(mended: Mended, weights: str, command: str) -> dict[str, Any]:
    """The content of the JSON file beside `weights`."""
    return {
        "schema": SCHEMA,
        "network": mended.network.name,
        "method": mended.request.method,
        "clean_pairs": mended.used,
        "held_out": mended.held_out,
        "rows": [
            {"yardstick": name, "before": before, "after": after}
            for name, before, after in mended.rows
        ],
        "notes": mended.notes,
        "weights": weights,
        "provenance": describe_provenance(command),
    }


def write_mended(mended: Mended, out: Path, command: str) -> dict[str, Any]:
    """Write the weights, with the settings that read them again, and a JSON file beside them."""
    settings = mended.network.settings
    own = {} if settings is None else config.recorded_section(settings)
    arrays = {key: value.detach().cpu().numpy() for key, value in mended.model.state_dict().items()}
    record = mended_record(mended, out.name, command)
    was_there = out.exists()
    try:
        rundir.write_tensors(out, arrays, {"model": own, "method": mended.request.method})
        rundir.write_json(out.with_suffix(".json"), record)
    except RunError as error:
        if not was_there:
            out.unlink(missing_ok=True)  # so that the same command is not refused
        if not isinstance(error.__cause__, OSError):
            raise
        raise rundir.explain(error.__cause__, out, again="it begins anew") from error
    return record


def mended_text(record: dict[str, Any]) -> str:
    """The table before and after, as text."""
    head = (
        f"{record['method']} with {record['clean_pairs']} trusted pairs, measured on "
        f"{record['held_out']} others\n\n{'':34}  before   after"
    )
    rows = [
        f"{row['yardstick']:34}  {row['before']:6.3f}  {row['after']:6.3f}"
        for row in record["rows"]
    ]
    return "\n".join([head, *rows, *record["notes"]])
