"""Write the table of docs/results.md from the schema: python docs/generate_results.py."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("results.md")
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"

# What the schema does not say itself. Yardsticks are defined in notation.md.
MEANINGS = {
    "config.seed": "first root seed",
    "config.evaluate.tau_unit": "`rms` or `absolute`: what tau and `asr_taus` count in",
    "config.seeds": "number of root seeds asked for by the last command that computed something",
    "provenance": "with what, where and from which data",
    "provenance.patterns": "SHA-256 of trigger and artefact as drawn or read from their files",
    "provenance.versions": "package -> version, and `python`",
    "provenance.hardware": "`processor`, `cores` (usable), `memory_gib`, `machine`, `system`, and "
    "`gpu` where one was used",
    "provenance.threads": "CPU threads of torch when the run began",
    "provenance.seeds": "seeds that have rows",
    "provenance.data": "what the images are",
    "provenance.data.name": "name of the data set, or of the file or folder",
    "provenance.data.fingerprint": "SHA-256 of the images before splitting",
    "provenance.data.train": "number of training images",
    "provenance.data.validation": "number of validation images",
    "provenance.data.test": "number of test images",
    "provenance.git": "null where the package is not run from a git checkout",
    "provenance.git.commit": "commit checked out when the run began",
    "provenance.git.dirty": "whether tracked files differed from it",
    "provenance.command": "command that began the run",
    "provenance.started": "when the run began, UTC",
    "provenance.finished": "when results.json was last written, UTC; null before the first row",
    "rows[].model": "row label: `original`, `heuristic`, `bilevel`, `random`, or an added attack",
    "rows[].seed": "root seed",
    "rows[].benign_rmse": "benign RMSE",
    "rows[].attack_rmse": "attack RMSE",
    "rows[].artefact_rmse": "artefact RMSE; also for the original model, which Table 1 shows as NA",
    "rows[].artefact_recovery": "artefact recovery",
    "rows[].ghost": "ghost",
    "rows[].asr": "attack success rate at `config.evaluate.tau`, in `config.evaluate.tau_unit`",
    "rows[].asr_curve": "attack success rate at each of `asr_taus`",
    "rows[].psnr": "mean over images of the PSNR of benign reconstructions, dB; null where it is "
    "infinite, because an image is reconstructed exactly",
    "rows[].ssim": "mean over images of the SSIM of benign reconstructions",
    "rows[].artefact_rms": "root mean square of the artefact on its support; absent in runs of "
    "release 0.1.0, as are the next two",
    "rows[].data_range": "range of pixel values in PSNR and SSIM: 1 for images within [0, 1]",
    "rows[].ssim_window": "side of the window of SSIM: 11, or less where the images are smaller",
    "rows[].trigger_l2": "L2 of the trigger used in the test",
    "rows[].trigger_linf": "its largest magnitude",
    "rows[].trigger_psnr": "its PSNR in z, dB; null where it is infinite",
    "rows[].validation_loss": "validation loss of the epoch whose weights were kept",
    "rows[].selection_loss": "selection loss of that epoch",
    "rows[].detectability": "d' of the trigger against clean z, in standard deviations "
    "([theory](theory.md)); null where it is infinite because the trigger leaves range(A_adjoint)",
    "rows[].range_share": "share of the trigger's energy outside range(A_adjoint)",
    "rows[].limit_ghost": "ghost of the predictor of least squared error, in Gaussian z",
    "rows[].limit_artefact_rmse": "its artefact RMSE, reconstruction errors not counted",
    "rows[].limit_attack_rmse": "its attack RMSE, reconstruction errors not counted",
    "rows[].transition_samples": "training images seen when the artefact recovery first reached "
    "`config.evaluate.transition`, linear between validations; null if it never did, and for the "
    "original model",
    "rows[].samples": "training images seen in all epochs",
    "rows[].epochs": "epochs trained, those after the best one included",
    "rows[].samples_per_s": "training images a second, validation not counted",
    "rows[].seconds": "time of the training steps plus that of finding the trigger; validation, "
    "evaluation and report not counted",
    "summary.models.*": "row label -> estimates",
    "summary.models.*.*": "estimate of one yardstick",
    "summary.models.*.*.mean": "mean over seeds",
    "summary.paired[].a": "first row label",
    "summary.paired[].b": "second row label",
    "summary.paired[].metric": "key of the yardstick, as in `rows`",
    "summary.paired[].n": "number of seeds that both have",
    "ratios[].ratio": "candidate p",
    "ratios[].validation_loss": "of the heuristic attack, mean over seeds",
    "ratios[].selection_loss": "of the heuristic attack, mean over seeds; the least one is chosen",
    "ratios[].benign_rmse": "of the heuristic attack on the test set, mean over seeds",
    "ratios[].attack_rmse": "likewise",
    "ratios[].artefact_recovery": "likewise",
    "ratios[].ghost": "likewise",
    "ratios[].chosen": "whether the study was run at this p",
    # Written, but not named by the schema: other writers need not give them.
    "identity": "hash of the settings that names the run, 12 hex digits",
    "provenance.identity": "the same",
    "provenance.device": "`cpu` or `cuda`",
    "provenance.parameters": "trainable parameters of the network",
    "provenance.data.shape": "[C, H, W] of an image",
}
# Where the schema's own words are about the format and not about what is written.
MEANINGS["ratios"] = "only after `--ratios`: what each candidate scored"
PREFERRED = {"ratios"}


@dataclass(frozen=True)
class Member:
    """One line of the table."""

    path: str
    type: str
    required: str
    meaning: str


def resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference followed; of a choice the part that is not null, as "or null"."""
    name = node.get("$ref", "").rpartition("/")[2]
    node = {**definitions.get(name, {}), **node}
    if "anyOf" not in node:
        return node
    options = [resolved(option, definitions) for option in node["anyOf"]]
    (chosen,) = (option for option in options if option["type"] != "null")
    return {**chosen, **node, "type": [chosen["type"], "null"]}


