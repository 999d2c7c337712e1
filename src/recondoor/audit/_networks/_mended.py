"""What a repair leaves behind: the weights, a JSON file beside them, and the table as text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recondoor import config, rundir
from recondoor.audit._networks._adapters import own
from recondoor.audit._networks._repair import Mended
from recondoor.audit._record import describe_provenance
from recondoor.core.errors import ConfigError, RunError
from recondoor.core.words import plural
from recondoor.rundir import Arrays

SCHEMA = "recondoor.clean/1"
NOTHING = "No trigger found, nothing changed"

Record = dict[str, Any]


def require_new(out: Path, force: bool) -> None:
    """Refuse to write over a file, unless `force`; raises RunError or ConfigError."""
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out: '{out}' given; expected a name that ends in .safetensors")
    rundir.require_place(out.parent)
    for path in (out, out.with_suffix(".json"), out.with_suffix(".html")):
        if path.exists() and not force:
            raise RunError(f"{path}: is there already; give --force, or choose another --out")


def mended_record(mended: Mended, weights: str, command: str) -> Record:
    """The content of the JSON file beside `weights`."""
    return {
        "schema": SCHEMA,
        "network": mended.network.name,
        "changed": mended.chosen is not None,
        "method": None if mended.chosen is None else mended.chosen.method,
        "worst": mended.request.worst,
        "tried": [
            {"method": each.method, "benign_rmse": each.benign, "recovery": each.recovery}
            for each in mended.tried
        ],
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


def write_mended(
    mended: Mended, out: Path, command: str, page: Callable[[Record, Arrays], bytes]
) -> Record:
    """Write the weights, with the settings that read them again; a JSON file and a page beside.

    Args:
        mended: a repair that changed something.
        out: file of the weights.
        command: what the record says that it was made by.
        page: makes the page of the record and the pictures.

    Raises:
        RunError: nothing was changed, or a file cannot be written.
    """
    if mended.chosen is None:
        raise RunError(f"{out}: nothing was changed, so that there are no weights to write")
    settings = mended.network.settings
    section = {} if settings is None else config.recorded_section(settings)
    arrays = {
        key: value.detach().cpu().numpy() for key, value in own(mended.model).state_dict().items()
    }
    record = mended_record(mended, out.name, command)
    pictures = {name: value.cpu().numpy() for name, value in mended.pictures.items()}
    meta = {
        "model": section,
        "method": mended.chosen.method,
        "shape": list(mended.pictures["z"].shape[1:]),
    }
    was_there = out.exists()
    try:
        rundir.write_tensors(out, arrays, meta)
        rundir.write_json(out.with_suffix(".json"), record)
        rundir.write_atomically(out.with_suffix(".html"), page(record, pictures))
    except RunError as error:
        if not was_there:
            out.unlink(missing_ok=True)  # so that the same command is not refused
        if not isinstance(error.__cause__, OSError):
            raise
        raise rundir.explain(error.__cause__, out, again="it begins anew") from error
    return record


def mended_text(record: Record) -> str:
    """What was changed, a table before and after, and all that was tried, as text."""
    pairs = plural(record["clean_pairs"], "trusted pair")
    pairs += f", measured on {plural(record['held_out'], 'other')}"
    if not record["changed"]:
        head = ["No repair kept, nothing changed" if record["tried"] else NOTHING]
    else:
        head = [f"{record['method']} with {pairs}", "", f"{'':34}  before   after"]
        head += [
            f"{row['yardstick']:34}  {row['before']:6.3f}  {row['after']:6.3f}"
            for row in record["rows"]
        ]
    if len(record["tried"]) > 1 or (record["tried"] and not record["changed"]):
        head += ["", f"{'tried':20}  benign RMSE  recovery left"]
        head += [
            f"{each['method']:20}  {each['benign_rmse']:11.4g}  {_number(each['recovery']):>13}"
            for each in record["tried"]
        ]
    return "\n".join([*head, *record["notes"]])


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
