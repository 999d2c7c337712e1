"""Sweep files and folders of strangers: each is refused in one line, soon, and in little memory."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import fake_sweep
from recondoor import report, sweeps
from recondoor.core.errors import ConfigError, ReportError, RunError
from recondoor.io.tables import LONGEST, parse_toml
from recondoor.report._sweep import _tables
from recondoor.report._sweep._build import MOST_VERTICES
from recondoor.report._sweep._load import DEEPEST, load_sweep
from recondoor.sweeps import parse

SECONDS, MEMORY = 5, 1 << 30
AXES = "".join(f"grid.k{i} = [1, 2, 3]\n" for i in range(5000))
KEYS = "".join(f"k{i} = 1\n" for i in range(70_000))
MEASURED = """
import pathlib, re, sys, time
from recondoor import cli
begun = time.process_time()
try:
    cli.main(sys.argv[1:])
finally:
    # Not ru_maxrss, which begins with what the parent process has.
    used = re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    print(time.process_time() - begun, int(used[1]) * 1024)
"""


def measured(*arguments: str | Path) -> tuple[int, str, float, int]:
    """Exit code, what was said, CPU seconds and bytes of memory of a command."""
    command = [sys.executable, "-c", MEASURED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=_bounded)
    seconds, memory = done.stdout.split()[-2:]
    return done.returncode, done.stderr, float(seconds), int(memory)


def _bounded() -> None:
    """A machine that does not answer any more would tell less than a test that fails."""
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))


def refused(said: str, *arguments: str | Path) -> None:
    code, shown, seconds, memory = measured(*arguments)
    assert code == 2
    assert said in shown
    assert len(shown.splitlines()) <= 2
    assert max(map(len, shown.splitlines())) < 1100
    assert seconds < SECONDS
    assert memory < MEMORY


# Sweep files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds = 200_000_000", "200,000,000 points"),
        (f"seeds = {10**18}", "over 10^15 points"),
        (f"seeds = {10**30}", "an integer of more than 64 bits"),
        (f"seeds = 0x{'f' * 20_000}", "an integer of more than 64 bits"),
        (f"[[block]]\nname = 'b'\n{AXES}", "over 10^15 points"),
        ("[[block]]\n" * 100_000, "100,000 points"),
        (f"a{'.a' * 60_000} = 1", "a key of 60,001 parts"),
        (f"[a{'.a' * 60_000}]", "a key of 60,001 parts"),
        (f"a = {'[' * 100_000}", "100,000 brackets in each other"),
        (f"a = {'{a=' * 100_000}", "100,000 brackets in each other"),
        (f"[base]\n{KEYS}", "there is no such setting (and 69998 more)"),
        (KEYS, "there is no such part"),
        ("#" * (LONGEST + 1), "at most 1,048,576 are read"),
        ("#" * (5 << 20), "has 5 MiB"),
        (f"[[point]]\nname = '{'x' * 1_000_000}'", "it names folders"),
        (f"preset = '{'x' * 1_000_000}'", "is unknown"),
    ],
    ids=[
        "seeds", "many seeds", "more", "hexadecimal", "axes", "blocks", "dots", "header",
        "brackets", "braces", "keys", "parts", "long", "large", "name", "preset",
    ],
)  # fmt: skip
def test_a_sweep_file(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "spec.toml").write_text(text)
    refused(said, "sweep", tmp_path / "spec.toml", "--workers=0", f"--out={tmp_path / 'out'}")
    assert [path.name for path in tmp_path.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "."])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused("no regular file", "sweep", tmp_path / name)


@pytest.mark.parametrize(
    "given", [10**9, [2**63], [-1], [True], True, 1.5, "3", [], {}, [0, 0], None]
)
def test_seeds(given: object) -> None:
    with pytest.raises(ConfigError, match="seeds: |points "):
        parse({"seeds": given})


def test_points_are_counted_before_they_are_made() -> None:
    grid = {"attack.l2": [float(i) for i in range(1, 101)], "poison.ratio": [0.1, 0.2]}
    zipped = {"train.batch": [1, 2], "train.max_epochs": [1, 2]}
    tree = {"block": [{"grid": grid, "zip": zipped}], "point": [{"name": "a"}]}
    with pytest.raises(ConfigError, match=r"^20,050 points"):
        parse({**tree, "seeds": 50})


# TOML


@pytest.mark.parametrize(
    "text",
    [
        "a = 1.5\nb = [0.1, 0.2, 0.3]\n'c.d.e'.f = '" + "." * 100 + "'",
        'a = """\n' + "x.y.z " * 100 + '"""\nb = "' + r"\"[[[[" + '"',
        "a = '''\n" + "[{" * 100 + "'''  # " + "." * 100,
        "# " + "a." * 100 + "\n[a.b.c]\nd.e = [[1, 2], [3]]",
        f"a = {2**63 - 1}\nb = {-(2**63)}\nc = 1979-05-27T07:32:00.999Z",
        "\n".join(f"a{i} = 0.5" for i in range(100)),
    ],
)
def test_toml_that_is_read_as_ever(text: str) -> None:
    import tomllib

    assert parse_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize("text", [f"a = {2**63}", f"a = [[{{b = {-(2**63) - 1}}}]]"])
def test_integers_that_toml_does_not_have(text: str) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        parse_toml(text)


@pytest.mark.parametrize("key", ["a.", "'a'.", '"a" . ', '"\\"".'])
def test_keys_of_many_parts(key: str) -> None:
    with pytest.raises(ValueError, match="a key of 101 parts"):
        parse_toml(f"{key * 100}a = 1")


# Tables


TEXT = "trigger.file"


def swapped(name: str, values: Callable[[int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.column_names.index(name)
        return table.set_column(place, name, values(len(table)))

    return change


def one_text(n: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), ["x" * 1_000_000])


def nulls(table: pa.Table) -> pa.Table:
    return pa.table({name: pa.nulls(20_000_000, pa.float64()) for name in ("a", "b")})


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (swapped(TEXT, one_text), {"store_schema": False}, "a text of 1,000,000 characters"),
        (swapped(TEXT, one_text), {}, "is neither text nor"),
        (
            swapped(TEXT, lambda n: pa.array(["x" * 30_000] * n)),
            {"use_dictionary": False, "compression": "zstd"},
            "is packed as ZSTD",
        ),
        (
            swapped(TEXT, lambda n: pa.array(["x" * 30_000] * n)),
            {"use_dictionary": False, "column_encoding": {TEXT: "DELTA_BYTE_ARRAY"}},
            "DELTA_BYTE_ARRAY, in which no sweep writes",
        ),
        (swapped("seed", lambda n: pa.array([{"a": 1}] * n)), {}, "seed is neither text nor"),
        (swapped("seed", lambda n: pa.array([0] * n, pa.timestamp("s"))), {}, "is neither text"),
        (swapped("point", lambda n: pa.array([b"a"] * n)), {}, "point is neither text"),
        (swapped("seed", lambda n: pa.array([0.5] * n)), {}, "seed is missing"),
        (swapped("asr", lambda n: pa.array(["1"] * n)), {}, "asr is '1', no number"),
        (nulls, {}, "20,000,000 rows are more"),
        (lambda table: pa.table({f"c{i}": [1.0] for i in range(20_000)}), {}, "20,000 columns"),
        (lambda table: pa.table({"a": [1]}), {}, "there is no column point"),
    ],
    ids=[
        "a text", "dictionary", "zstd", "delta", "nested", "time", "bytes", "float", "text", "rows",
        "columns", "column",
    ],
)  # fmt: skip
def test_a_table(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], options: dict[str, Any], said: str
) -> None:
    path = fake_sweep.write(tmp_path / "axes") / "sweep.parquet"
    table = parquet.read_table(path)
    parquet.write_table(change(pa.concat_tables([table] * 20)), path, **options)
    assert path.stat().st_size < 6 << 20
    refused(said, "report", path.parent)


def test_rows_share_what_they_have_in_common(tmp_path: Path) -> None:
    rows = fake_sweep.rows()
    found = load_sweep(fake_sweep.write(tmp_path, rows)).rows
    assert [dict(row) for row in found] == rows
    assert len({id(row["data.name"]) for row in found}) == 1


# Folders


def link(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["sweep.json", "sweep.parquet"])
@pytest.mark.parametrize("swap", [link, pipe, endless, lambda p: (p.unlink(), p.mkdir())])
def test_files_of_a_report_that_are_none(
    tmp_path: Path, name: str, swap: Callable[[Path], object]
) -> None:
    folder = fake_sweep.write(tmp_path)
    swap(folder / name)
    with pytest.raises(ReportError, match="is a link|no regular file") as caught:
        report.build(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", "3", '"a"', "[" * 2000, '{"schema": []}', "\xff", "1" * 5000]
)
def test_records_that_are_none(tmp_path: Path, text: str) -> None:
    folder = fake_sweep.write(tmp_path)
    (folder / "sweep.json").write_text(text, encoding="latin-1")
    with pytest.raises(ReportError, match="writes it anew"):
        report.build(folder)


@pytest.mark.parametrize("part", ["spec", "provenance"])
def test_a_record_of_many_levels(tmp_path: Path, part: str) -> None:
    inner: Any = 1
    for _ in range(DEEPEST + 1):
        inner = {"a": inner}
    folder = fake_sweep.write(tmp_path, change=lambda record: record.update({part: inner}))
    with pytest.raises(ReportError, match="levels inside each other"):
        report.build(folder)


# A folder to carry on in

SWEEP = parse({"preset": "smoke", "base": {"attack.names": "none"}})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    assert sweeps.run(SWEEP, folder).failures == {}
    return folder / "points" / "base" / "seed0"


def rows_with(**values: object) -> str:
    row = {"model": "original", "seed": 0, "benign_rmse": 0.1}
    return json.dumps({"rows": [{**row, **values}]})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (name, text)
        for name in ("provenance.json", "results.json")
        for text in ("{}", "[]", "null", "3", "[" * 9000, "\xff", "{")
    ]
    + [
        ("results.json", text)
        for text in (
            '{"rows": {}}', '{"rows": [3]}', '{"rows": [{}]}', '{"rows": null}',
            rows_with(seed="0"), rows_with(seed=True), rows_with(model=None),
            rows_with(benign_rmse="much"), rows_with(benign_rmse=True),
            rows_with(benign_rmse=10**30),
        )
    ],
)  # fmt: skip
def test_a_run_that_is_none(finished: Path, name: str, text: str) -> None:
    path = finished / name
    before = path.read_bytes()
    try:
        path.write_text(text, encoding="latin-1")
        with pytest.raises(RunError, match="choose another --out") as caught:
            sweeps.run(SWEEP, finished.parents[2])
        assert "\n" not in str(caught.value)
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", ["provenance.json", "results.json"])
@pytest.mark.parametrize("swap", [link, pipe, endless])
def test_files_of_a_run_that_are_none(
    finished: Path, name: str, swap: Callable[[Path], object]
) -> None:
    path = finished / name
    before = path.read_bytes()
    try:
        swap(path)
        with pytest.raises(RunError, match="is a link|no regular file"):
            sweeps.run(SWEEP, finished.parents[2])
    finally:
        path.unlink()
        path.write_bytes(before)


# Large ones


@pytest.mark.slow
def test_a_page_of_ten_thousand_rows(tmp_path: Path) -> None:
    """2,500 points that are on no grid; each is drawn, and the tables say what they leave out."""
    settings = [(i, 0.01 + 0.9 * (i * 0.618 % 1), 0.1 + 20 * (i * 0.414 % 1)) for i in range(2500)]
    rows = [
        fake_sweep.row(f"p{i}", model, 0, p * l2 > 0.5, p, attack__l2=l2)
        for i, p, l2 in settings
        for model in ("original", "heuristic", "bilevel", "random")
    ]
    folder = fake_sweep.write(tmp_path / "axes", rows)
    code, _, seconds, memory = measured("report", folder)
    page = (folder / "report.html").read_text()
    assert code == 0
    assert memory < MEMORY
    assert seconds < 60
    assert len(page) < 4e6
    assert "The first 1,000 of 10,000 lines" in page
    assert page.count('<th scope="row" class="point">') == _tables.MOST_LINES
    assert len(rows) > MOST_VERTICES
