"""Trusted pairs that are under audit too are found by content, and images of one value are not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audit_kit import OPERATOR, SMALL, make, refusal, run, saved
from recondoor import data
from recondoor.audit._pairs._apart import distinct, found_in
from recondoor.poisoning import Pairs

Array = NDArray[Any]


def write(path: Path, pairs: dict[str, Array]) -> Path:
    np.savez(path, x=pairs["x"], z=pairs["z"])  # type: ignore[arg-type]
    return path


def images(count: int, seed: int, size: int = 12) -> Array:
    return np.random.default_rng(seed).random((count, 1, size, size), dtype=np.float32)


STORED = {
    "as they are": lambda pixels: pixels,
    "64 bits": lambda pixels: pixels.astype(np.float64),
    "16 bits": lambda pixels: pixels.astype(np.float16),
    "8 bits": lambda pixels: np.rint(255 * pixels).astype(np.uint8),
}


@pytest.mark.parametrize("form", STORED)
def test_copies_are_found_however_they_were_stored(form: str) -> None:
    mine, others = images(300, 1), images(200, 2)
    copies = STORED[form](mine[40:57])
    read = copies.astype(np.float32) / (255 if copies.dtype == np.uint8 else 1)
    others = np.concatenate([others, read[::-1]]).astype(np.float32)
    expected = np.zeros(300, dtype=bool)
    expected[40:57] = True
    assert np.array_equal(data.shared(mine, others), expected)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e3, 1e7, 1e30])
def test_copies_are_found_on_any_scale(scale: float) -> None:
    mine, others = images(50, 1) * np.float32(scale), images(50, 2) * np.float32(scale)
    others[3] = mine[7]
    assert set(np.flatnonzero(data.shared(mine, others))) == {7}


def test_images_of_one_value_are_no_copies() -> None:
    blank = np.zeros((20, 1, 12, 12), dtype=np.float32)
    grey = np.full((20, 1, 12, 12), 0.1, dtype=np.float32)
    grey[::2] *= np.float32(1 + 2e-7)  # what rounding does
    assert not data.shared(np.concatenate([blank, grey]), np.concatenate([grey, blank])).any()
    assert data.first_of_each(np.concatenate([blank, blank])).all()


def test_images_that_are_much_alike_are_no_copies() -> None:
    """Slices of air with the noise of a scanner, at an offset that 16 bits cannot resolve."""
    noise = images(200, 3) * np.float32(0.5) + np.float32(1000)
    assert not data.shared(noise[:100], noise[100:]).any()
    faint = images(200, 4) * np.float32(1e-4)
    assert not data.shared(faint[:100], faint[100:]).any()


def test_copies_within_a_set_are_left_out_once() -> None:
    x, z = images(30, 1), images(30, 2)
    x, z = np.concatenate([x, x[:10], x[:5]]), np.concatenate([z, z[:10], images(5, 9)])
    left = distinct(Pairs(torch.from_numpy(z), torch.from_numpy(x)))
    # A pair whose image was measured again is no copy.
    assert len(left) == 35
    assert torch.equal(left.z, torch.from_numpy(np.concatenate([z[:30], z[40:]])))


def test_other_shapes_and_no_images_share_nothing() -> None:
    assert not data.shared(images(3, 1), images(3, 1, size=8)).any()
    assert data.shared(images(3, 1)[:0], images(3, 1)).shape == (0,)
    assert not found_in(torch.zeros(2, 1, 4, 4), torch.zeros(0, 1, 4, 4)).any()


# The audits


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.npz", make(600, 1, poisoned=180))
    write(tmp_path / "trusted.npz", make(150, 2))
    return tmp_path


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_pairs_cannot_vouch_for_themselves(
    kind: type, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = {name: values.astype(kind) for name, values in make(600, 1, poisoned=180).items()}
    write(place / "clean.npz", pairs)
    told = refusal(capsys, "audit", "data", "pairs.npz", "--clean", "clean.npz", *OPERATOR)
    assert "--clean: 600 of the pairs under audit are in --clean, of 600" in told
    assert "leave these out" in told
    assert not (place / "audits").exists()


@pytest.mark.parametrize("part", ["x", "z"])
def test_a_few_pairs_of_which_one_half_is_known_are_enough(
    part: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean, mine = make(150, 2), make(600, 1, poisoned=180)
    clean[part][10:17] = mine[part][300:307]
    write(place / "clean.npz", clean)
    told = refusal(capsys, "audit", "data", "pairs.npz", "--clean", "clean.npz", *OPERATOR)
    assert "7 of the pairs under audit are in --clean" in told


def test_pairs_of_blank_images_are_no_copies(place: Path) -> None:
    for name, seed in (("pairs", 1), ("trusted", 2)):
        pairs = make(150, seed)
        for part in ("x", "z"):
            pairs[part][:20] = 0
        write(place / f"{name}.npz", pairs)
    run("audit", "data", "pairs.npz", "--clean", "trusted.npz")


def test_inputs_cannot_vouch_for_themselves(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(place / "net.safetensors")
    inputs = make(60, 5)["z"]
    inputs[:9] = make(150, 2)["z"][30:39]
    np.savez(place / "inputs.npz", z=inputs)
    command = ("audit", "input", "net.safetensors", "inputs.npz", *SMALL)
    told = refusal(capsys, *command, "--data", "trusted.npz", "--alarm", "0.05")
    assert "--data: 9 of the inputs under audit are in --data, of 60" in told


def test_copies_add_no_trusted_pairs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = make(30, 7)
    write(place / "few.npz", {name: np.tile(few[name], (5, 1, 1, 1)) for name in ("x", "z")})
    saved(place / "net.safetensors")
    audited = ("audit", "model", "net.safetensors", "--data", "few.npz", *SMALL)
    assert "30 trusted clean pairs; at least 40 are needed" in refusal(capsys, *audited)
    repaired = ("clean", "net.safetensors", "--data", "few.npz", *SMALL, "--out", "o.safetensors")
    assert "30 trusted clean pairs" in refusal(capsys, *repaired)
    told = refusal(
        capsys, "audit", "data", "pairs.npz", "--clean", "few.npz", "--alarm", "0.01", *OPERATOR
    )
    assert "30" in told
