"""Files of pairs that are refused, or read with care: hostile, damaged, too large, misfit."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import recondoor as rd
from audit_cli_kit import (
    refusal,
    save,
)
from audit_kit import OPERATOR, Array, make
from recondoor.audit import _arrays
from recondoor.core.errors import ConfigError, DataError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["x", "z", "y"])
def test_nothing_is_unpickled(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted, made = here / "planted", make(100, 1)
    arrays = made | {name: np.array([Bomb(planted)], dtype=object)}
    save(here / "pairs.npz", **{key: arrays[key] for key in ("x", "z", "y")})
    assert "Python objects" in refusal(capsys, "pairs.npz", *OPERATOR)
    assert not planted.exists()
    assert not (here / "audits").exists()


def declare(path: Path, shape: tuple[int, ...]) -> None:
    """An .npz whose x declares a shape and holds a few bytes."""
    buffer = io.BytesIO()
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, head)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", buffer.getvalue() + bytes(64))
        archive.writestr("z.npy", buffer.getvalue() + bytes(64))


def test_a_size_is_refused_before_memory_is_taken(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("read before the size was looked at")

    declare(here / "pairs.npz", (10**9, 1, 28, 28))
    with h5py.File(here / "pairs.h5", "w") as file:
        file.create_dataset("x", (10**7, 28, 28), "f4", chunks=(1, 28, 28))
        file.create_dataset("z", (10**7, 28, 28), "f4", chunks=(1, 28, 28))
    monkeypatch.setattr(np.lib.format, "read_array", never)
    assert "declares 2.99e+06 MiB of numbers but holds" in refusal(capsys, "pairs.npz", *OPERATOR)
    assert "x was never written" in refusal(capsys, "pairs.h5", *OPERATOR)
    made = make(100, 1)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    with h5py.File(here / "pairs.h5", "w") as file:
        file["x"], file["z"] = made["x"], made["z"]
    monkeypatch.setattr(_arrays, "LIMIT", 1000)
    for name in ("pairs.npz", "pairs.h5"):
        assert "a random part of them" in refusal(capsys, name, *OPERATOR)


def test_what_an_h5_file_points_to_is_not_followed(here: Path) -> None:
    made = make(100, 1)
    with h5py.File(here / "secret.h5", "w") as file:
        file["x"] = made["x"]
    with h5py.File(here / "pairs.h5", "w") as file:
        file["x"] = h5py.ExternalLink("secret.h5", "x")
        file["z"] = made["z"]
    with pytest.raises(DataError, match="x is a link, which is not followed"):
        _arrays.read_arrays(here / "pairs.h5", ("x", "z"))
    with h5py.File(here / "pairs.h5", "w") as file:
        file.create_group("x")
    with pytest.raises(DataError, match="no array"):
        _arrays.read_arrays(here / "pairs.h5", ("x",))


def test_h5_without_its_reader_is_refused_with_the_remedy(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "pairs.h5").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    assert "pip install recondoor[h5]" in refusal(capsys, "pairs.h5")


def test_other_names_in_h5_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(here / "pairs.h5", "w") as file:
        file["train/z"] = np.ones((3, 4, 4))
        file["Target"] = np.ones((3, 4, 4))
    assert "none of x, z and y, but Target, train; expected x" in refusal(capsys, "pairs.h5")


def bad(**changes: Array | None) -> dict[str, Array]:
    made = make(100, 1)
    arrays = {"x": made["x"], "z": made["z"]} | changes
    return {name: values for name, values in arrays.items() if values is not None}


X, Z = make(100, 1)["x"], make(100, 1)["z"]
BAD = {
    "nan": (bad(z=np.where(Z > 0.5, np.nan, Z)), "NaN"),
    "infinite": (bad(x=np.where(X > 0.5, np.inf, X)), "infinite"),
    "sizes": (bad(z=Z[:50]), "expected the same: leave out what has no partner"),
    "pixels": (bad(z=Z[..., :7]), "crop or resample both"),
    "complex inputs": (bad(z=np.concatenate((Z, Z), 1)), "np.hypot(z[:, 0], z[:, 1])"),
    "slices around": (bad(z=np.concatenate((Z, Z, Z), 1)), "those channels of z that show"),
    "other names": (
        bad(x=None, z=None, target=X, noisy=Z),
        "none of x, z and y, but noisy, target",
    ),
    "axes": (bad(x=X[:, 0, 0]), "(N, H, W)"),
    "scalar": (bad(x=np.float32(3)), "at least one pair"),
    "empty": (bad(x=X[:0], z=Z[:0]), "at least one pair"),
    "complex image": (bad(x=X + 0j), "np.stack((x.real, x.imag), 1)"),
    "text": (bad(x=np.array(["a"] * 100)), "array of numbers"),
    "large": (bad(x=X.astype(np.float64) * 1e300), "too large for 32 bits"),
    "no x": (bad(x=None), "expected x"),
    "no z": (bad(z=None), "either z or y"),
    "y of another size": (bad(z=None, y=np.ones((100, 5))), "need (100, 1, 72)"),
    "complex y": (bad(z=None, y=np.ones((100, 72)) + 1j), "are real"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_pairs_are_refused_in_one_line(
    what: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, said = BAD[what]
    save(here / "pairs.npz", **arrays)
    sigma = ["--set", "operator.sigma=0.01"]
    assert said in refusal(capsys, "pairs.npz", *OPERATOR, *sigma)
    assert not (here / "audits").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["pairs.npz", "pairs.h5"])
def test_damaged_files_are_refused(
    content: bytes, name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / name).write_bytes(content)
    assert "is not a readable" in refusal(capsys, name, *OPERATOR)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.npz"], "does not exist"),
        (["."], "no folder of a run"),
        (["pairs.txt"], "no .npz or .h5 file"),
        (["pairs.npz", "--operator", "gausian"], "did you mean 'gaussian'?"),
        (["pairs.npz", "--operator", "none.npy"], "none.npy"),
        (["pairs.npz", "--set", "operator.ratio=0.5"], "give --operator too"),
        (["pairs.npz", "--detectors", "spctre"], "did you mean 'spectre'?"),
        (["pairs.npz", "--alarm", "1.5"], "--alarm"),
        (["pairs.npz", "--attack", "heuristic"], "only the folder of a run"),
        (["pairs.npz", "--clean", "other.npz", "--alarm", "0.001"], "give 999 or more"),
        (["pairs.npz", "--out", "."], "something else there"),
    ],
)
def test_what_cannot_be_done_is_refused(
    arguments: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(100, 1)
    save(here / "pairs.npz", x=made["x"], z=made["z"])
    (here / "pairs.txt").write_text("")
    other = make(100, 2)
    save(here / "other.npz", x=other["x"], z=other["z"])
    assert said in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"alarm": "0.1"}, "--alarm: '0.1' given; expected a rate between 0 and 1"),
        ({"alarm": 0}, "--alarm: 0 given"),
        ({"detectors": [3]}, "--detectors: .*3.* given; expected names"),
    ],
)
def test_options_of_another_type_are_one_line(more: dict[str, Any], said: str) -> None:
    z = torch.rand(60, 12, 12, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match=said):
        rd.audit_data(z, z, **more)
