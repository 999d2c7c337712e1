"""A network of the user's own: every way to give one, and what is not opened or believed."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import onnx_files as onnx
from audit_kit import SHAPE, SMALL, Bomb, furnish, leave_open, make, refusal, run, small_network
from audit_kit import saved as saved_network
from recondoor import config, models, rundir
from recondoor.audit import Network, read_network
from recondoor.core.errors import RecondoorError
from recondoor.io import gate

OVERRIDES = tuple(text for text in SMALL if text != "--set")
WEIGHT = np.full((1, 1, 3, 3), 1 / 9, np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return furnish(tmp_path, monkeypatch)


def state() -> dict[str, torch.Tensor]:
    return {k: v.contiguous() for k, v in small_network().state_dict().items()}


def read(name: str) -> Network:
    return read_network(name, SHAPE, (), OVERRIDES)


def fault(name: str, overrides: tuple[str, ...] = OVERRIDES) -> str:
    with pytest.raises(RecondoorError) as caught:
        read_network(name, SHAPE, (), overrides)
    text = str(caught.value)
    assert "\n" not in text and len(text) <= 1000
    return text


def test_every_way_to_give_a_network_gives_the_same(here: Path) -> None:
    network = small_network().eval()
    z = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = models.reconstruct(network, z)
    saved_network(here / "own.safetensors")
    own = config.Model(width=4, code=2, kernel=3).model_dump(mode="json")
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    rundir.write_tensors(here / "ours.safetensors", arrays, {"model": own})
    (here / "maker.py").write_text(
        "from recondoor import config, models\n"
        "def f():\n"
        "    return models.build((1, 12, 12), config.Model(width=4, code=2, kernel=3), 0, 'victim')"
    )
    found = [read("own.safetensors"), read_network("ours.safetensors", SHAPE), read("maker:f")]
    for each in found:
        torch.testing.assert_close(models.reconstruct(each.model, z), expected)
        assert (each.lacks, each.notes) == ({}, ())
    assert [each.settings is None for each in found] == [False, False, True]


def test_an_onnx_file_is_a_network_without_gradients(here: Path) -> None:
    (here / "net.onnx").write_bytes(onnx.convolution(WEIGHT))
    found = read("net.onnx")
    z = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(1))
    expected = nn.functional.conv2d(z, torch.from_numpy(WEIGHT), padding=1)
    torch.testing.assert_close(models.reconstruct(found.model, z), expected)
    assert set(found.lacks) == {"gradients", "layers"}


def test_an_onnx_file_is_audited_as_far_as_it_goes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "net.onnx").write_bytes(onnx.convolution(WEIGHT))
    run("audit", "model", "net.onnx", "--data=trusted.npz", "--json", "--out=m", code=4)
    record = json.loads(capsys.readouterr().out)
    assert (record["verdict"], record["detectors"]) == ("undecided", [])
    assert {gap["name"] for gap in record["skipped"]} == {
        "erased-trigger",
        "least-norm-inversion",
        "trigger-inversion",
    }
    assert all("an ONNX file has none" in gap["reason"] for gap in record["skipped"])
    assert "needs gradients" in record["reason"]
    assert "an ONNX file has none" in (here / "m" / "report.html").read_text()
    given = ["clean", "net.onnx", "--data=trusted.npz", "--out=new.safetensors"]
    assert "cannot be repaired" in refusal(capsys, *given)
    np.savez(here / "inputs.npz", z=make(60, 7)["z"])
    given = ["audit", "input", "net.onnx", "inputs.npz", "--data=trusted.npz", "--json"]
    run(*given, "--out=i", "--alarm=0.05", code=4)
    record = json.loads(capsys.readouterr().out)
    assert {"strip", "homogeneity"} <= {each["name"] for each in record["detectors"]}


def test_pairs_are_ranked_through_a_network_that_is_given(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows what that network has seen? Thresholds from trusted pairs would not hold."""
    leave_open(monkeypatch)
    (here / "net.onnx").write_bytes(onnx.convolution(WEIGHT))
    given = ["audit", "data", "pairs.npz", "--network=net.onnx", "--json"]
    np.savez(here / "pairs.npz", **make(120, 7))  # type: ignore[arg-type]
    run(*given, "--clean=trusted.npz", "--alarm=0.05", "--out=d", code=4)
    record = json.loads(capsys.readouterr().out)
    found = {each["name"]: each for each in record["detectors"]}
    assert found["loss-isolation"]["threshold"] is None
    skipped = {gap["name"]: gap["reason"] for gap in record["skipped"]}
    assert "layers" in skipped["spectral-signatures"] and "layers" in skipped["spectre"]
    assert any("only rank" in note for note in record["notes"])


