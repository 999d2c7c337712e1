"""Sweeps: what a file stands for, who runs it, what is left after a kill, the table."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from recondoor import cli, sweeps
from recondoor.core.errors import ConfigError, DataError, RunError
from recondoor.rundir import RunDir, read_json
from recondoor.sweeps import load_sweep, parse
from recondoor.sweeps._table import line
from small_sweep import TIMES, contents, lines, run_here, write

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Path:
    """The long sweep, run by this process; not to be written to."""
    return run_here(folder)


# What a file stands for


def test_points_of_a_file(folder: Path) -> None:
    read = load_sweep(folder / "short.toml")
    names = ["corner,attack.l2=1", "corner,attack.l2=2.5", "weak"]
    # All points of a seed before those of the next: what is stopped early is balanced.
    assert [(p.seed, p.name) for p in read.points] == [(s, name) for s in (0, 1) for name in names]
    assert {p.place for p in read.points} == {f"points/{n}/seed{s}" for n in names for s in (0, 1)}
    assert [p.config.attack.l2 for p in read.points[:3]] == [1, 2.5, None]
    assert [p.config.trigger.margin for p in read.points[:3]] == [0, 0, 1]
    assert [p.config.poison.ratio for p in read.points[:3]] == [0.3, 0.3, 0.2]
    assert all(p.config.seeds == 1 and p.config.train.batch == 10 for p in read.points)


def test_grid_times_zip() -> None:
    zipped = {"poison": {"ratio": [0.1, 0.2, 0.3]}, "trigger.amplitude": [3, 2, 1]}
    block = {"grid": {"model.width": [2, 4], "operator.name": ["identity"]}, "zip": zipped}
    read = parse({"preset": "smoke", "seeds": [3, 7], "block": [block]})
    found = [
        (p.config.model.width, p.config.poison.ratio, p.config.trigger.amplitude, p.seed)
        for p in read.points
    ]
    pairs = [(0.1, 3), (0.2, 2), (0.3, 1)]
    assert found == [(w, *pair, seed) for seed in (3, 7) for w in (2, 4) for pair in pairs]
    assert read.points[0].name == (
        "model.width=2,operator.name=identity,poison.ratio=0.1,trigger.amplitude=3"
    )


def test_the_file_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "sweep.md").read_text(encoding="utf-8")
    text = page.partition("```toml\n")[2].partition("```")[0]
    read = parse(tomllib.loads(text))
    assert f"= {len(read.points)} points" in page
    assert read.notes == ()


def test_the_base_alone_is_one_point() -> None:
    (point,) = parse({"preset": "paper", "base": {"poison.ratio": 0.2}}).points
    assert (point.name, point.seed, point.config.seeds) == ("base", 0, 1)
    assert (point.config.data.name, point.config.poison.ratio) == ("mnist", 0.2)


def test_points_that_are_the_same_are_run_once() -> None:
    grid = {"poison.ratio": [0.1, 0.2]}
    read = parse({"block": [{"name": "a", "grid": grid}, {"name": "b", "grid": grid}], "seeds": 2})
    assert len(read.points) == 4
    assert read.notes[0] == (
        "point 'b,poison.ratio=0.1' has the settings of 'a,poison.ratio=0.1' and is run once"
    )


GRID = '[[block]]\nname = "b"\n[block.grid]\n'
REFUSED = [
    ('[base]\nattack.l3 = 1', "attack.l3: there is no such setting; did you mean 'attack.l2'?"),
    (f"{GRID}poison.ratoi = [1]", "block 'b': poison.ratoi: there is no such setting; did you"),
    (f"{GRID}poison.ratio = [0.1, 2]", "block 'b': poison.ratio: 2 given; "),
    (f"{GRID}poison.ratio = 0.1", "block 'b': poison.ratio: 0.1 given; expected a list"),
    (f"{GRID}poison.ratio = []", "expected a list"),
    (f"{GRID}seed = [1, 2]", "seed: seeds are given once"),
    (f"{GRID}poison.ratio = [0.1]\n[block.set]\npoison.ratio = 0.2", "poison.ratio: given twice"),
    ("[[block]]\n[block.zip]\nmodel.width = [1]\nmodel.code = [1, 2]", "model.code has 2 values"),
    ("[[block]]\ngird = {}", "gird: there is no such part"),
    ("[[block]]\nname = \"a/b\"", "it names folders"),
    ("[block]\nname = \"a\"", "expected tables headed [[block]]"),
    ("[[point]]\nset.poison.ratio = 0.1", "has no name"),
    ("base = 3", "base: 3 given"),
    ("attack.l2 = 3", "settings go under [base]"),
    ("blok = 3", "did you mean 'block'?"),
    ("seeds = 0", "seeds: 0 given"),
    ("seeds = [1, 1]", "seeds: [1, 1] given"),
    ('preset = "quik"', "did you mean 'quick'?"),
    ("preset =", "is not valid TOML"),
    (
        '[[point]]\nname = "a"\nset.model.code = 1\n[[point]]\nname = "a"\nset.model.code = 2',
        "two points are named 'a'",
    ),
    ('[[point]]\nname = "a"\n[[point]]\nname = "b"\nset.attack.names = "none"', "attack.names"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_refused_before_anything_starts(
    text: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", "spec.toml", "--workers=0"])
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in shown
    assert "spec.toml" in shown
    assert len(shown.splitlines()) <= 2
    assert [path.name for path in tmp_path.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers=-1"], "--workers: -1 given"),
        (["--threads=0"], "--threads: 0 given"),
        (["--gpus-per-task=1"], "needs --scheduler"),
        (["--scheduler=tcp://a:1", "--scheduler-file=b"], "give one of them"),
        (["--scheduler-file=missing.json"], "missing.json does not exist"),
        (["--gpus-per-task=-1"], "--gpus-per-task: -1 given"),
    ],
)
def test_refused_options(
    arguments: list[str],
    said: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", str(folder / "short.toml"), *arguments])
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_missing_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="minst"):
        sweeps.run(parse({"base": {"data.name": "minst"}}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_writes_nothing(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cli.main(["sweep", str(folder / "short.toml"), "--dry-run", "--workers=2"])
    shown = capsys.readouterr().out
    assert "6 points (3 settings x 2 seeds), 8 networks to train" in shown
    assert "crafting, evaluation and early stopping are not counted" in shown
    assert "corner,attack.l2=1, seed 0" in shown
    assert "and 1 more" in shown
    assert list(tmp_path.iterdir()) == []


# What is left behind


def test_table_and_record(undisturbed: Path) -> None:
    found = lines(undisturbed)
    names = ("corner,attack.l2=1", "corner,attack.l2=2.5", "weak")
    assert [(row["seed"], row["point"], row["model"]) for row in found] == [
        (seed, name, model)
        for seed in (0, 1)
        for name in names
        for model in ("original", "heuristic")
    ]
    assert [row["attack.l2"] for row in found[:6]] == [1, 1, 2.5, 2.5, None, None]
    assert found[0]["attack.names"] == "none,heuristic"
    study = read_json(undisturbed / "points/weak/seed1/results.json")
    scalars = {k: v for k, v in study["rows"][1].items() if not isinstance(v, list | dict)}
    assert {key: found[-1][key] for key in scalars if key not in TIMES} == {
        key: value for key, value in scalars.items() if key not in TIMES
    }
    record = read_json(undisturbed / "sweep.json")
    assert [entry["state"] for entry in record["points"]] == ["finished"] * 6
    assert record["failures"] == []
    assert {"dask", "pyarrow", "torch"} <= record["provenance"]["versions"].keys()
    assert json.loads(json.dumps(record["spec"]))["seeds"] == 2


def test_a_finished_sweep_is_not_run_again(undisturbed: Path, folder: Path) -> None:
    before, rows = contents(undisturbed), lines(undisturbed)
    sweeps.run(folder / "long.toml", undisturbed)
    assert contents(undisturbed) == before
    assert lines(undisturbed) == rows


def test_threads_of_the_caller_are_as_they_were(folder: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        sweeps.run(parse({"preset": "smoke", "base": {"attack.names": "none"}}), tmp_path)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert read_json(tmp_path / "points/base/seed0/provenance.json")["threads"] == 1


def test_a_failing_point_is_written_down_and_the_others_go_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.toml"
    bad = '[[point]]\nname = "bad"\nset.train.lr = 1e30\n'
    spec.write_text((folder / "short.toml").read_text() + bad)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["sweep", str(spec), f"--out={tmp_path / 'out'}", "--workers=0"])
    assert stopped.value.code == 1
    out, shown = capsys.readouterr()
    assert "points/bad/seed0: the " in shown
    assert "2 of 8 points failed" in shown
    page = tmp_path / "out" / "report.html"
    table, verdict, report = out.splitlines()
    assert (table, report) == (str(tmp_path / "out" / "sweep.parquet"), f"report: {page}")
    assert " poisoned networks of " in verdict
    assert " ".join(verdict.split()) in " ".join(page.read_text().split())
    assert "<li>bad, seed 1: " in page.read_text()
    record = read_json(tmp_path / "out" / "sweep.json")
    failed = [(entry["point"], entry["seed"]) for entry in record["failures"]]
    assert failed == [("bad", 0), ("bad", 1)]
    assert "lower train.lr" in record["failures"][0]["reason"]
    assert len(lines(tmp_path / "out")) == 12


def test_a_point_of_other_settings_is_refused(
    undisturbed: Path, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="rename the point or choose another --out"):
        sweeps.run(folder / "short.toml", undisturbed)


def test_two_drivers_do_not_share_a_folder(folder: Path, tmp_path: Path) -> None:
    with RunDir(tmp_path).lock(), pytest.raises(RunError, match="is working in this folder"):
        sweeps.run(folder / "short.toml", tmp_path)


def test_what_may_pass_is_tried_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def work(task: sweeps._work.Task) -> sweeps._work.Answer:
        tried.append(task.place)
        if task.seed or len(tried) < 3:
            raise MemoryError("no more")
        return sweeps._work.Answer([])

    monkeypatch.setattr(sweeps._work, "work", work)
    results = sweeps.run(parse({"seeds": 2}), tmp_path)
    assert tried == ["points/base/seed0"] * 3 + ["points/base/seed1"] * 3
    assert results.failures == {"points/base/seed1": "MemoryError: no more"}


@pytest.mark.parametrize("arguments", [["--help"], ["sweep", "--help"], ["sweep", "missing.toml"]])
def test_neither_torch_nor_dask_is_imported_without_need(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom recondoor import cli\n"
        f"try:\n    cli.main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'dask', 'distributed', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_refusals_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_sweep(tmp_path / "missing.toml")


def test_settings_of_plug_ins_are_columns_of_their_own() -> None:
    """Each a text or a number, whatever section it lies in."""
    base = {"operator.name": "mri", "operator.mri.centre": 0.2, "model.name": "unet"}
    sweep = parse({"base": base | {"model.unet.pools": 2}, "block": [{"grid": {"attack.l2": [1]}}]})
    made = line(sweep.points[0], {"model": "original", "seed": 0})
    assert made["operator.mri.centre"] == 0.2
    assert made["model.unet.pools"] == 2
    assert all(value is None or isinstance(value, (str, int, float)) for value in made.values())
    assert "seeds" not in made
