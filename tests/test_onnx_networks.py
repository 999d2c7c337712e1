"""Networks as ONNX files: what they compute, and that they can do nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import onnx_files as onnx
from recondoor.core.errors import DataError
from recondoor.io import confined
from recondoor.io.confined import ConfinedNetwork
from recondoor.io.confined._frames import FAULT, MODEL, read_exactly, read_header, write_frame
from recondoor.io.confined._onnx_copy import Unfit, plain_copy

WEIGHT = np.random.default_rng(0).normal(size=(1, 1, 3, 3)).astype(np.float32)
IDENTITY = onnx.node("Identity", ("z",), ("out",))
ANY = ("b", 1, "h", "w")


def images(count: int, size: int = 12) -> Any:
    return np.random.default_rng(1).normal(size=(count, 1, size, size)).astype(np.float32)


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(content)
    return path


def load(folder: Path, content: bytes, **limits: int) -> ConfinedNetwork:
    return ConfinedNetwork(saved(folder, content), **limits)


def refusal(folder: Path, content: bytes, **limits: int) -> str:
    """Why the network cannot be loaded or run, in a line."""
    with pytest.raises(DataError) as caught:
        load(folder, content, **limits)(images(3))
    text = str(caught.value)
    assert "\n" not in text and "net.onnx" in text
    return text


@pytest.mark.parametrize("batch", ["b", 1, 4, 7])
@pytest.mark.parametrize("count", [1, 4, 10])
def test_it_computes_what_pytorch_does(tmp_path: Path, batch: int | str, count: int) -> None:
    network = load(tmp_path, onnx.convolution(WEIGHT, batch, 12))
    assert network.batch == (None if batch == "b" else batch)
    z = images(count)
    expected = F.conv2d(torch.from_numpy(z), torch.from_numpy(WEIGHT), padding=1)
    np.testing.assert_allclose(network(z), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_many_images_are_taken_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(tmp_path, onnx.convolution(WEIGHT))
    whole = network(images(11))
    monkeypatch.setattr(confined, "PIXELS", 300)
    np.testing.assert_allclose(network(images(11)), whole, rtol=1e-5, atol=1e-6)


ELSEWHERE = {
    "absolute": onnx.elsewhere("w", (1, 1, 3, 3), "/etc/passwd"),
    "upwards": onnx.elsewhere("w", (1, 1, 3, 3), "../../../../../../etc/passwd"),
    "beside": onnx.elsewhere("w", (1, 1, 3, 3), "weights.bin"),
    "in memory": onnx.elsewhere("w", (1, 1, 3, 3), "*/_ORT_MEM_ADDR_/*"),
    "unmarked": onnx.elsewhere("w", (1, 1, 3, 3), "/etc/passwd", marked=False),
    "marked and not": onnx.elsewhere("w", (1, 1, 3, 3), "/etc/passwd") + onnx.field(14, 0),
    "marked alone": onnx.tensor("w", WEIGHT) + onnx.field(14, 1),
}
LAYER = onnx.node("Conv", ("z", "w"), ("out",), onnx.ints("pads", [1] * 4))


@pytest.mark.parametrize("which", ELSEWHERE)
@pytest.mark.parametrize("where", ["weights", "attribute", "subgraph"])
def test_weights_that_lie_elsewhere_are_refused(tmp_path: Path, which: str, where: str) -> None:
    (tmp_path / "weights.bin").write_bytes(WEIGHT.tobytes())
    bad = ELSEWHERE[which]
    constant = onnx.node("Constant", (), ("w",), onnx.of_tensor("value", bad))
    inner = onnx.graph([LAYER], [bad], (), (onnx.value("out", ("b", 1, "h", "w")),))
    branches = onnx.of_graph("then_branch", inner) + onnx.of_graph("else_branch", inner)
    chosen = onnx.node("If", ("yes",), ("out",), branches)
    content = {
        "weights": onnx.of_nodes(LAYER, tensors=[bad]),
        "attribute": onnx.of_nodes(constant, LAYER),
        "subgraph": onnx.of_nodes(chosen, tensors=[onnx.tensor("yes", np.array(True))]),
    }[where]
    assert "in another file" in refusal(tmp_path, content)


def run_guest(content: bytes, code: str) -> str:
    """What a confined process says of a file, after `code` has run in it."""
    start = (
        f"import sys; from recondoor.io.confined import _guest; {code}; _guest.main({1 << 32}, 20)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        write_frame(process.stdin, MODEL, (len(content), 0, 0, 0), content)
        kind, (size, *_) = read_header(process.stdout)
        text = read_exactly(process.stdout, size).decode() if kind == FAULT else kind.decode()
        process.stdin.close()
    return text


@pytest.mark.parametrize("which", ["absolute", "upwards", "beside"])
def test_weights_elsewhere_could_not_be_opened_either(tmp_path: Path, which: str) -> None:
    """The second wall, with the first one taken away."""
    big = {"absolute": "/etc/passwd", "upwards": "../etc/passwd", "beside": "etc/passwd"}[which]
    bad = onnx.elsewhere("w", (1, 1, 3, 3), big)
    content = onnx.of_nodes(LAYER, tensors=[bad])
    said = run_guest(content, "import os; os.chdir('/'); _guest.plain_copy = bytes")
    assert said != "R" and "root:" not in said


def identity(shape: tuple[int | str, ...], kind: int = onnx.FLOAT) -> bytes:
    ends = [onnx.value(name, shape, kind) for name in ("z", "out")]
    return onnx.graph([IDENTITY], (), ends[:1], ends[1:])


OUTSIDE = {
    "an operator": (
        onnx.of_nodes(onnx.node("Run", ("z",), ("out",), onnx.field(7, "com.evil"))),
        "'com.evil'",
    ),
    "Microsoft's": (
        onnx.of_nodes(onnx.node("Gelu", ("z",), ("out",), onnx.field(7, "com.microsoft"))),
        "'com.microsoft'",
    ),
    "a function": (
        onnx.model(onnx.graph([IDENTITY]), after=onnx.field(25, b"")),
        "functions of its own",
    ),
    "a training": (onnx.model(onnx.graph([IDENTITY]), after=onnx.field(20, b"")), "a training"),
    "sparse": (onnx.model(onnx.graph([IDENTITY]) + onnx.field(15, b"")), "sparse"),
    "unknown": (onnx.model(onnx.graph([IDENTITY]), after=onnx.field(99, 1)), "field 99"),
    "a group": (onnx.model(onnx.graph([IDENTITY])) + b"\x0b\x0c", "no protocol buffer"),
    "nothing": (b"", "empty"),
    "text": (b"import os\n", "no ONNX file"),
    "no operator": (onnx.of_nodes(onnx.node("Nonsense", ("z",), ("out",))), "Nonsense"),
    "two outputs": (onnx.model(onnx.graph([IDENTITY], outputs=[onnx.value("out", ANY)] * 2)), ""),
    "whole numbers": (onnx.model(identity(ANY, onnx.INT64)), "tensor(int64)"),
    "vectors": (onnx.model(identity(("b", 8))), "2 dimensions"),
    "onnxruntime's own": (b"\x18\x00\x00\x00ORTM" + b"\x00" * 64, ""),
    "other sizes": (onnx.convolution(WEIGHT, "b", 28), "Got: 12 Expected: 28"),
    "a smaller image": (
        onnx.of_nodes(onnx.node("MaxPool", ("z",), ("out",), onnx.ints("kernel_shape", [2, 2]))),
        "expected the same shape",
    ),
    "NaN": (onnx.of_nodes(onnx.node("Log", ("z",), ("out",))), "NaN or infinite"),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_what_is_no_network_of_images_is_refused(tmp_path: Path, what: str) -> None:
    content, said = OUTSIDE[what]
    assert said in refusal(tmp_path, content)


def test_a_file_that_reads_as_another_format_is_run_as_what_was_checked(tmp_path: Path) -> None:
    """'ORTM' at the fifth byte makes onnxruntime take a file for its own, unchecked format."""
    content = onnx.model(onnx.graph([IDENTITY]), before=onnx.field(2, "ORTM"))
    assert content[4:8] == b"ORTM"
    z = images(2)
    np.testing.assert_array_equal(load(tmp_path, content)(z), z)


def test_an_endless_loop_is_ended(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert "took more than the 2 s" in refusal(tmp_path, onnx.endless(), seconds=2)
    assert time.monotonic() - begun < 15
    z = images(2)
    np.testing.assert_array_equal(load(tmp_path, onnx.endless(3))(z), z)


def test_memory_is_limited(tmp_path: Path) -> None:
    shape = onnx.tensor("shape", np.array([1 << 36]))
    huge = onnx.node("ConstantOfShape", ("shape",), ("huge",))
    added = onnx.node("ReduceSum", ("huge",), ("sum",))
    last = onnx.node("Add", ("z", "sum"), ("out",))
    said = refusal(tmp_path, onnx.of_nodes(huge, added, last, tensors=[shape]))
    assert "alloc" in said.lower() or "memory" in said


def test_size_is_limited(tmp_path: Path) -> None:
    assert "are read" in refusal(tmp_path, onnx.convolution(WEIGHT), largest=20)


@pytest.mark.parametrize("code", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_is_told(tmp_path: Path, code: signal.Signals) -> None:
    network = load(tmp_path, onnx.convolution(WEIGHT))
    os.kill(network._process.pid, code)
    with pytest.raises(DataError, match=rf"ended the process that runs it \({code.name}\)"):
        network(images(2))
    with pytest.raises(DataError, match="ended the process"):
        network(images(2))


def test_the_process_ends_with_its_network(tmp_path: Path) -> None:
    network = load(tmp_path, onnx.convolution(WEIGHT))
    process = network._process
    del network
    assert process.returncode is not None


RUNTIME = """
import os, socket, sys


