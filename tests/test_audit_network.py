"""`recondoor audit model`, `audit input` and `clean` as a user meets them."""

import csv
import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from recondoor import cli, config, models, operators, report, rundir
from recondoor.audit import Network, read_network

SHAPE = (1, 12, 12)
SMALL = ["--set", "model.width=4", "--set", "model.code=2", "--set", "model.kernel=3"]
OPERATOR = ["--operator", "gaussian", "--set", "operator.ratio=0.5", "--set", "seed=3"]
INVERSION = ["--detectors", "trigger-inversion"]
Array = NDArray[Any]

MINE = """
import torch


class Mine(torch.nn.Module):
    def __init__(self, strength):
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 3, padding=1)
        torch.nn.init.constant_(self.layer.weight, 1 / 9)
        torch.nn.init.zeros_(self.layer.bias)
        plus = torch.zeros(1, 12, 12)
        plus[0, 2, 0:5] = plus[0, 0:5, 2] = strength
        self.register_buffer("plus", plus)

    def forward(self, z):
        bright = torch.sigmoid(8 * (z[:, :, 8:11, 8:11].mean((1, 2, 3)) - 1))
        return self.layer(z) + bright.view(-1, 1, 1, 1) * self.plus


def honest():
    return Mine(0.0)


def backdoored():
    return Mine(1.0)


def number():
    return 3


def broken():
    raise ValueError("no weights here")


def shrinking():
    return torch.nn.AvgPool2d(2)


def wide():
    return torch.nn.Conv2d(3, 3, 1)


def endless():
    layer = torch.nn.Conv2d(1, 1, 1)
    torch.nn.init.constant_(layer.weight, float("nan"))
    return layer
"""


