"""The explorer without a browser: who is let in, what is opened, and numbers against NumPy."""

import dataclasses
import http.client
import json
import os
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fake_run
import fake_sweep
import recondoor as rd
from explore_kit import TRUSTED, make_audit, make_run, shown
from recondoor import audit, cli, config, data, defences, operators, rundir, studies
from recondoor.core.errors import ConfigError, DataError, RecondoorError
from recondoor.explore import (
    Access,
    Folder,
    Site,
    _audits,
    open_folder,
)
from recondoor.explore._bench import Bench, Question
from recondoor.explore._opinions import Opinions, Subject

Answer = tuple[int, dict[str, str], bytes]
ARTEFACT = "artefact_recovery"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page of a run without weights."""
    with shown(fake_run.write(tmp_path_factory.mktemp("fake") / "run"), Access()) as site:
        yield site


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("explore"))


@pytest.fixture(scope="module")
def bench(run: Path) -> Bench:
    return Bench(run, TRUSTED)


def ask(site: Site, path: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    """An answer to a request for a path after the token's; `headers` with _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    connection.putrequest(method, path, skip_host="host" in named, skip_accept_encoding=True)
    for name, value in named.items():
        connection.putheader(name, value)
    if body and "content-length" not in named:
        connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def own(site: Site, path: str) -> str:
    return f"/{site.token}/{path}"


def test_the_page_is_for_who_knows_its_address(plain: Site) -> None:
    assert ask(plain, own(plain, ""))[0] == 200
    for path in ("/", "/api/folder", f"/{plain.token[:-1]}/", f"/x{plain.token}/api/folder"):
        assert ask(plain, path)[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({}, 200),
    ],
)
def test_other_sites_are_refused(plain: Site, headers: dict[str, str], status: int) -> None:
    assert ask(plain, own(plain, "api/folder"), **headers)[0] == status


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {}, 405),
        ("POST", {"content_type": "text/plain"}, 415),
        ("POST", {"content_type": "application/json", "content_length": "100000"}, 413),
        ("POST", {"content_type": "application/json", "transfer_encoding": "chunked"}, 413),
    ],
)
def test_other_questions_are_refused(
    plain: Site, method: str, headers: dict[str, str], status: int
) -> None:
    assert ask(plain, own(plain, "api/look"), method, **headers)[0] == status


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "_app.py",
        "../_app.py",
        "api/nothing",
        "page/",
    ],
)
def test_no_other_file_is_served(plain: Site, path: str) -> None:
    assert ask(plain, own(plain, path))[0] == 404


@pytest.mark.parametrize("path", ["", "main.js", "api/curves", "api/nothing"])
def test_nothing_is_loaded_from_elsewhere(plain: Site, path: str) -> None:
    _, headers, _ = ask(plain, own(plain, path))
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy and "data:" not in policy
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"


def test_only_this_machine_is_answered(plain: Site) -> None:
    assert plain._socket.getsockname()[0] == "127.0.0.1"
    other = Site(plain.folder, Access())
    other.close()
    assert other.token != plain.token and len(other.token) >= 32


def test_a_run_without_weights_says_what_to_do(plain: Site) -> None:
    status, _, content = ask(plain, own(plain, "api/bench"))
    assert status == 422
    assert "were not kept" in json.loads(content)["error"]


@pytest.mark.parametrize("place", ["..", "/etc", "points/none", "../run"])
def test_no_other_run_is_opened(plain: Site, place: str) -> None:
    status, _, content = ask(plain, own(plain, f"api/curves?run={place}"))
    assert status == 422 and "is no run in" in json.loads(content)["error"]


