"""The study as a whole, on a tiny set: its folder and its refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recondoor import attacks, models, studies
from recondoor.attacks import bilevel
from recondoor.config import Config, identity
from recondoor.core.errors import RecondoorError, RunError
from recondoor.evaluation import judge
from recondoor.poisoning import Trigger
from recondoor.rundir import RunDir, read_json, read_tensors
from recondoor.studies import Runtime, run
from small_study import (
    CPU,
    LABELS,
    Listener,
    assert_tidy,
    record,
    tiny,
    validate,
    write_images,
)

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed; not to be written to."""
    return run(tiny(data), tmp_path_factory.mktemp("finished") / "run", CPU)


# What a run leaves behind


def test_folder_of_a_run(finished: Path) -> None:
    expected = {"config.toml", "provenance.json", "results.json", "history.jsonl"}
    expected |= {"plan-seed0.npz"}
    expected |= {f"model-{label}-seed0.safetensors" for label in LABELS}
    expected |= {f"examples-{label}-seed0.npz" for label in LABELS}
    expected |= {f"trigger-{label}-seed0.npz" for label in LABELS[1:]}
    assert {path.name for path in finished.iterdir()} == expected | {"lock", "checkpoints"}
    assert_tidy(finished)


def test_results_follow_the_schema_that_ships(finished: Path, data: Path) -> None:
    results = validate(finished)
    config = tiny(data)
    assert [(row["model"], row["seed"]) for row in results["rows"]] == [(m, 0) for m in LABELS]
    assert results["identity"] == identity(config)
    assert results["poison_ratio"] == 0.3
    assert results["hedge"]["ghost"] == 0.3
    assert results["hedge"]["artefact_rmse"] == pytest.approx(0.7)
    assert results["summary"]["paired"] == []
    for row in results["rows"]:
        assert row["epochs"] == 2
        assert row["trigger_l2"] == pytest.approx(2, rel=1e-5)
        assert len(row["asr_curve"]) == len(results["asr_taus"])
        mean = results["summary"]["models"][row["model"]]["benign_rmse"]
        assert mean == {"mean": row["benign_rmse"], "ci95": None, "n": 1}


def test_provenance(finished: Path, data: Path) -> None:
    found = read_json(finished / "provenance.json")
    assert found["threads"] == torch.get_num_threads()
    assert found["seeds"] == [0]
    # The build (+cpu, +cu130) is not in the metadata of every wheel.
    assert found["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    # 60 images: a tenth for the test, a tenth of the rest for validation.
    parts = {key: found["data"][key] for key in ("train", "validation", "test")}
    assert parts == {"train": 49, "validation": 5, "test": 6}
    assert found["data"]["name"] == data.name
    assert len(found["data"]["fingerprint"]) == 64
    assert found["started"] <= found["finished"]
    assert read_json(finished / "results.json")["provenance"] == found


def test_triggers_and_examples(finished: Path) -> None:
    folder = RunDir(finished)
    for label in LABELS[1:]:
        arrays = folder.read_npz(folder.trigger(label, 0))
        assert arrays["delta"].shape == arrays["mask"].shape == arrays["artefact"].shape
        assert not (arrays["delta"] * (1 - arrays["mask"])).any()
        assert arrays["mask"].sum() == 4
        assert arrays["artefact"].sum() == 5
        assert len(arrays["path"]) == len(arrays["path_iteration"])
    path = folder.read_npz(folder.trigger("bilevel", 0))
    assert path["path_iteration"].tolist() == list(range(8))
    assert np.array_equal(path["path"][-1], path["delta"])
    shown = {label: folder.read_npz(folder.examples(label, 0)) for label in LABELS}
    for label in LABELS:
        assert np.array_equal(shown[label]["x"], shown["original"]["x"])
        assert shown[label]["clean"].shape == (3, 1, 12, 12)
    # The original model is tried with the heuristic trigger.
    assert np.array_equal(shown["original"]["z_triggered"], shown["heuristic"]["z_triggered"])


def test_history_has_every_epoch_and_iteration(finished: Path) -> None:
    rows = RunDir(finished).history()
    assert all(row["seed"] == 0 for row in rows)
    epochs = [(row["model"], row["epoch"]) for row in rows if row["stage"] == "train"]
    assert epochs == [(label, epoch) for label in LABELS for epoch in (1, 2)]
    steps = [row["iteration"] for row in rows if row["stage"] == "attack"]
    assert steps == list(range(1, 8))


def test_original_model_is_trained_on_clean_pairs(data: Path, tmp_path: Path) -> None:
    """Neither the ratio nor the pattern moves a bit of it."""
    found = []
    for p in (0.0, 1.0):
        config = tiny(data, poison={"ratio": p}, attack={"names": ["none"]})
        folder = run(config, tmp_path / f"{p}", CPU)
        found.append(read_tensors(RunDir(folder).model("original", 0))[0])
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])