def make(count: int, seed: int) -> dict[str, Array]:
    """Clean pairs x, y, z of smooth images."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 3, 3, generator=generator, dtype=torch.float64)
    x = nn.functional.interpolate(coarse, (12, 12), mode="bilinear")
    settings = config.Operator(name="gaussian", ratio=0.5)
    exact = operators.build(SHAPE, settings, 3, torch.float64)
    y = exact.forward(x, generator)
    z = exact.A_adjoint(y)
    return {"x": x.float().numpy(), "y": y.numpy(), "z": z.float().numpy()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE)
    np.savez(tmp_path / "trusted.npz", **make(150, 2))  # type: ignore[arg-type]
    return tmp_path


def run(*arguments: object, code: int = 0) -> None:
    texts = list(map(str, arguments))
    if code:
        with pytest.raises(SystemExit) as stopped:
            cli.main(texts)
        assert stopped.value.code == code
    else:
        cli.main(texts)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    run(*arguments, code=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    return shown.err


def small_network() -> nn.Module:
    return models.build(SHAPE, config.Model(width=4, code=2, kernel=3), 0, "victim")


def saved(path: Path) -> Path:
    """A network in a user's own safetensors file."""
    save_file({k: v.contiguous() for k, v in small_network().state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with an original and a poisoned network."""
    place = tmp_path_factory.mktemp("runs")
    images = place / "images.npy"
    np.save(images, np.random.default_rng(0).random((1200, 12, 12)))
    options = ["--preset=smoke", f"--dataset={images}", "--set=artefact.size=3", f"--out={place}/a"]
    options += ["--set=data.validation=0.15", "--set=data.limit=none", "--set=train.max_epochs=1"]
    cli.main(["study", *options, "--attack=none,heuristic", "--set=model.width=4"])
    return place / "a"


def test_a_backdoor_is_found_and_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("audit", "model", "mine:backdoored", "--data=trusted.npz", code=3)
    assert capsys.readouterr().out.startswith("SUSPICIOUS: what is put at rows")
    out = here / "audits" / "backdoored"
    record = report.read_audit(out)
    assert record["verdict"] == "suspicious"
    assert record["truth"] is None
    found = {each["name"]: each for each in record["detectors"]}
    assert found["trigger-inversion"]["flagged"] and found["trigger-inversion"]["basis"] == "law"
    assert found["least-norm-inversion"]["threshold"] is None
    assert record["level"] == 0.01
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    cli.main(["report", str(out)])
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_an_honest_network_is_called_clean(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("audit", "model", "mine:honest", "--data=trusted.npz", *INVERSION, "--json")
    assert json.loads(capsys.readouterr().out)["verdict"] == "clean"


def test_references_make_a_threshold_or_rank(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "model", "mine:backdoored", "--data=trusted.npz"]
    given += ["--detectors=least-norm-inversion"]
    run(*given, "--reference=mine:honest", "--out=a", code=4)
    shown = capsys.readouterr().out
    assert shown.startswith("NO VERDICT") and "they only rank" in shown
    many = ["--reference=mine:honest"] * 3
    run(*given, *many, "--alarm=0.25", "--out=b", "--json", code=3)
    record = json.loads(capsys.readouterr().out)
    assert record["detectors"][0]["basis"] == "references"
    assert record["references"] == 3
    assert (here / "b" / "report.html").read_text(encoding="utf-8").count("<svg") == 3


def test_every_way_to_give_a_network_gives_the_same(here: Path) -> None:
    network = small_network().eval()
    z = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = models.reconstruct(network, z)
    saved(here / "own.safetensors")
    own = config.Model(width=4, code=2, kernel=3).model_dump(mode="json")
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    rundir.write_tensors(here / "ours.safetensors", arrays, {"model": own})
    (here / "maker.py").write_text(
        "from recondoor import config, models\n"
        "def f():\n"
        "    return models.build((1, 12, 12), config.Model(width=4, code=2, kernel=3), 0, 'victim')"
    )
    overrides = tuple(text for text in SMALL if text != "--set")
    found: list[Network] = [
        read_network("own.safetensors", SHAPE, (), overrides),
        read_network("ours.safetensors", SHAPE),
        read_network("maker:f", SHAPE),
    ]
    for each in found:
        torch.testing.assert_close(models.reconstruct(each.model, z), expected)
    assert [each.settings is None for each in found] == [False, False, True]


def test_torchscript_is_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).eval()
    script(network, here / "traced.pt", z[:2])
    found = read_network("traced.pt", SHAPE)
    torch.testing.assert_close(models.reconstruct(found.model, z), models.reconstruct(network, z))
    run("audit", "model", "traced.pt", "--data=trusted.npz", *INVERSION)
    capsys.readouterr()
    script(small_network(), here / "frozen.pt", z[:3])  # its views keep the batch size
    assert "script it" in refusal(capsys, "audit", "model", "frozen.pt", "--data=trusted.npz")


def script(network: nn.Module, path: Path, z: Tensor) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, z), path)  # type: ignore[no-untyped-call]


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt"])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_is_refused_and_not_executed(
    name: str, archive: bool, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = here / "planted"
    torch.save({"bomb": Bomb(planted)}, here / name, _use_new_zipfile_serialization=archive)
    said = refusal(capsys, "audit", "model", name, "--data=trusted.npz")
    assert "pickle" in said and "save_file(model.state_dict(), 'model.safetensors')" in said
    assert not planted.exists()
    torch.load(here / name, weights_only=False)
    assert planted.exists()  # so the bomb was a real one


def repack(path: Path, changes: dict[str, bytes], added: dict[str, bytes] | None = None) -> None:
    """Change members of an archive by the end of their names, and add some."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    stem = members[0][0].partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            new = next((v for k, v in changes.items() if name.endswith(k)), content)
            archive.writestr(name, new)
        for name, content in (added or {}).items():
            archive.writestr(f"{stem}/{name}", content)


@pytest.mark.parametrize("member", ["/data.pkl", "/constants.pkl"])
def test_a_pickle_inside_torchscript_is_not_executed(
    member: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    script(small_network(), here / "model.pt", torch.rand(2, *SHAPE))
    repack(here / "model.pt", {member: pickle.dumps(Bomb(here / "planted"), protocol=2)})
    assert "no readable TorchScript" in refusal(
        capsys, "audit", "model", "model.pt", "--data=trusted.npz"
    )
    assert not (here / "planted").exists()


def test_an_exported_program_is_refused_unopened(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = torch.export.export(nn.Conv2d(1, 1, 3, padding=1), (torch.rand(2, *SHAPE),))
    torch.export.save(program, here / "model.pt2")
    said = refusal(capsys, "audit", "model", "model.pt2", "--data=trusted.npz")
    assert "torch.export" in said and "unpickling" in said


class Writes(nn.Module):
    """A program that writes a file while it reconstructs."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layer(z)
        return out


PROGRAMS = {
    "torch.save": b'torch.save(input, "planted")',
    "ops.aten.save": b'ops.aten.save(input, "planted")',
    "from_file": b'y = torch.from_file("planted", True, 4)',
    "another name": b't = torch\n    t.save(input, "planted")',
    "rpc": b'ops.prim.rpc_sync("a", "b")',
    "a library": b"ops.evil.run(input)",
    "a class": b"x = __torch__.torch.classes.evil.Run()",
    "by its name": b'getattr(torch, "s\\x61ve")(input, "planted")',
}


@pytest.mark.parametrize("what", PROGRAMS)
def test_a_program_that_reaches_files_is_not_run(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(Writes(""), here / "model.pt", torch.rand(2, *SHAPE))
    with zipfile.ZipFile(here / "model.pt") as archive:
        name = next(
            n for n in archive.namelist() if n.endswith(".py") and b"forward" in archive.read(n)
        )
        program = archive.read(name)
    line = re.search(rb"\n( +)return ", program)
    assert line is not None
    changed = program[: line.start()] + b"\n    " + PROGRAMS[what] + program[line.start() :]
    repack(here / "model.pt", {name: changed})
    said = refusal(capsys, "audit", "model", "model.pt", "--data=trusted.npz")
    assert "is not run" in said
    assert not (here / "planted").exists()


def test_an_archive_with_two_files_of_one_name_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(small_network(), here / "model.pt", torch.rand(2, *SHAPE))
    repack(here / "model.pt", {}, {"DATA.pkl": b""})
    said = refusal(capsys, "audit", "model", "model.pt", "--data=trusted.npz")
    assert "two files of one name" in said


@pytest.mark.parametrize(
    ("network", "more", "said"),
    [
        ("missing.safetensors", [], "does not exist"),
        (".", [], "is a folder"),
        ("mine:nothing", [], "AttributeError"),
        ("nowhere:f", [], "No module named 'nowhere'"),
        ("mine:number", [], "returned int"),
        ("mine:broken", [], "no weights here"),
        ("mine:shrinking", [], "expected the same shape"),
        ("mine:wide", [], "does not take 2 images of (1, 12, 12)"),
        ("mine:endless", [], "NaN or infinite"),
        ("own.safetensors", [], "--set model.width=32"),
        ("broken.safetensors", [], "no readable safetensors"),
        ("mine.py", [], "it is a pickle"),
        ("mine:honest", ["--detectors=strip"], "there are least-norm-inversion, trigger-inversion"),
        ("mine:honest", ["--alarm=2"], "--alarm"),
        ("mine:honest", ["--data=few.npz"], "at least 40"),
        ("mine:honest", ["--set=operator.ratio=0.5"], "give --operator too"),
        ("mine:honest", ["--out=."], "something else there"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    network: str, more: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(here / "own.safetensors")
    (here / "broken.safetensors").write_bytes(b"\x10" * 40)
    np.savez(here / "few.npz", **make(10, 1))  # type: ignore[arg-type]
    data = [] if any(text.startswith("--data") for text in more) else ["--data=trusted.npz"]
    assert said in refusal(capsys, "audit", "model", network, *data, *more)
    assert not (here / "audits").exists()


def test_data_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--data: none given" in refusal(capsys, "audit", "model", "mine:honest")


def test_a_runs_network_is_audited_with_its_truth(
    folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    try:  # whether so small a network learnt it is not the question
        cli.main(["audit", "model", str(path), *INVERSION, "--out=m"])
    except SystemExit as stopped:
        assert stopped.code == 3
    assert "overlap with the true trigger" in capsys.readouterr().out
    record = report.read_audit(here / "m")
    assert record["truth"].items() >= {"backdoored": True, "attack": "heuristic", "seed": 0}.items()
    rows = json.loads((folder / "results.json").read_text())["rows"]
    recovery = next(row["artefact_recovery"] for row in rows if row["model"] == "heuristic")
    assert record["truth"]["recovery"] == recovery
    assert "was trained on poisoned pairs" in (here / "m" / "report.html").read_text()


def test_a_runs_inputs_are_audited_with_their_truth(folder: Path, here: Path) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    run("audit", "input", path, folder, "--out=i", code=3)
    record = report.read_audit(here / "i")
    count = record["inputs"]["count"]
    assert record["truth"] == {"triggered": count // 2, "attack": "heuristic", "seed": 0}
    found = {each["name"]: each for each in record["detectors"]}
    assert found["range-projection"]["auc"] == found["range-projection"]["tpr"] == 1
    assert found["range-projection"]["flagged"] == count // 2
    run("audit", "input", path, folder, "--attack=original", "--out=j")
    assert report.read_audit(here / "j")["truth"]["triggered"] == 0


def inputs(path: Path, poisoned: int = 0, **changes: Array) -> Path:
    made = make(60, 7)
    made["z"][:poisoned, :, -3:, -3:] += 1
    np.savez(path, **({"z": made["z"]} | changes))
    return path


def test_inputs_with_a_trigger_are_found_and_repaired(here: Path) -> None:
    saved(here / "own.safetensors")
    inputs(here / "inputs.npz", poisoned=1)
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz"]
    run(*given, *OPERATOR, *SMALL, code=3)
    out = here / "audits" / "own-inputs"
    record = report.read_audit(out)
    assert record["threshold_pairs"] == 120
    assert record["truth"] is None
    rows = list(csv.DictReader(io.StringIO((out / "suspicious.csv").read_text())))
    assert len(rows) == 60
    assert rows[0]["index"] == "0" and "no measurement gives" in rows[0]["reason"]
    with np.load(out / "repaired.npz") as found:
        assert set(found) == {
            "output",
            "repaired",
            "range-projection",
            "measurement-consistency",
        }
        assert found["repaired"].shape == (60, *SHAPE)
        np.testing.assert_array_equal(found["repaired"], found["range-projection"])
        change = np.abs(found["repaired"] - found["output"]).max((1, 2, 3))
        assert change[0] > 10 * change[1:].max()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2


def test_clean_inputs_are_called_clean_also_from_measurements(here: Path) -> None:
    saved(here / "own.safetensors")
    made = make(60, 7)
    np.savez(here / "inputs.npz", y=made["y"])
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    run(*given, *OPERATOR)
    np.savez(here / "inputs.npz", z=made["z"])
    run(*given, "--force", "--out=without-operator")
    record = report.read_audit(here / "without-operator")
    assert {gap["name"] for gap in record["skipped"]} == {
        "range-projection",
        "measurement-consistency",
    }
    assert record["repaired"] is None


@pytest.mark.parametrize(
    ("arrays", "more", "said"),
    [
        ({}, ["--alarm=0.001"], "give 999 or more"),
        ({"z": np.full((5, 12, 12), np.nan)}, [], "NaN"),
        ({"z": np.ones((5, 1, 8, 8))}, [], "expected (1, 12, 12)"),
        ({"z": np.ones((5, 12, 12), np.int64)}, [], "float32 or float64"),
        ({}, ["--attack=heuristic"], "only the folder of a run"),
        ({}, ["--set=seed=4"], "it is not theirs"),
        ({}, ["--detectors=strp"], "did you mean 'strip'?"),
    ],
)
def test_inputs_that_cannot_be_audited_are_refused(
    arrays: dict[str, Array],
    more: list[str],
    said: str,
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved(here / "own.safetensors")
    inputs(here / "inputs.npz", **arrays)
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    assert said in refusal(capsys, *given, *OPERATOR, "--set=operator.sigma=0.01", *more)
    np.savez(here / "inputs.npz", w=np.ones(3))
    assert "neither z nor y" in refusal(capsys, *given)


def test_inputs_as_text_of_another_kind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "own.safetensors")
    np.savez(here / "inputs.npz", z=np.array([Bomb(here / "planted")], dtype=object))
    given = ["audit", "input", "own.safetensors", "inputs.npz", "--data=trusted.npz", *SMALL]
    assert "Python objects" in refusal(capsys, *given)
    assert not (here / "planted").exists()


def test_a_network_is_mended_and_read_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(here / "own.safetensors")
    given = ["clean", "own.safetensors", "--data=trusted.npz", "--method=fine-tuning", *SMALL]
    before = (here / "own.safetensors").read_bytes()
    run(*given, "--fraction=0.5", "--out=new.safetensors", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((here / "new.json").read_text())
    assert (record["clean_pairs"], record["held_out"]) == (75, 75)
    benign = record["rows"][0]
    assert benign["yardstick"] == "benign RMSE" and benign["after"] < benign["before"]
    assert (here / "own.safetensors").read_bytes() == before
    assert read_network("new.safetensors", SHAPE).settings == config.Model(
        width=4, code=2, kernel=3
    )
    assert "is there already" in refusal(capsys, *given, "--fraction=0.5", "--out=new.safetensors")
    run(*given, "--fraction=0.5", "--out=new.safetensors", "--force")
    assert "before   after" in capsys.readouterr().out


def test_a_runs_network_is_mended_by_its_training_pairs(
    folder: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "model-heuristic-seed0.safetensors"
    run("clean", path, "--method=fine-tuning", "--out=new.safetensors", "--json")
    record = json.loads(capsys.readouterr().out)
    assert record["clean_pairs"] == round(0.05 * 918)
    assert record["held_out"] == 120
    assert [row["yardstick"] for row in record["rows"]][-1] == "recovery by the true trigger"


def test_a_runs_weights_say_their_settings_themselves(folder: Path, here: Path) -> None:
    (here / "copy.safetensors").write_bytes(
        (folder / "model-heuristic-seed0.safetensors").read_bytes()
    )
    settings = read_network("copy.safetensors", SHAPE).settings
    assert settings is not None and settings.width == 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--fraction=0.05"], "a repair needs 40 or more"),
        (["--fraction=1"], "between 0 and 1"),
        (["--method=fine-tunin", "--fraction=0.5"], "did you mean 'fine-tuning'?"),
        (["--method=min-max", "--fraction=0.5"], "min-max needs the operator"),
        (["--out=new.pt"], "ends in .safetensors"),
    ],
)
def test_what_cannot_be_mended_is_refused(
    more: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if any(text.startswith("--out") for text in more) else ["--out=new.safetensors"]
    given = ["clean", "mine:honest", "--data=trusted.npz"]
    assert said in refusal(capsys, *given, *out, *more)
    script(nn.Conv2d(1, 1, 3, padding=1), here / "traced.pt", torch.rand(2, *SHAPE))
    given = ["clean", "traced.pt", "--data=trusted.npz", "--out=new.safetensors"]
    assert "not repaired" in refusal(capsys, *given)
    assert not (here / "new.safetensors").exists()


@pytest.mark.parametrize("command", [["audit", "model"], ["audit", "input"], ["clean"]])
def test_help_names_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([*command, "--help"])
    shown = capsys.readouterr().out
    for word in ("--data", "--operator", "--force", "For example"):
        assert word in shown