@pytest.mark.parametrize("name", ["starlette.applications", "uvicorn"])
def test_a_missing_extra_is_told_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_run.write(tmp_path / "run")
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "recondoor.explore._app", raising=False)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["explore", str(tmp_path / "run"), "--no-browser"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "pip install 'recondoor[explore]'" in said


def test_a_port_that_is_taken_is_told(plain: Site) -> None:
    with pytest.raises(ConfigError, match=f"--port: {plain.port} given, Address already in use"):
        Site(plain.folder, Access(), plain.port)


def test_help_loads_neither_torch_nor_the_server() -> None:
    code = (
        "import sys; from recondoor import cli\n"
        "try: cli.main(['explore', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'starlette', 'uvicorn', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    folder = fake_run.write(tmp_path / "run")
    command = [sys.executable, "-m", "recondoor", "explore", str(folder), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.stdout.readline()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said == ""


def question(**touch: object) -> Question:
    touch = {"pattern": "own", "enters": "z", "size": 3, "row": 8, "column": 8} | touch
    return Question.model_validate({"seed": 0, "model": "heuristic", "image": 7, "touch": touch})


def values(picture: dict[str, Any]) -> np.ndarray[Any, Any]:
    flat = np.frombuffer(b64decode(picture["data"]), dtype="<f4")
    return flat.reshape(picture["shape"])


def test_recovery_is_that_of_the_network_itself(run: Path, bench: Bench) -> None:
    settings = rundir.settings(run, trusted_paths=True)
    scene = studies.build_scene(settings, data.read(settings.data), 0, torch.device("cpu"))
    model, _ = studies.load_model(rundir.RunDir(run), settings, scene.shape, "heuristic", 0,
                                  torch.device("cpu"))  # fmt: skip
    z = scene.test.z[7:8].clone()
    with torch.no_grad():
        clean = model.eval()(z)[0, 0].double().numpy()
        z[0, 0, 2:5, 5:8] += 2 * 4.0
        triggered = model(z)[0, 0].double().numpy()
    plus = np.zeros((12, 12))
    plus[2:5, 3] = plus[3, 2:5] = 1  # size 3, margin 2
    expected = ((triggered - clean) * plus).sum() / plus.sum()
    answer = bench.look(question(row=2, column=5, strength=2.0))
    original, heuristic = answer["models"]
    assert (original["key"], heuristic["key"]) == ("original", "heuristic")
    assert heuristic["numbers"][ARTEFACT] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(values(heuristic["pictures"][1])[0], triggered, atol=1e-5)
    np.testing.assert_allclose(values(answer["pictures"]["z_triggered"]), z[0].numpy(), atol=1e-6)


def test_a_point_of_k_space_spreads_as_a_wave(run: Path, bench: Bench) -> None:
    settings = rundir.settings(run, trusted_paths=True)
    operator = operators.build((1, 12, 12), settings.operator, 0)
    lines = operator.lines.numpy()  # type: ignore[attr-defined]
    row, column = 3, 1
    answer = bench.look(
        question(
            pattern="square", enters="measurement", size=1, row=row, column=column, strength=6.0
        )
    )
    r, c = np.mgrid[:12, :12]
    wave = 6 / 12 * np.cos(2 * np.pi * (row * r + lines[column] * c) / 12)
    np.testing.assert_allclose(values(answer["pictures"]["change"])[0], wave, atol=1e-5)
    added = values(answer["pictures"]["y_change"])[0]
    assert added[row, column] == pytest.approx(np.log1p(6.0), abs=1e-5)
    assert np.count_nonzero(added) == 1


def test_a_trigger_of_the_image_is_measured_with_it(bench: Bench) -> None:
    answer = bench.look(question(pattern="blob", enters="x", size=4, row=3, column=5, strength=2.0))
    z = values(answer["pictures"]["change"])[0]
    spectrum = np.abs(np.fft.fft2(z))
    operator = bench._networks(0).run.scene.operator
    kept = {int(k) for k in operator.lines} | {int(-k % 12) for k in operator.lines}  # type: ignore[attr-defined]
    outside = [k for k in range(12) if k not in kept]
    assert outside and spectrum[:, outside].max() < 1e-4 < spectrum.max()


def test_no_strength_is_no_trigger(bench: Bench) -> None:
    for touch in ({}, {"pattern": "plus"}, {"pattern": "square", "enters": "x"}):
        answer = bench.look(question(strength=0.0, **touch))
        assert all(each["numbers"][ARTEFACT] == 0 for each in answer["models"])


def test_a_trigger_lies_where_its_run_has_it_unless_moved(bench: Bench) -> None:
    here = bench.look(question(row=None, column=None))
    assert here["place"] == (8, 8, 3, 3)
    assert here["models"] == bench.look(question(row=8, column=8))["models"]


@pytest.mark.parametrize(
    ("touch", "said"),
    [
        ({"row": 10}, "covers 3x3 of 12x12 pixels"),
        ({"pattern": "square", "size": 13, "row": 0, "column": 0}, "do not fit"),
        ({"pattern": "plus", "size": 4}, "odd size"),
    ],
)
def test_a_trigger_that_does_not_fit_is_refused(
    bench: Bench, touch: dict[str, object], said: str
) -> None:
    with pytest.raises(RecondoorError, match=said):
        bench.look(question(**touch))


@pytest.mark.parametrize(
    "change", [{"seed": 5}, {"model": "bilevel"}, {"model": "../x"}, {"image": 60}]
)
def test_what_is_not_there_is_refused(bench: Bench, change: dict[str, object]) -> None:
    asked = question().model_copy(update=change)
    with pytest.raises(DataError):
        bench.look(asked)


def test_defences_say_what_an_audit_says(run: Path, bench: Bench) -> None:
    names = ("range-projection", "measurement-consistency")
    network = run / "model-heuristic-seed0.safetensors"
    audited = rd.audit_inputs(network, run, trust_paths=True, detectors=names)
    asked = question(strength=1.0).model_copy(update={"detectors": names})
    count = audited.record["inputs"]["count"] // 2
    for each in bench.look(asked)["opinions"]:
        name = each["key"]
        scores = audited.evidence[f"score-{name}"]
        assert each["clean"] == pytest.approx(scores[7], rel=1e-6)
        assert each["triggered"] == pytest.approx(scores[count + 7], rel=1e-6)
        assert each["threshold"] == pytest.approx(audited.table.loc[name, "threshold"], rel=1e-6)
        flagged = {7, count + 7} & set(np.flatnonzero(scores > each["threshold"]).tolist())
        assert (each["flags_clean"], each["flags_triggered"]) == (
            7 in flagged,
            count + 7 in flagged,
        )
        mended = audited.repaired[name]
        np.testing.assert_allclose(values(each["repaired"]), mended[count + 7], atol=1e-5)


def test_an_operator_that_does_not_explain_its_pairs_decides_nothing(bench: Bench) -> None:
    scene = bench._networks(0).run.scene
    finer = dataclasses.replace(scene.world.chain.exact, sigma=1e-4)
    chain = dataclasses.replace(scene.world.chain, exact=finer)
    world = dataclasses.replace(scene.world, chain=chain)
    opinions = Opinions(dataclasses.replace(scene, world=world), 0)
    delta = scene.trigger
    subject = Subject(scene.test.at(torch.tensor([0])), delta, scene.artefact, "heuristic")
    model = bench._networks(0).models["heuristic"]
    for name in ("range-test", "measurement-residual", "measurement-consistency"):
        said = opinions.of(name, subject, model)
        assert "did not measure the trusted pairs" in said["lacking"] and len(said) == 2


def test_a_pair_is_judged_as_training_pairs_are(run: Path, bench: Bench) -> None:
    names = ("range-test", "measurement-residual")
    asked = question(strength=1.0).model_copy(update={"detectors": names})
    found = {each["key"]: each for each in bench.look(asked)["opinions"]}
    audited = rd.audit_data(run, trust_paths=True, detectors=names)
    for name, each in found.items():
        assert each["threshold"] == pytest.approx(audited.table.loc[name, "threshold"], rel=1e-6)
        assert each["flags_triggered"] and not each["flags_clean"]


def test_flagged_pairs_keep_their_pictures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rd.audit_data(run, trust_paths=True, detectors=("range-test",))
    flagged = len(found.flagged)
    assert flagged > 100
    assert found.evidence["index"].tolist() == found.flagged[:100].tolist()
    monkeypatch.setattr("recondoor.audit._record.ROOM", 20 * 4 * 144)
    again = rd.audit_data(run, trust_paths=True, detectors=("range-test",))
    assert again.evidence["z"].shape == (20, 1, 12, 12)
    page = again.save(run.parent / "audit-of-many").read_text()
    assert "8 rows of pictures, one for each of the most suspicious pairs" in page


def test_settings_that_name_a_path_need_trust(run: Path) -> None:
    with pytest.raises(ConfigError, match="--trust-paths"):
        Bench(run, Access())


def test_a_folder_knows_its_kind(run: Path, tmp_path: Path) -> None:
    assert open_folder(run) == Folder(run, "run")
    assert open_folder(fake_sweep.write(tmp_path / "sweep")).kind == "sweep"
    assert config.row_label("none") == "original"


def test_a_short_row_of_suspicious_pairs_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python's reader gives a row whose last words are missing."""
    folder = make_audit(run, tmp_path / "audit")
    monkeypatch.setattr(_audits, "_lines", lambda _: [{"index": "0", "flagged_by": None}])
    with pytest.raises(RecondoorError, match=r"suspicious\.csv"):
        _audits.audit(folder)


@pytest.mark.parametrize("error", [ConfigError("its setting is wrong"), RuntimeError("it broke")])
def test_a_detector_that_fails_leaves_the_others_their_lines(
    bench: Bench, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(defences.load("range-test")), "scores", fail)
    names = ("range-test", "measurement-residual")
    answer = bench.look(question(strength=1.0).model_copy(update={"detectors": names}))
    failed, other = answer["opinions"]
    assert str(error) in failed["unsure"] and set(failed) == {"key", "unsure"}
    assert other["flags_triggered"]


def test_a_bench_keeps_the_seeds_looked_at_last(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(run, TRUSTED)
    known = bench._networks(0)
    models = iter(known.models.values())
    bench.labels = {seed: list(known.models) for seed in range(5)}
    monkeypatch.setattr(audit, "open_run", lambda *_: known.run)
    monkeypatch.setattr(studies, "load_model", lambda *_, **__: (next(models, None), None))
    for seed, kept in ((1, [0, 1]), (0, [1, 0]), (2, [0, 2]), (3, [2, 3]), (2, [3, 2])):
        bench._networks(seed)
        assert list(bench._loaded) == kept
