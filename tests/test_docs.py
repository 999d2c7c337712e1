"""The documentation agrees with the code: generated tables, links, examples, quoted settings."""

import ast
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outside import recondoor as command_line
from recondoor import config, studies
from recondoor.attacks._bilevel import BETAS
from recondoor.records._models import AttackLine, TrainLine

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(
    path
    for path in (*DOCS.rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md")
    if path.exists()
)
KEYS = config.keys()
TABLES = runpy.run_path(str(DOCS / "generate_tables.py"))
EXAMPLES = re.compile(r"^`(\w+\.py)`\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, made as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_pages_are_there() -> None:
    names = {page.stem for page in PAGES}
    assert {"notation", "deviations", "adding-a-method", "results", "settings", "design"} <= names
    assert {"sweep", "cluster"} <= names


@every_page
def test_every_relative_link_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8")))
    broken = []
    for link in links:
        name, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / name).resolve() if name else page
        fits = target.exists() and (not anchor or anchor in anchors(target))
        if not fits or not target.is_relative_to(REPOSITORY):
            broken.append(link)
    assert broken == []


@every_page
def test_every_python_block_compiles(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


def test_the_readme_is_short_and_begins_with_a_picture() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert "![" in "\n".join(text.splitlines()[:25])
    told = re.sub(r"\]\([^)]*\)", "", without_code(text))
    assert len(re.findall(r"\b\d[\d.,]*", told)) <= 10


def test_every_page_of_the_documentation_is_in_the_contents() -> None:
    contents = "".join(blocks(DOCS / "index.md", "{toctree}")).split()
    pages = {
        page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES if DOCS in page.parents
    }
    assert pages - {"index"} <= set(contents)


def test_the_page_of_settings_is_up_to_date() -> None:
    """If this fails: python docs/generate_settings.py."""
    made = runpy.run_path(str(DOCS / "generate_settings.py"))["page"]()
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == made


def test_schemas_and_tables_are_those_of_the_records() -> None:
    """If this fails: make tables."""
    made = TABLES["kept"]()
    assert [path for path, text in made.items() if path.read_text(encoding="utf-8") != text] == []
    assert {path.name for path in made if path.suffix == ".md"} == {
        "notation.md",
        "results.md",
        "sweep.md",
    }


@pytest.mark.parametrize("page", ["deviations", "notation"])
def test_settings_that_a_page_names_exist(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    sections = "|".join({key.partition(".")[0] for key in KEYS if "." in key})
    named = set(re.findall(rf"\b(?:{sections})\.[a-z_0-9]+\b", without_files(text)))
    known = {*KEYS, *(key.rpartition(".")[0] for key in KEYS), "trigger.delta", "trigger.mask"}
    known |= {"artefact.pattern", "artefact.support", "operator.forward", "operator.measure"}
    assert {name for name in named if name not in known} == set()


def without_files(text: str) -> str:
    return re.sub(r"\b[\w-]+\.(md|json|py|toml)\b", "", text)


def test_numbers_of_the_paper_preset_in_the_deviations() -> None:
    text = " ".join((DOCS / "deviations.md").read_text(encoding="utf-8").split())
    paper = config.load_config("paper")
    validation = round(60_000 * paper.data.validation)
    assert f"{60_000 - validation:,} training, {validation:,} validation" in text
    assert f"{paper.train.max_epochs} in the preset `paper`" in text
    assert f"preset `paper`: {paper.seeds} seeds" in text
    assert f"stops after {paper.train.patience} epochs" in text
    assert "m = 2, beta = 0.01, alpha = 10, batch 125, 200 iterations" in text
    attack = paper.attack
    assert attack.inner_lr is None  # the variant paper then takes the paper's
    given = (attack.inner_steps, BETAS["sgd"], attack.outer_lr, attack.batch, attack.iterations)
    assert given == (2, 0.01, 10, 125, 200)
    assert attack.variant == "ensemble"
    assert f"amplitude to {config.load_config('quick').trigger.amplitude:g}" in text


def test_the_ladder_in_the_design_is_the_one_enforced() -> None:
    """Every room is told, a group's rooms below it, in the order of the list but inside groups."""
    ladder = next(b for b in blocks(DOCS / "design.md", "") if b.startswith("core"))
    enforced = runpy.run_path(str(Path(__file__).with_name("test_ladder.py")))
    rooms, groups = enforced["ROOMS"], enforced["GROUPS"]
    told: list[str] = []
    group = ""
    for line in ladder.splitlines():
        name = line.split()[0]
        group = name if name in groups else group if line.startswith(" ") else ""
        if name not in groups:
            told.append(f"{group}.{name}" if group else name)
    assert sorted(told) == sorted(rooms)
    plain = [name for name in told if "." not in name]
    assert plain == [name for name in rooms if "." not in name]
    for group in groups - {"core", "io"}:
        assert [n for n in told if n.startswith(f"{group}.")] == [
            n for n in rooms if n.startswith(f"{group}.")
        ]
    text = " ".join((DOCS / "design.md").read_text(encoding="utf-8").split())
    sentence = re.search(r"import no torch, not even indirectly: (.*?)\. \(", text)
    assert sentence is not None
    but = set(re.findall(r"\(but `([\w.]+)`\)", sentence[1]))
    free = set(re.findall(r"`([\w.]+)`", re.sub(r"\(.*?\)", "", sentence[1])))
    expected = {name for name in rooms if {name, name.split(".")[0]} & free} - but
    assert expected == set(enforced["TORCH_FREE"])


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two seeds whose networks learn nothing, as runs/example in an empty folder."""
    folder = tmp_path_factory.mktemp("docs")
    overrides = ["data.limit=60", "attack.names=none,bilevel", "seeds=2"]
    settings = config.load_config("smoke", (), [*overrides, "model.width=4", "model.code=4"])
    studies.run(settings, folder / "runs" / "example")
    return folder


def test_reading_a_run_as_documented(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(example)
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "results.md", "python"):
        exec(compile(block, "results.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert "benign_rmse" in "".join(lines)
    assert float(lines[-1]) < 1e-5


def flattened(value: object, path: str) -> Iterator[str]:
    """Paths of a JSON value, written as in the table of results.md."""
    if path and not path.endswith("[]"):
        yield path
    if isinstance(value, dict) and path not in ("provenance.versions", "provenance.hardware"):
        for key, child in value.items():
            key = "*" if path in ("summary.models", "summary.models.*") else key
            yield from flattened(child, f"{path}.{key}" if path else key)
    if isinstance(value, list):
        for child in value:
            yield from flattened(child, f"{path}[]")


def test_every_member_of_a_real_results_file_is_documented(example: Path) -> None:
    results = json.loads((example / "runs" / "example" / "results.json").read_text())
    written = set(flattened(results, ""))
    table = TABLES["documented"]("results")
    known = {member.path for member in table}
    assert [member.path for member in table if not member.meaning] == []
    sections = {key.partition(".")[0] for key in KEYS}
    settings = {f"config.{config.recorded_key(key)}" for key in (*KEYS, *sections)}
    assert written - known - settings == set()
    # The choice of the ratio was not run, a git checkout need not be there, digits tell no people.
    other = ("ratios", "prov", "summary.subjects", "rows[].subjects", "rows[].volume_")
    absent = {path for path in known - written if not path.startswith(other)}
    assert absent == set()


def test_history_rows_have_the_documented_members(example: Path) -> None:
    lines = (example / "runs" / "example" / "history.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    for stage, names in (("train", TrainLine.model_fields), ("attack", AttackLine.model_fields)):
        assert {frozenset(row) for row in rows if row["stage"] == stage} == {frozenset(names)}


def test_the_examples_of_new_methods_run(tmp_path: Path) -> None:
    """From an empty folder: a study and an audit with all of them, and their contracts."""
    found = EXAMPLES.findall((DOCS / "adding-a-method.md").read_text(encoding="utf-8"))
    assert len(found) == 5
    for path, code in found:
        (tmp_path / path).write_text(code)
    settings = ["operator.name=column_mask:ColumnMask", "model.name=residual:Residual"]
    # Two 5x5 kernels do not reach from the corner to the artefact.
    settings += ["model.width=4", "attack.mask=image", "data.name=squares:Squares"]
    options = [part for text in settings for part in ("--set", text)]
    attacks = ["--attack", "none,random_signs:RandomSigns,bilevel"]
    study = ["study", "--preset", "smoke", *options, *attacks, "--out", "run"]
    done = command_line(*study, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["original", "bilevel", "random-signs"]
    assert rows[2]["trigger_l2"] == pytest.approx(3, abs=1e-6)
    network = "run/model-original-seed0.safetensors"
    audit = ["audit", "input", network, "run", "--detectors", "energy:Energy", "--alarm", "0.3"]
    done = command_line(*audit, "--trust-paths", cwd=tmp_path)
    assert done.returncode in (0, 3, 4), done.stderr
    names = re.findall(
        r"^class (\w+)\((?:Operator|Network|DataSet|Attack|InputDetector)\)",
        "".join(code for _, code in found),
        re.M,
    )
    plug_ins = [f"{Path(path).stem}:{name}" for (path, _), name in zip(found, names, strict=True)]
    command = [sys.executable, "-m", "recondoor.testing", *plug_ins, "-q"]
    contracts = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert contracts.returncode == 0, contracts.stdout


def test_the_script_of_a_pipeline_runs_as_it_stands(tmp_path: Path) -> None:
    """What its prints say is what the page says."""
    (script,) = blocks(DOCS / "python.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    verdict, found, _, planted, *_ = done.stdout.split()
    assert verdict == "suspicious"
    assert found == planted == "50"
    assert "suspicious [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" in done.stdout
    assert "\nundecided\n" in done.stdout
    assert (tmp_path / "audits" / "mine" / "report.html").exists()