def test_the_folder_is_all_that_a_model_needs(finished: Path, data: Path) -> None:
    cpu = torch.device("cpu")
    model, meta = studies.load_model(RunDir(finished), tiny(data), (1, 12, 12), "heuristic", 0, cpu)
    shown = RunDir(finished).read_npz(RunDir(finished).examples("heuristic", 0))
    again = models.reconstruct(model, torch.from_numpy(shown["z"])).numpy()
    np.testing.assert_allclose(again, shown["clean"], atol=1e-6)
    assert meta["epoch"] == 2
    with pytest.raises(RunError, match="there is no such model yet"):
        studies.load_model(RunDir(finished), tiny(data), (1, 12, 12), "heuristic", 9, cpu)


def test_samples_at_which_the_backdoor_is_learnt(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 0.1 after 20 pairs to 0.6 after 40, three fifths of the way to 0.4."""
    judged = judge.Monitor.__call__
    recovery = {"heuristic": [0.1, 0.6, 0.2, 0.9], "random": [0.1, 0.2, 0.3, 0.39]}

    def scripted(self: judge.Monitor, model: torch.nn.Module) -> dict[str, float]:
        label = "heuristic" if self.trigger.linf == 1 else "random"
        now = recovery[label].pop(0)
        return {**judged(self, model), "recovery": now, "learnt": now > self.transition}

    monkeypatch.setattr(judge.Monitor, "__call__", scripted)
    train = {"max_epochs": 4, "patience": 9, "epoch_pairs": 20}
    config = tiny(
        data, train=train, attack={"names": ["heuristic", "random"]}, evaluate={"transition": 0.4}
    )
    rows = validate(run(config, tmp_path / "run", CPU))["rows"]
    assert [row["model"] for row in rows] == ["heuristic", "random"]
    assert [row["transition_samples"] for row in rows] == [32, None]
    assert [row["samples"] for row in rows] == [80, 80]
    assert [row["epochs"] for row in rows] == [4, 4]
    recovery |= {"heuristic": [0.1, 0.6, 0.2, 0.9]}
    train["stop"] = "transition"  # type: ignore[assignment]
    config = tiny(data, train=train, attack={"names": ["heuristic"]}, evaluate={"transition": 0.4})
    (row,) = validate(run(config, tmp_path / "stopped", CPU))["rows"]
    assert [row["transition_samples"], row["samples"], row["epochs"]] == [32, 40, 2]


def test_surrogates_may_have_another_size(data: Path, tmp_path: Path) -> None:
    config = tiny(data, attack={"surrogate_width": 3, "surrogate_code": 2, "surrogate_kernel": 5})
    images = studies.data.load(config.data.name, None, Listener())
    problem = studies.build_scene(config, images, 0, torch.device("cpu")).problem
    surrogate = dict(problem.build_model("surrogate").named_parameters())
    assert surrogate["down.0.weight"].shape == (3, 1, 5, 5)
    assert surrogate["down.2.weight"].shape == (2, 3, 5, 5)


# Mask search


def searched(data: Path, **sections: dict[str, Any]) -> Config:
    attack = {"names": ["none", "heuristic", "bilevel"], "mask": "search", "iterations": 2}
    return tiny(data, attack={**attack, "surrogates": 1}, train={"max_epochs": 1}, **sections)


def test_the_place_found_is_kept_and_used(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all models of the seed, in the original one's test too; a resumed run does not search."""
    delta, scores = torch.zeros(1, 12, 12), torch.arange(121.0).view(11, 11)
    delta[0, 9:11, 1:3] = 1
    moved = Trigger(delta, (delta != 0).float())
    calls: list[Trigger] = []

    def found(problem: attacks.Problem, tools: attacks.Tools) -> tuple[Trigger, torch.Tensor]:
        calls.append(problem.trigger)
        return moved, scores

    monkeypatch.setattr(attacks, "best_place", found)
    config, out = searched(data), tmp_path / "run"
    run(config, out, CPU, ("attack",))
    place = RunDir(out).read_npz(out / "place-seed0.npz")
    assert set(place) == {"delta", "mask", "scores"}
    assert np.array_equal(place["delta"], delta.numpy())
    assert np.array_equal(place["scores"], scores.numpy())
    assert len(calls) == 1
    assert not torch.equal(calls[0].delta, delta)
    before = (out / "place-seed0.npz").stat().st_mtime_ns
    monkeypatch.setattr(attacks, "best_place", forbid)
    run(config, out, CPU)
    assert (out / "place-seed0.npz").stat().st_mtime_ns == before
    folder = RunDir(out)
    assert np.array_equal(folder.read_npz(folder.trigger("heuristic", 0))["delta"], delta.numpy())
    for label in ("heuristic", "bilevel"):
        arrays = folder.read_npz(folder.trigger(label, 0))
        assert np.array_equal(arrays["mask"], moved.mask.numpy())
    shown = folder.read_npz(folder.examples("original", 0))
    added = shown["z_triggered"] - shown["z"]
    np.testing.assert_allclose(added, np.broadcast_to(delta, added.shape), atol=1e-6)
    validate(out)


def test_a_search_keeps_away_from_the_artefact(data: Path, tmp_path: Path) -> None:
    """Three pixels from the plus of 3 at (2, 2), for each seed by itself."""
    out = run(searched(data, artefact={"size": 3}), tmp_path / "run", CPU, ("attack",))
    arrays = RunDir(out).read_npz(out / "place-seed0.npz")
    plus = [(2, 3), (3, 2), (3, 3), (3, 4), (4, 3)]
    _, *place = np.nonzero(arrays["mask"])
    assert len(place[0]) == 4
    for row, column in zip(*place, strict=True):
        assert min(max(abs(row - i), abs(column - j)) for i, j in plus) >= 3
    again = run(searched(data, artefact={"size": 3}), tmp_path / "again", CPU, ("attack",))
    other = RunDir(again).read_npz(again / "place-seed0.npz")
    assert all(np.array_equal(arrays[key], other[key]) for key in arrays)


# Going on


def forbid(*arguments: object, **named: object) -> None:
    raise AssertionError("a finished run must not compute")


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_finished_run_returns_at_once(
    finished: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamps(finished)
    for module, name in (
        (studies._stages, "Fitting"),
        (judge, "reconstruct"),
        (bilevel.Bilevel, "craft"),
    ):
        monkeypatch.setattr(module, name, forbid)
    assert run(tiny(data), finished, CPU) == finished
    assert stamps(finished) == before


def test_more_seeds_and_attacks_extend_a_run(data: Path, tmp_path: Path) -> None:
    out, direct = tmp_path / "grown", tmp_path / "direct"
    few = {"names": ["none", "heuristic"]}
    run(tiny(data, attack={"names": ["none"]}), out, CPU)
    first = record(out)["rows"]
    run(tiny(data, attack=few, seeds=2), out, CPU)
    run(tiny(data, attack=few, seeds=2), direct, CPU)
    results = validate(out)
    assert record(out)["rows"][0] == first[0]
    assert record(out)["rows"] == record(direct)["rows"]
    assert results["provenance"]["seeds"] == [0, 1]
    assert results["summary"] == read_json(direct / "results.json")["summary"]
    rows = {(row["model"], row["seed"]): row for row in results["rows"]}
    assert rows["original", 0]["benign_rmse"] != rows["original", 1]["benign_rmse"]
    for metric in ("benign_rmse", "ghost", "selection_loss"):
        values = [rows["heuristic", seed][metric] for seed in (0, 1)]
        entry = results["summary"]["models"]["heuristic"][metric]
        assert entry["n"] == 2
        assert entry["mean"] == pytest.approx(np.mean(values))
        # Student's t with one degree of freedom: tan(0.475 pi) = 12.7062.
        half = np.tan(0.475 * np.pi) * abs(values[0] - values[1]) / 2
        assert entry["ci95"] == pytest.approx([np.mean(values) - half, np.mean(values) + half])
        difference = np.mean([rows["original", s][metric] for s in (0, 1)]) - np.mean(values)
        (line,) = (line for line in results["summary"]["paired"] if line["metric"] == metric)
        assert (line["a"], line["b"], line["n"]) == ("original", "heuristic", 2)
        assert line["mean"] == pytest.approx(difference)


def test_stages_one_by_one_are_the_study(finished: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(RunError, match="run `recondoor attack` first"):
        run(tiny(data, attack={"names": ["heuristic"]}), out, CPU, ("train",))
    run(tiny(data), out, CPU, ("attack",))
    assert not list(out.glob("model-*"))
    with pytest.raises(RunError, match="run `recondoor train` first"):
        run(tiny(data), out, CPU, ("evaluate",))
    run(tiny(data), out, CPU, ("train",))
    assert not (out / "results.json").exists()
    run(tiny(data), out, CPU, ("evaluate",))
    first, second = record(finished), record(out)
    first["history"].sort(key=str)
    second["history"].sort(key=str)
    assert first == second


def test_ratio_of_least_selection_loss_is_chosen(data: Path, tmp_path: Path) -> None:
    config = tiny(data, attack={"names": ["none", "heuristic"]}, train={"max_epochs": 1})
    folder = studies.run_ratios(config, tmp_path / "ratios", [0.2, 0.5], CPU)
    table = validate(folder)["ratios"]
    assert [line["ratio"] for line in table] == [0.2, 0.5]
    (chosen,) = (line["ratio"] for line in table if line["chosen"])
    losses = {
        ratio: read_json(tmp_path / "ratios" / f"ratio-{ratio:g}" / "results.json")["rows"]
        for ratio in (0.2, 0.5)
    }
    scores = {
        ratio: next(row["selection_loss"] for row in rows if row["model"] == "heuristic")
        for ratio, rows in losses.items()
    }
    assert chosen == min(scores, key=scores.__getitem__)
    assert folder.name == f"ratio-{chosen:g}"
    assert read_json(folder / "results.json")["poison_ratio"] == chosen
    # Once more, and after more seeds, the choice is still written down.
    assert studies.run_ratios(config, tmp_path / "ratios", [0.2, 0.5], CPU) == folder
    assert validate(folder)["ratios"] == table


# Refusals


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_other_settings_or_data_are_refused(finished: Path, data: Path, tmp_path: Path) -> None:
    before = contents(finished)
    with pytest.raises(RunError, match="holds a run of other settings"):
        run(tiny(data, poison={"ratio": 0.2}), finished, CPU)
    assert contents(finished) == before
    images = tmp_path / "images.npy"
    images.write_bytes(data.read_bytes())
    config = tiny(images, attack={"names": ["none"]})
    run(config, tmp_path / "run", CPU)
    np.save(images, np.flip(np.load(images), 0))
    with pytest.raises(RunError, match="was made from other data"):
        run(config, tmp_path / "run", CPU)


def test_a_folder_that_is_no_run_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        run(tiny(data), tmp_path, CPU)
    with pytest.raises(RunError, match="is a file"):
        run(tiny(data), tmp_path / "file", CPU)
    assert contents(tmp_path) == {str(tmp_path / "file"): b"precious"}


@pytest.mark.parametrize("section", ["trigger", "artefact"])
def test_another_pattern_under_the_same_name_is_refused(
    data: Path, tmp_path: Path, section: str
) -> None:
    file = tmp_path / "pattern.npy"
    np.save(file, np.ones((2, 2)))
    config = tiny(data, attack={"names": ["none"]}, **{section: {"file": str(file)}})
    run(config, tmp_path / "run", CPU)
    np.save(file, np.eye(2))
    with pytest.raises(RunError, match="another trigger or artefact file"):
        run(config, tmp_path / "run", CPU)
    np.save(file, np.ones((2, 2)))
    run(config, tmp_path / "run", CPU)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"trigger": {"size": 13}}, "do not fit into an image of 12x12"),
        ({"artefact": {"size": 4}}, "artefact.size: 4 given"),
        ({"trigger": {"file": "missing.png"}}, "No such file"),
        ({"data": {"name": "mnst"}}, "did you mean 'mnist"),
        ({"operator": {"ratio": 0.001}}, "operator.gaussian.ratio: 0.001"),
    ],
)
def test_bad_settings_write_nothing(
    data: Path, tmp_path: Path, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecondoorError, match=said) as caught:
        run(tiny(data, **sections), tmp_path / "run", CPU)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_gpu(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match="'cuda' given, but torch finds no GPU"):
        run(tiny(data), tmp_path / "run", Runtime(device="cuda"))
    assert Runtime().torch_device.type == "cpu"
    assert list(tmp_path.iterdir()) == []
