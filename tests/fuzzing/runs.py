"""Folders of runs and sweeps: what writes and what reads them."""

from pathlib import Path

import numpy as np


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
    from recondoor.report._run import _page

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
    _page.page(data, _axes.axes_of(data), [], [], linked=True)