class SessionOptions:
    def add_session_config_entry(self, key, value):
        pass


class GraphOptimizationLevel:
    ORT_DISABLE_ALL = 0


def outcome(work):
    try:
        work()
    except OSError as error:
        return error.strerror
    return "done"


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class InferenceSession:
    def __init__(self, content, options, providers):
        print("printed", flush=True)
        os.write(1, b"R" * 100)
        os.write(2, b"R" * 100)
        raise RuntimeError(
            f"environment {sorted(os.environ)}; folder {os.getcwd()}; "
            f"open {sum(map(is_open, range(3, 4096)))}; "
            f"read {outcome(lambda: open('/etc/passwd'))}; "
            f"write {outcome(lambda: os.open('/tmp/x', os.O_WRONLY | os.O_CREAT))}; "
            f"socket {outcome(socket.socket)}"
        )
"""


def test_the_process_has_nothing_to_reach_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a runtime that tries: what it prints is lost, and what it says comes as a fault."""
    package = tmp_path / "fake" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(RUNTIME)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    # Before the real one, which may lie beside NumPy.
    monkeypatch.setattr(confined, "NEEDED", ("recondoor", "onnxruntime", "numpy"))
    with (tmp_path / "inherited").open("w") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        said = refusal(tmp_path, onnx.convolution(WEIGHT))
    assert "SECRET" not in said and "'OMP_NUM_THREADS'" in said
    assert "folder /; open 2; " in said  # the two pipes
    assert said.count("Too many open files") == 3
    assert "printed" not in said


