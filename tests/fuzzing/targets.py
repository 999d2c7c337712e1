"""What is fuzzed: a function that writes a valid file, and the public entry that reads it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import forge, mutate
from fuzzing.mutate import Random

Mutator = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: of the target.
        write: puts valid files into an empty folder.
        read: reads them through the public entry.
        share: inputs of this target, as a share of all.
        damaged: suffixes of the files that are damaged; the others stay valid.
        makes: patterns of the files that `read` may make in that folder.
        patience: seconds after which an input counts as a hang.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    share: float
    damaged: tuple[str, ...]
    makes: tuple[str, ...] = ()
    patience: float = 5.0


# Beside damage to bytes, which every kind of file gets.
MUTATORS: dict[str, tuple[Mutator, ...]] = {
    ".toml": (mutate.retoken,) * 5,
    ".txt": (mutate.retoken,) * 5,
    ".json": (mutate.json_tree, mutate.json_tree, mutate.json_tree, mutate.retoken),
    ".jsonl": (mutate.json_line, mutate.json_line, mutate.retoken),
    ".npy": (forge.npy_head, forge.npy_head, forge.npy_values, forge.npy_values, forge.npy_pickle),
    ".npz": (forge.npz,) * 5 + (forge.npz_sizes, forge.npz_bomb),
    ".png": (forge.png,) * 3,
    ".safetensors": (forge.safetensors,) * 3,
    ".onnx": (),
    ".parquet": (forge.parquet,) * 5,
    ".h5": (forge.h5,) * 3,
    "": (forge.idx,) * 2,
}


def mutated(files: dict[str, bytes], target: Target, random: Random) -> dict[str, bytes]:
    """Valid files, of which one is damaged."""
    names = [name for name in sorted(files) if Path(name).suffix in target.damaged]
    name = mutate.pick(random, names)
    makers = (mutate.damage, *MUTATORS[Path(name).suffix])
    try:
        changed = mutate.pick(random, makers)(files[name], random)
    except (ValueError, TypeError, OverflowError, OSError, RuntimeError):
        # What cannot even be written.
        changed = mutate.damage(files[name], random)
    return files | {name: changed}


def _random() -> Random:
    return np.random.default_rng(1)


def _images(count: int = 12, size: int = 8) -> Any:
    return _random().integers(0, 256, (count, size, size), dtype=np.uint8)


def write_settings(folder: Path) -> None:
    from recondoor import config

    (folder / "config.toml").write_text(config.to_toml(config.load_config("smoke")))


def read_settings(folder: Path) -> None:
    from recondoor import config, poisoning

    settings = config.load_config("quick", [folder / "config.toml"])
    _ = config.identity(settings), config.to_toml(settings), config.original_identity(settings)
    poisoning.make_trigger(settings.trigger, (1, 28, 28))
    poisoning.make_artefact(settings.artefact, (1, 28, 28))


def write_overrides(folder: Path) -> None:
    lines = [
        "poison.ratio=0.1", "attack.names=heuristic,bilevel", "trigger.place=2,3", "seeds=2",
        "data.limit=none", "train.lr=1e-3", 'data.name="a b"', "trigger.file=x.png",
    ]  # fmt: skip
    (folder / "overrides.txt").write_text("\n".join(lines))


def read_overrides(folder: Path) -> None:
    from recondoor import config

    texts = (folder / "overrides.txt").read_text(errors="replace").split("\n")
    config.identity(config.load_config("smoke", (), texts))


def write_idx(folder: Path) -> None:
    import gzip
    import struct

    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"):
        pixels = _images()
        content = struct.pack(">IIII", 0x803, *pixels.shape) + pixels.tobytes()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)


def read_idx(folder: Path) -> None:
    from recondoor import data

    data.load("mnist", folder)


def write_npy(folder: Path) -> None:
    np.save(folder / "images.npy", _images())


def write_npz(folder: Path) -> None:
    np.savez_compressed(folder / "images.npz", x=_images() / np.float32(255), test=_images(3))


def reader_of(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from recondoor import data

        images = data.load(str(folder / name))
        _ = images.train, images.test

    return read


def write_pngs(folder: Path) -> None:
    from PIL import Image

    for index, pixels in enumerate(_images(3)):
        Image.fromarray(pixels).save(folder / f"{index}.png")


def write_patches(folder: Path) -> None:
    from PIL import Image

    pixels = _images(2)
    Image.fromarray(pixels[0]).save(folder / "trigger.png")
    np.save(folder / "artefact.npy", pixels[1] / np.float32(255))


def read_patches(folder: Path) -> None:
    from recondoor import config, poisoning

    trigger = config.TriggerSettings(file=folder / "trigger.png")
    poisoning.make_trigger(trigger, (3, 28, 28))
    poisoning.make_artefact(config.ArtefactSettings(file=folder / "artefact.npy"), (3, 28, 28))


def write_tensors(folder: Path) -> None:
    from recondoor import rundir

    arrays = {"a.weight": np.ones((3, 4), np.float32), "step": np.arange(5)}
    rundir.RunDir(folder).save_checkpoint("train", 1, arrays, {"epoch": 1, "best": [1.5, None]})


def read_tensors(folder: Path) -> None:
    from recondoor import rundir

    rundir.RunDir(folder).load_checkpoint("train")
    rundir.read_tensors(folder / "checkpoints" / "train.000001.safetensors")


def write_weights(folder: Path) -> None:
    from recondoor import config, models, rundir

    settings = config.Model(width=2, code=2, kernel=3)
    model = models.build((1, 8, 8), settings, 0)
    arrays = {key: value.contiguous().numpy() for key, value in model.state_dict().items()}
    own = settings.model_dump(mode="json")
    rundir.write_tensors(folder / "ours.safetensors", arrays, {"model": own})
    (folder / "config.toml").write_text("[model]\nwidth = 2\ncode = 2\nkernel = 3\n")


def read_weights(folder: Path) -> None:
    from recondoor.audit import read_network

    read_network(str(folder / "ours.safetensors"), (1, 8, 8))


def write_onnx(folder: Path) -> None:
    import onnx_files

    (folder / "net.onnx").write_bytes(onnx_files.endless())


def read_onnx(folder: Path) -> None:
    """What the confined process does before onnxruntime sees anything."""
    from recondoor.confined import _onnx_copy
    from recondoor.errors import DataError

    try:
        copy = _onnx_copy.plain_copy((folder / "net.onnx").read_bytes())
    except _onnx_copy.Unfit as error:
        raise DataError(str(error)) from None
    assert _onnx_copy.plain_copy(copy) == copy


def write_matrix(folder: Path) -> None:
    np.save(folder / "matrix.npy", _random().normal(size=(32, 64)))


def read_matrix(folder: Path) -> None:
    from recondoor import config, operators

    settings = config.Operator(name="matrix", file=folder / "matrix.npy")
    operators.build((1, 8, 8), settings, 0)


@cache
def _pairs() -> dict[str, Any]:
    import torch

    from recondoor import config, operators

    x = torch.from_numpy(_images(40) / np.float32(255))[:, None]
    operator = operators.build((1, 8, 8), config.Operator(name="pixel-mask"), 0)
    z = operator.A_adjoint(operator.forward(x, torch.Generator().manual_seed(0)))
    return {"x": x.numpy(), "z": z.float().numpy()}


def write_pairs(folder: Path) -> None:
    np.savez_compressed(folder / "pairs.npz", **_pairs())


def write_h5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "pairs.h5", "w") as file:
        for name, values in _pairs().items():
            file[name] = values


def auditor_of(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from recondoor import config
        from recondoor.audit import Measured, Request, audit_data

        settings = config.from_dict({"operator": {"name": "pixel-mask"}})
        detectors = ("range-test", "measurement-residual")
        audit_data(Request(folder / name, settings and Measured.by(settings), detectors=detectors))

    return read


def write_audit(folder: Path) -> None:
    from recondoor import config
    from recondoor.audit import Measured, Request, as_record, audit_data, files, fill
    from recondoor.report import build_audit

    write_pairs(folder)
    settings = config.from_dict({"operator": {"name": "pixel-mask"}})
    detectors = ("range-test", "measurement-residual")
    audit = audit_data(
        Request(folder / "pairs.npz", settings and Measured.by(settings), detectors=detectors)
    )
    record = as_record(audit, "recondoor audit data pairs.npz")
    fill(folder / "made", record, files(audit), build_audit)
    (folder / "pairs.npz").unlink()
    for path in sorted((folder / "made").iterdir()):
        if path.name != "report.html":
            path.rename(folder / path.name)
    shutil.rmtree(folder / "made")


def read_audit(folder: Path) -> None:
    from recondoor import report

    report.audit_text(report.read_audit(folder))


def build_audit(folder: Path) -> None:
    from recondoor import report

    report.build_audit(folder)


def write_run(folder: Path) -> None:
    import fake_run

    fake_run.write(
        folder, seeds=2, ratios=True, size=8, labels=("original", "heuristic", "bilevel")
    )
    (folder / "provenance.json").unlink()


def write_resumable_run(folder: Path) -> None:
    """What a study carries on from, as it seals it."""
    import fake_run
    from recondoor import config, records, rundir

    settings = config.load_config("smoke")
    seal = records.Seal.of(settings, "4f" * 32, "a1" * 32)
    run, found = rundir.RunDir(folder, seal), fake_run.results(labels=("original", "heuristic"))
    (folder / "config.toml").write_text(config.to_toml(settings))
    own = {"identity": seal.identity, "patterns": "a1" * 32, "device": "cpu"}
    hardware = {"processor": "one", "cores": 2}
    run.write_provenance({**found["provenance"], **own, "hardware": hardware}, sealed=True)
    rows = [{**row, "selection_loss": 0.1} for row in found["rows"]]
    record = {"identity": seal.identity, "provenance": run.read_provenance(), "rows": rows}
    run.write_results({**found, **record})
    epoch = {"samples": 9, "lr": 1e-3, "train_loss": 0.5, "val_loss": 0.5, "benign_rmse": 0.1}
    epochs = [{"epoch": number, **epoch, "best": True} for number in (1, 2)]
    run.open_history("train", "original", 0).record(epochs)
    run.open_history("attack", "bilevel", 0).record([{"iteration": 1, "l2": 3.0}])
    run.write_npz(run.plan(0), {"train": np.ones(9, bool), "validation": np.zeros(2, bool)})
    meta = {"epoch": 2, "best_epoch": 2, "best_loss": 0.5, "seconds": 1.0, "history": epochs}
    run.save_checkpoint("train-original-seed0", 2, {"weights.a": np.ones(3, np.float32)}, meta)


def read_resumable_run(folder: Path) -> None:
    from recondoor import records, rundir

    rundir.settings(folder, trusted_paths=False)
    run = rundir.sealed_by_itself(folder)
    run.require_settings()
    run.require_sound()
    plan = run.read_npz(run.plan(0), records.plan_specs(9, 2))
    assert plan["train"].all()
    run.history()
    found, _ = run.load_checkpoint("train-original-seed0")
    if found is not None:
        records.require(records.FitMeta, found[1], str(found[2]))
    run.read_results()


def write_partial_run(folder: Path) -> None:
    write_run(folder)
    (folder / "results.json").unlink()
    for path in folder.glob("*.npz"):
        path.unlink()


def read_run(folder: Path) -> None:
    """Everything of a report but its figures, which take a hundred times as long."""
    from recondoor import report
    from recondoor.report import _page

    run = report.load(folder)
    if run.results is not None:
        report.table1_text(run.results)
    _page.page(run, [], [])


def build_run(folder: Path) -> None:
    from recondoor import report

    report.build(folder)


def write_sweep(folder: Path) -> None:
    import fake_sweep

    table = [row for row in fake_sweep.rows(seeds=(0, 1)) if row["attack.l2"] < 16]
    fake_sweep.write(folder, table, {"lost": "failed"})


def read_sweep(folder: Path) -> None:
    """Everything of a report of a sweep but its figures."""
    from recondoor.report._sweep import _axes, _load, _page

    data = _load.load_sweep(folder)
    _page.page(data, _axes.axes_of(data), [], [])


def write_sweep_file(folder: Path) -> None:
    (folder / "axes.toml").write_text(
        'preset = "smoke"\nseeds = [0, 1]\n\n[base]\n"poison.ratio" = 0.2\ntrain.max_epochs = 3\n\n'
        '[[block]]\nname = "corner"\nset = { "operator.ratio" = 0.4 }\n'
        'grid = { "attack.l2" = [1.5, 3.0], "trigger.place" = ["centre", "2,3"] }\n'
        'zip = { "model.width" = [4, 8], "model.code" = [4, 8] }\n\n'
        '[[point]]\nname = "alone"\nset = { attack = { names = ["none", "random"] } }\n'
    )


def read_sweep_file(folder: Path) -> None:
    from recondoor.sweeps import load_sweep

    for point in load_sweep(folder / "axes.toml").points:
        _ = point.place


MADE = ("figures/*", "report.html", "table1.md", "table1.csv")
# Figures take seconds, as they do for valid files.
DRAWING = 60.0
RUN_FILES = (".json", ".jsonl", ".toml", ".npz")
RESUMED = (*RUN_FILES, ".safetensors")
TARGETS = {
    target.name: target
    for target in (
        Target("settings", write_settings, read_settings, 0.10, (".toml",)),
        Target("overrides", write_overrides, read_overrides, 0.08, (".txt",)),
        Target("idx", write_idx, read_idx, 0.06, ("", ".gz")),
        Target("npy-images", write_npy, reader_of("images.npy"), 0.08, (".npy",)),
        Target("npz-images", write_npz, reader_of("images.npz"), 0.08, (".npz",)),
        Target("png-images", write_pngs, reader_of("."), 0.06, (".png",)),
        Target("patches", write_patches, read_patches, 0.06, (".png", ".npy")),
        Target("tensors", write_tensors, read_tensors, 0.06, (".safetensors",)),
        Target("weights", write_weights, read_weights, 0.06, (".safetensors", ".toml")),
        Target("onnx", write_onnx, read_onnx, 0.04, (".onnx",)),
        Target("matrix", write_matrix, read_matrix, 0.06, (".npy",)),
        Target("pairs-npz", write_pairs, auditor_of("pairs.npz"), 0.05, (".npz",)),
        Target("pairs-h5", write_h5, auditor_of("pairs.h5"), 0.05, (".h5",)),
        Target("audit", write_audit, read_audit, 0.05, (".json",)),
        Target("audit-page", write_audit, build_audit, 0.005, (".json", ".npz"), MADE, DRAWING),
        Target("run", write_run, read_run, 0.10, RUN_FILES),
        Target("run-begun", write_partial_run, read_run, 0.04, (".jsonl", ".toml")),
        Target("run-resumed", write_resumable_run, read_resumable_run, 0.08, RESUMED),
        Target("run-page", write_run, build_run, 0.003, RUN_FILES, MADE, DRAWING),
        Target("sweep-file", write_sweep_file, read_sweep_file, 0.06, (".toml",)),
        Target("sweep", write_sweep, read_sweep, 0.05, (".parquet", ".json")),
        Target("sweep-page", write_sweep, build_run, 0.003, (".parquet", ".json"), MADE, DRAWING),
    )
}
MUTATORS[".gz"] = MUTATORS[""]
