"""Weights of a registered network in a user's file: what is read, and what is not believed."""

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import recondoor
from audit_kit import SHAPE, SMALL, furnish, run, small_network
from audit_kit import saved as saved_network
from recondoor import config
from recondoor.audit import Network, read_network
from recondoor.core.errors import RecondoorError

OVERRIDES = tuple(text for text in SMALL if text != "--set")


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


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "_orig_mod.module.net."])
def test_what_a_wrapper_puts_before_names_is_left_out_and_told(prefix: str, here: Path) -> None:
    save_file({prefix + k: v for k, v in state().items()}, here / "own.safetensors")
    found = read("own.safetensors")
    assert len(found.notes) == 1 and f"'{prefix}'" in found.notes[0]
    for name, value in found.model.state_dict().items():
        torch.testing.assert_close(value, state()[name])


def test_the_note_on_a_prefix_is_in_the_audit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file({f"module.{k}": v for k, v in state().items()}, here / "own.safetensors")
    given = ["audit", "model", "own.safetensors", "--data=trusted.npz", *SMALL, "--json"]
    with pytest.raises(SystemExit):
        run(*given, "--detectors=least-norm-inversion")
    assert "'module.'" in json.loads(capsys.readouterr().out)["notes"][0]


def test_names_that_are_missing_or_too_many_are_told(here: Path) -> None:
    def said(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, here / "own.safetensors")
        text = fault("own.safetensors")
        assert "model.width" not in text
        return text

    assert "'epoch' is none of its own (0 missing, 1 too many)" in said(
        {**state(), "epoch": torch.tensor(3)}
    )
    assert "'epoch' is none of its own (0 missing, 1 too many)" in said(
        {**{f"module.{k}": v for k, v in state().items()}, "epoch": torch.tensor(3)}
    )
    few = state()
    del few["up.0.bias"]
    assert "'up.0.bias' is missing (1 missing, 0 too many)" in said(few)
    other = said({"net.0.weight": torch.ones(3)})
    assert "'down.0.weight' is missing and 'net.0.weight' is none of its own" in other
    assert "MODULE:FUNCTION@own.safetensors" in other and ".onnx" in other
    mixed = state()
    mixed["module.up.0.bias"] = mixed.pop("up.0.bias")
    assert "'up.0.bias' is missing and 'module.up.0.bias'" in said(mixed)