def test_onnxruntime_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confined, "NEEDED", ("recondoor", "numpy", "no_such_runtime"))
    assert r"pip install recondoor[onnx]" in refusal(tmp_path, onnx.convolution(WEIGHT))


def test_a_copy_is_the_same_network_and_its_own_copy() -> None:
    for content in (onnx.convolution(WEIGHT), onnx.endless()):
        copy = plain_copy(content)
        assert plain_copy(copy) == copy
    comments = onnx.field(2, "maker") + onnx.field(6, "about") + onnx.field(14, b"")
    assert plain_copy(onnx.model(onnx.graph([IDENTITY]), comments)) == plain_copy(
        onnx.of_nodes(IDENTITY)
    )
    long = bytes([0x88, 0x00, 0x88, 0x80, 0x00])  # field 1 and the number 8, with bytes to spare
    assert plain_copy(long + onnx.field(7, onnx.graph([IDENTITY]))) == plain_copy(
        onnx.field(1, 8) + onnx.field(7, onnx.graph([IDENTITY]))
    )


def test_damaged_files_are_refused_or_copied() -> None:
    random, content = np.random.default_rng(0), onnx.endless()
    for _ in range(2000):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            damaged[place] = random.integers(0, 256)
        cut = bytes(damaged[: random.integers(1, len(content) + 1)])
        try:
            copy = plain_copy(cut)
        except Unfit as error:
            assert len(str(error)) < 300
        else:
            assert plain_copy(copy) == copy


def test_nesting_is_bounded() -> None:
    content = onnx.graph([IDENTITY])
    for _ in range(2000):
        content = onnx.graph([onnx.node("If", ("z",), ("out",), onnx.of_graph("a", content))])
        if len(content) > 1 << 20:
            break
    with pytest.raises(Unfit, match="too deeply"):
        plain_copy(onnx.model(content))
