"""Plug-ins from outside the package: a file of one's own, an installed package, a broken one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from outside import PROJECT, install, recondoor, write
from recondoor import data, rundir
from recondoor.core import registry
from recondoor.core.errors import ConfigError, DataError

SMALL = ("data.limit=200", "model.width=4", "model.code=4", "train.max_epochs=1", "seed=3")
OWN = ("operator.name=blur:Blur", "attack.names=none,heuristic,sine:Sinusoid")


def given(*overrides: str) -> list[str]:
    return [part for text in overrides for part in ("--set", text)]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the user's files, and a run that was made with them from the command line."""
    folder = write(tmp_path_factory.mktemp("own"))
    options = ["--preset", "smoke", "--out", "run", *given(*SMALL, *OWN)]
    done = recondoor("study", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_study_with_a_file_of_ones_own(studied: Path) -> None:
    rows = json.loads((studied / "run" / "results.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["original", "heuristic", "sinusoid"]
    assert rows[2]["trigger_l2"] == pytest.approx(rows[1]["trigger_l2"], rel=1e-5)
    page = (studied / "run" / "report.html").read_text()
    assert "Sinusoid" in page


def test_what_is_expected_of_it_says_nothing_of_a_ratio_or_of_learning(studied: Path) -> None:
    options = ["--preset", "smoke", *given(*SMALL, *OWN), "--attack", "sine:Sinusoid"]
    done = recondoor("predict", *options, cwd=studied)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sinusoid: ")
    assert "has to be learned" not in done.stderr
    assert "sampl" not in done.stdout.replace("limited by samples", "")
    # An operator without a ratio is not to be mended by one.
    unseen = given("artefact.space=kernel", "artefact.size=1")
    identity = ["--preset", "smoke", *given("data.limit=300", "operator.name=identity"), *unseen]
    refused = recondoor("predict", *identity, "--attack", "heuristic", cwd=studied)
    assert refused.returncode == 2
    assert "set artefact.space=image" in refused.stderr
    assert "operator.ratio" not in refused.stderr


def test_detectors_of_ones_own(studied: Path) -> None:
    network = "run/model-heuristic-seed3.safetensors"
    trust = ["--alarm", "0.2", "--trust-paths"]
    looks = ["--detectors", "look:Energy,strip"]
    done = recondoor("audit", "input", network, "run", *trust, *looks, "--out", "i", cwd=studied)
    assert done.returncode in (0, 3, 4), done.stderr
    lines = (studied / "i" / "suspicious.csv").read_text().splitlines()
    assert lines[0].startswith("index,look:Energy,strip,")
    assert any("its norm is off by a factor of e^" in line for line in lines[1:])
    looks = ["--detectors", "look:Weights"]
    pairs = np.random.default_rng(0).random((50, 28, 28), dtype=np.float32)
    np.savez(studied / "clean.npz", x=pairs, z=pairs)
    trusted = ["--data", "clean.npz", *trust]
    done = recondoor("audit", "model", network, *trusted, *looks, "--out", "m", cwd=studied)
    assert done.returncode == 3, done.stderr
    text = done.stdout + (studied / "m" / "report.html").read_text()
    assert "the network has a weight of" in text
    assert "from a guess of its author" in text
    # Those are other plug-ins' laws and findings.
    for other in ("studies/defences", "same thing to every image", "rows "):
        assert other not in done.stdout


def test_a_strangers_run_names_no_code(studied: Path) -> None:
    """Only the command line and one's own settings may: refused before the module is looked at."""
    (studied / "elsewhere").mkdir(exist_ok=True)
    place = studied / "elsewhere"
    ran = studied / "elsewhere" / "ran"
    (place / "blur.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    network = str(studied / "run" / "model-heuristic-seed3.safetensors")
    for arguments in (
        ["audit", "data", str(studied / "run")],
        ["audit", "model", network],
        ["audit", "input", network, str(studied / "run")],
        ["clean", network, "--out", "mended.safetensors"],
    ):
        done = recondoor(*arguments, cwd=place)
        assert done.returncode == 2, done.stdout
        assert "names code of somebody's own" in done.stderr
        assert "--trust-paths" in done.stderr
        assert not ran.exists()
    done = recondoor("report", str(studied / "run"), "--out", "page", cwd=place)
    assert done.returncode == 0, done.stderr
    assert not ran.exists()
    done = recondoor("audit", "data", str(studied / "run"), "--trust-paths", cwd=studied)
    assert done.returncode in (0, 3, 4), done.stderr


@pytest.mark.parametrize("where", ["beside", "inside"])
def test_weights_name_no_code(where: str, tmp_path: Path) -> None:
    """The settings beside weights, and their own metadata, are a stranger's too."""
    arrays = {"weight": np.zeros((1, 1, 3, 3), np.float32)}
    if where == "inside":
        meta = {"model": {"name": "net:Net"}}
        rundir.write_tensors(tmp_path / "net.safetensors", arrays, meta)
    else:
        save_file(arrays, tmp_path / "net.safetensors")
        (tmp_path / "config.toml").write_text('[model]\nname = "net:Net"\n')
    pairs = np.random.default_rng(0).random((50, 1, 28, 28), dtype=np.float32)
    np.savez(tmp_path / "clean.npz", x=pairs, z=pairs)
    (tmp_path / "net.py").write_text("open('ran', 'w').close()\n")
    audit = ["audit", "model", "net.safetensors", "--data", "clean.npz"]
    done = recondoor(*audit, cwd=tmp_path)
    assert done.returncode == 2
    assert "model.name='net:Net', which is not run" in done.stderr
    assert not (tmp_path / "ran").exists()
    chosen = recondoor(*audit, "--set", "model.name=net:Net", cwd=tmp_path)
    assert chosen.returncode == 2
    assert (tmp_path / "ran").exists()


def test_code_of_ones_own_that_was_edited_is_another_run(studied: Path, tmp_path: Path) -> None:
    folder = write(tmp_path)
    options = ["--preset", "smoke", "--out", "run", *given(*SMALL, OWN[0], "attack.names=none")]
    assert recondoor("study", *options, cwd=folder).returncode == 0
    again = recondoor("study", *options, cwd=folder)
    assert again.returncode == 0, again.stderr
    (folder / "blur.py").write_text((folder / "blur.py").read_text().replace("1 / 9", "1 / 8"))
    changed = recondoor("study", *options, cwd=folder)
    assert changed.returncode == 2
    assert "other" in changed.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("installed"))


def test_an_installed_package_brings_plug_ins(site: Path, tmp_path: Path) -> None:
    listed = recondoor("list", "operators", cwd=tmp_path, site=site)
    assert listed.returncode == 0, listed.stderr
    line = "Blur: each pixel is the mean of the nine around it. (optics 2.1)"
    assert line in listed.stdout
    every = recondoor("list", cwd=tmp_path, site=site)
    assert "as large as the budget allows. (optics 2.1)" in every.stdout
    chosen = ["operator.name=smear", "attack.names=none,sine"]
    options = ["--preset", "smoke", "--out", "run", *given(*SMALL, *chosen)]
    done = recondoor("study", *options, cwd=tmp_path, site=site)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["original", "sine"]
    # Whose author is an installed package may be named by a run: the user has installed it.
    audit = ["audit", "input", "run/model-sine-seed3.safetensors", "run", "--alarm", "0.2"]
    looked = recondoor(*audit, cwd=tmp_path, site=site)
    assert looked.returncode in (0, 3, 4), looked.stderr
    assert "energy" in looked.stdout


def test_listing_imports_no_plug_in(site: Path) -> None:
    code = (
        "import sys; from recondoor.core import registry; "
        "assert 'smear' in registry.describe('operators'); assert registry.faults() == []; "
        "print([name for name in sys.modules if name.startswith(('optics', 'torch'))])"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.append({str(site)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


OPERATOR = "from recondoor.operators import Operator\nclass Blur(Operator):\n"
BROKEN = {
    "no class": ("", "has no Blur"),
    "a syntax error": ("class Blur(:\n", "line 1: SyntaxError"),
    "an unknown name": ("\nBlur = Undefined\n", "line 2: NameError"),
    "no plug-in": ("Blur = 3\n", "is the int 3; expected a class"),
    "another class": (
        "class Blur: ...\n",
        "is the class Blur; expected a class that derives from recondoor.operators.Operator",
    ),
    "another kind": (
        "from recondoor.data import DataSet\nclass Blur(DataSet):\n    def load(self, d, p): ...\n",
        "is registered as datasets",
    ),
    "unfinished": (
        "from recondoor.operators import Operator\nclass Blur(Operator):\n    draws = False\n",
        "does not define build",
    ),
    "silent": (
        f"{OPERATOR}    draws = False\n    def build(self, *given): ...\n",
        "does not say has_ratio",
    ),
    "no operator": (
        f"{OPERATOR}    draws = has_ratio = False\n    def build(self, *given): return 3\n",
        "builds int; expected a LinearOperator",
    ),
    "failing": (
        f"{OPERATOR}    draws = has_ratio = False\n    def build(self, *given): return {{}}[1]\n",
        "line 4: KeyError",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plug_in_is_one_line(case: str, tmp_path: Path) -> None:
    text, said = BROKEN[case]
    (tmp_path / "broken.py").write_text(text)
    options = ["--preset", "smoke", *given("operator.name=broken:Blur", "data.limit=60")]
    done = recondoor("predict", *options, "--attack", "heuristic", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = [each for each in done.stderr.splitlines() if each.startswith("recondoor: ")]
    assert "broken:Blur" in line
    assert said in line
    assert "Traceback" not in done.stderr


def test_a_broken_package_is_told_by_list(tmp_path: Path) -> None:
    entries = PROJECT.replace("optics.sine:Sinusoid", "optics.gone:Sinusoid")
    entries = entries.replace('"defences.energy"', '"detectors.energy"')
    site = install(tmp_path, entries)
    done = recondoor("list", "operators", cwd=tmp_path, site=site)
    assert "smear" in done.stdout
    assert done.returncode == 2
    assert "optics: attacks.sine: there is no module optics.gone" in done.stderr
    assert "optics: detectors.energy: expected a name KIND.NAME" in done.stderr


def test_the_current_folder_is_searched_during_the_import_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write(tmp_path))
    before = list(sys.path)
    assert registry.load("operators", "blur:Blur").__name__ == "Blur"
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "blur")


def test_a_data_set_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sets.py").write_text(
        "import numpy as np\nfrom recondoor.data import DataSet, Images\n"
        "class Flat(DataSet):\n    '''Flat images.'''\n"
        "    def load(self, data_dir, progress):\n"
        "        return Images.of('flat', np.full((20, 4, 4), 0.5))\n"
        "class Wrong(Flat):\n    def load(self, data_dir, progress): return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    assert data.load("sets:Flat").shape == (1, 4, 4)
    assert data.find("sets:Flat") is None
    with pytest.raises(DataError, match="gives int; expected Images"):
        data.load("sets:Wrong")
    with pytest.raises(ConfigError, match="has no Steep"):
        data.load("sets:Steep")
    monkeypatch.delitem(sys.modules, "sets")


def test_contracts_run_by_one_line(tmp_path: Path) -> None:
    folder = write(tmp_path)
    command = [sys.executable, "-m", "recondoor.testing"]
    names = ["blur:Blur", "sine:Sinusoid", "look:Energy", "look:Weights"]
    done = subprocess.run([*command, *names, "-q"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    wrong = (
        (folder / "blur.py").read_text().replace("A_adjoint = A", "A_adjoint = lambda s, y: 2 * y")
    )
    (folder / "bad.py").write_text(wrong)
    done = subprocess.run([*command, "bad:Blur", "-q"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "test_adjoint_identity" in done.stdout
    done = subprocess.run([*command, "blur:Green"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert "has no Green" in done.stderr