def archive(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in members:
            file.writestr(name, "torch.save(input, 'planted')")
    return buffer.getvalue()


def torchscript(path: Path) -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Conv2d(1, 1, 3, padding=1), torch.rand(2, *SHAPE))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)  # type: ignore[no-untyped-call]
    return path.read_bytes()


def hostile(what: str, folder: Path) -> bytes:
    if what == "torchscript":
        return torchscript(folder / "made")
    if what == "two central directories":  # one reader takes the first, another the last
        return archive("net/code/harmless.py") + archive("net/code/evil.py", "net/constants.pkl")
    if what == "mobile flatbuffer before a zip":
        return b"\x18\x00\x00\x00PTMF" + b"\x00" * 60 + archive("net/data.pkl")
    if what == "pickle":
        return pickle.dumps(Bomb(folder / "planted"), protocol=4)
    if what == "old pickle":
        buffer = io.BytesIO()
        torch.save({"bomb": Bomb(folder / "planted")}, buffer, _use_new_zipfile_serialization=False)
        return buffer.getvalue()
    return b"nothing that anybody knows " * 1000


class Spy:
    """A file of which one sees how much is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.count = file, 0

    def __enter__(self) -> "Spy":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.count += len(content)
        return content


KINDS = (
    "torchscript",
    "two central directories",
    "mobile flatbuffer before a zip",
    "pickle",
    "old pickle",
    "unknown",
)
NAMES = ("net.pt", "net.pth", "NET.CKPT", "net.pkl", "net.bin", "net.zip", "net.pt2", "net")


@pytest.mark.parametrize("name", [*NAMES, "net.safetensors", "net.onnx"])
@pytest.mark.parametrize("what", KINDS)
def test_what_may_hold_programs_is_not_read_beyond_its_first_bytes(
    what: str, name: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / name).write_bytes(hostile(what, here))
    true = gate.opened

    spies: list[Spy] = []

    def watched(path: Path, **options: Any) -> Spy:
        spies.append(Spy(true(path, **options)))
        return spies[-1]

    told = what != "unknown" or name in NAMES
    if told:
        monkeypatch.setattr(gate, "opened", watched)
    for loader in ("torch.load", "torch.jit.load", "zipfile.ZipFile", "pickle.loads"):
        monkeypatch.setattr(loader, None)
    said = fault(name)
    if name == "net" and what == "unknown":
        assert "no .safetensors or .onnx file" in said
    elif told:
        assert "is not read" in said and "save_file(model.state_dict()" in said
    assert len(spies) == told and sum(each.count for each in spies) <= 16
    assert not (here / "planted").exists()


def test_the_refusal_is_one_line_with_exit_code_2(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torchscript(here / "net.pt")
    for command in (["audit", "model", "net.pt"], ["audit", "input", "net.pt", "trusted.npz"]):
        assert "torch.onnx.export" in refusal(capsys, *command, "--data=trusted.npz")
    given = ["clean", "net.pt", "--data=trusted.npz", "--out=new.safetensors"]
    assert "torch.onnx.export" in refusal(capsys, *given)
    given = ["audit", "data", "trusted.npz", "--network=net.pt"]
    assert "torch.onnx.export" in refusal(capsys, *given)


def test_what_is_named_in_the_place_of_a_network_is_told(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pairs in its place, half of MODULE:FUNCTION, a network itself, a function of arguments."""
    text = "from torch import nn\nnet = nn.Conv2d(1, 1, 3, padding=1)\ndef of(width): return net\n"
    (here / "mine.py").write_text(text)
    for name, told in {
        "trusted.npz": "'trusted.npz' holds arrays by its name; expected a network first",
        "mine:": "'mine:' does not exist; expected a .safetensors or .onnx file",
        ":net": "':net' does not exist",
        "mine:net@": "'mine:net@' does not exist",
        "mine:net": "'mine:net' is a network; expected a function without arguments that returns",
        "mine:of": "expected a function without arguments that returns the network",
    }.items():
        assert told in refusal(capsys, "audit", "model", name, "--data=trusted.npz")


@pytest.mark.parametrize("name", ["pipe.onnx", "pipe.safetensors", "pipe.pt"])
def test_a_pipe_is_no_network(name: str, here: Path) -> None:
    os.mkfifo(here / name)
    assert "a pipe" in fault(name)


def test_a_header_whose_length_reads_as_a_pickle_is_read(here: Path) -> None:
    """The first bytes of a file of weights may be 80 02, as a pickle's are."""
    tensors = {**state()}
    for pad in range(400):
        save_file(tensors, here / "own.safetensors", metadata={"pad": "x" * pad})
        if (here / "own.safetensors").read_bytes()[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
            break
    else:
        pytest.fail("no such length")
    read("own.safetensors")