def type_name(node: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Type of a resolved node in words."""
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    types = [node["type"]] if isinstance(node["type"], str) else list(node["type"])
    if types[0] == "array":
        types[0] = f"array of {type_name(resolved(node['items'], definitions), definitions)}"
    return " or ".join(types)


def members(
    node: dict[str, Any], definitions: dict[str, Any], path: str = "", required: str = "yes"
) -> Iterator[Member]:
    """Every member of a schema, in its order; `*` stands for any key, `[]` for every item."""
    node = resolved(node, definitions)
    if path and not path.endswith("[]"):
        meaning = "" if path in PREFERRED else node.get("description", "")
        meaning = meaning.removesuffix(".") or MEANINGS.get(path, "")
        yield Member(path, type_name(node, definitions), required, meaning)
    below = f"{path}." if path else ""
    for key, child in node.get("properties", {}).items():
        need = "yes" if key in node.get("required", ()) else "no"
        yield from members(child, definitions, f"{below}{key}", need)
    if isinstance(node.get("additionalProperties"), dict):
        yield from members(node["additionalProperties"], definitions, f"{below}*", "no")
    if "items" in node:
        yield from members(node["items"], definitions, f"{path}[]")


def documented() -> list[Member]:
    """All members: those of the schema that ships, then what is written besides."""
    text = resources.files("recondoor").joinpath("schemas", "results.schema.json").read_text()
    schema = json.loads(text)
    # Settings have a page of their own; the schema names those that a report reads.
    found = [
        member
        for member in members(schema, schema["$defs"])
        if not member.path.startswith("config.") or member.path in MEANINGS
    ]
    known = {member.path for member in found}
    return found + [
        Member(path, "", "not in the schema", meaning)
        for path, meaning in MEANINGS.items()
        if path not in known
    ]


def table() -> str:
    """The table of all members."""
    lines = ["| member | type | required | meaning |", "|---|---|---|---|"]
    for member in documented():
        words = member.meaning.replace("|", "\\|")
        lines.append(f"| `{member.path}` | {member.type} | {member.required} | {words} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page `text` with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