def test_a_hint_on_settings_is_given_where_shapes_differ(here: Path) -> None:
    saved_network(here / "own.safetensors")
    said = fault("own.safetensors", ("model.name=cae",))
    assert "--set model.cae.width=32" in said and "(4, 1, 3, 3)" in said and "(64, 1, 5, 5)" in said


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_other_precision_are_read(kind: torch.dtype, here: Path) -> None:
    save_file({k: v.to(kind) for k, v in state().items()}, here / "own.safetensors")
    for name, value in read("own.safetensors").model.state_dict().items():
        torch.testing.assert_close(value, state()[name].to(kind).float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_have_to_be_finite(value: float, here: Path) -> None:
    tensors = {k: v.double() for k, v in state().items()}
    tensors["up.1.bias"][0] = value
    save_file(tensors, here / "own.safetensors")
    assert "up.1.bias holds NaN or infinite" in fault("own.safetensors")


def test_numbers_of_another_kind_are_refused(here: Path) -> None:
    tensors = {k: v.to(torch.float8_e4m3fn) for k, v in state().items()}
    save_file(tensors, here / "own.safetensors")
    said = fault("own.safetensors")
    assert "F8_E4M3" in said and "float32" in said


def header(content: dict[str, object], data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def claims(model: object) -> dict[str, object]:
    return {"__metadata__": {"meta": json.dumps({"model": model}), "meta_sha256": "0"}}


ONE = {"down.0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
HUGE = {"width": 4096, "code": 4096, "kernel": 101}
HOSTILE = {
    "huge": (header(claims(HUGE) | ONE, bytes(4)), "is missing"),
    "many settings": (
        header(claims({f"k{i}": i for i in range(10_000)}) | ONE, bytes(4)),
        "'k0' and 9999 more",
    ),
    "deep": (
        header({"__metadata__": {"meta": "[" * 100_000, "meta_sha256": "0"}} | ONE, bytes(4)),
        "no JSON",
    ),
    "a list": (header(claims([1]) | ONE, bytes(4)), "no section 'model'"),
    "a path": (header(claims({"name": "../../evil"}) | ONE, bytes(4)), "model.name"),
    "a long name": (header(claims({"name": "x" * 1_000_000}) | ONE, bytes(4)), "model.name"),
    "long header": (struct.pack("<Q", 1 << 62) + b"{}", "declares a header of 4,611,686"),
    "header of a gigabyte": (struct.pack("<Q", 1 << 30) + b"{}", "declares a header"),
    "huge tensor": (
        header(
            {"down.0.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
        ),
        "no readable",
    ),
    "many tensors": (
        header(
            {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(80_000)}
        ),
        "is missing",
    ),
    "unknown numbers": (
        header({"a": {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "no readable",
    ),
    "empty": (b"", "no readable"),
}

LIMITED = """
import json, resource, sys, time
from pathlib import Path
from recondoor.audit import read_network
from recondoor.core.errors import RecondoorError
used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), used + (1 << 30)))
for name in sys.argv[1:]:
    begun = time.monotonic()
    try:
        read_network(name, (1, 12, 12))
        said = "read"
    except RecondoorError as error:
        said = str(error)
    print(json.dumps([said, time.monotonic() - begun]))
"""


def test_false_claims_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    """Each in a gigabyte and five seconds, in one line."""
    for index, (content, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{index}.safetensors").write_bytes(content)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("[model]\nwidth = 4096\nkernel = 101\n")
    saved_network(tmp_path / "run" / "own.safetensors")
    names = [f"{index}.safetensors" for index in range(len(HOSTILE))] + ["run/own.safetensors"]
    command = [sys.executable, "-c", LIMITED, *names]
    environment = os.environ | {"PYTHONPATH": str(Path(recondoor.__file__).parents[1])}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    expected = [said for _, said in HOSTILE.values()] + ["(4096, 1, 101, 101)"]
    for (said, seconds), part in zip(lines, expected, strict=True):
        assert part in said
        assert "\n" not in said and len(said) <= 1000
        assert seconds < 5


def test_only_the_network_is_taken_from_the_settings_beside_it(here: Path) -> None:
    folder = here / "strange"
    folder.mkdir()
    saved_network(folder / "own.safetensors")
    (folder / "config.toml").write_text(
        'seed = "no number"\n[data]\nname = "/etc/passwd"\n[operator]\nfile = "/dev/zero"\n'
        "[model]\nwidth = 4\ncode = 2\nkernel = 3\n"
    )
    settings = read_network("strange/own.safetensors", SHAPE).settings
    assert settings == config.Model(width=4, code=2, kernel=3)
    assert read_network("strange/own.safetensors", SHAPE, (), OVERRIDES).settings == settings
    (here / "mine.toml").write_text("[model]\nwidth = 8\n")
    with pytest.raises(RecondoorError, match=re.escape("of width 8, code 2 and kernel 3")):
        read_network("strange/own.safetensors", SHAPE, (here / "mine.toml",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[model]\nfile = '/etc/passwd'", "'file'"),
        ("[model]\nname = '/etc/passwd'", "model.name"),
        ("model = 3", "no section 'model'"),
        ("a = " + "[" * 100_000, "cannot be read"),
        ("\n" * (5 << 20), "are read"),
        (None, "link"),
    ],
)
def test_strange_settings_beside_a_network_are_refused(
    text: str | None, said: str, here: Path
) -> None:
    folder = here / "strange"
    folder.mkdir()
    saved_network(folder / "own.safetensors")
    if text is None:
        (here / "secret.toml").write_text("[model]\nwidth = 4\n")
        (folder / "config.toml").symlink_to(here / "secret.toml")
    else:
        (folder / "config.toml").write_text(text)
    assert said in fault("strange/own.safetensors")
