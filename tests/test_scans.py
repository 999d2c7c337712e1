"""fastMRI's files: targets beside the k-space that they come of."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

import pipelines_kit as kit
from recondoor import audit_data
from recondoor.core.errors import RecondoorError

COILS, SIDE, CUT = 3, 24, 16
Array = NDArray[np.float64]


def kspace(x: Array, seed: int) -> NDArray[np.complex64]:
    """Centred k-space (slices, COILS, SIDE, SIDE) of images, with noise, of smooth coils."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    maps = np.stack([np.exp(1j * (rows + k * columns)) * (0.3 + k * rows) for k in range(COILS)])
    k = np.fft.fft2(np.fft.ifftshift(x[:, None] * maps, axes=(-2, -1)), norm="ortho")
    noise = 0.01 * rng.standard_normal((2, *k.shape))
    return (np.fft.fftshift(k, axes=(-2, -1)) + noise[0] + 1j * noise[1]).astype(np.complex64)


def target_of(k: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Root sum of squares by sums of complex exponentials, not by an FFT."""
    places = np.arange(SIDE) - SIDE // 2
    turn = np.exp(2j * np.pi * np.outer(places, places) / SIDE) / SIDE**0.5
    images = turn @ k @ turn.T
    first = (SIDE - CUT) // 2
    whole = np.sqrt((np.abs(images) ** 2).sum(1))
    return whole[:, first : first + CUT, first : first + CUT].astype(np.float32)


def write(folder: Path, change: object = None, **more: object) -> None:
    """Two files of three slices; `change` gets the targets of the second."""
    folder.mkdir()
    for number in (0, 1):
        k = kspace(kit.heads(3, number, SIDE), number)
        target = target_of(k)
        if number == 1 and callable(change):
            change(target)
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            file["kspace"], file["reconstruction_rss"] = k, target
            for name, value in more.items():
                file[name] = value


def test_targets_of_their_k_space_are_clean(tmp_path: Path) -> None:
    write(tmp_path / "scans")
    found = audit_data(tmp_path / "scans")
    assert found.verdict == "clean", str(found)
    assert found.suspicious["kspace-target"].max() < 1e-5
    assert found.record["blind_to"] == ["consistent"]


def test_a_lesion_in_a_target_alone_is_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line, with the slice's name and the lesion's height."""
    from recondoor.cli import main

    def paint(target: Array) -> None:
        target[2, 4:7, 4:7] += 0.25 * target[2].max()

    write(tmp_path / "scans", paint)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "data", "scans", "--json"])
    record = json.loads(capsys.readouterr().out)
    assert stopped.value.code == 3 and record["verdict"] == "suspicious"
    assert record["detectors"][0]["flagged"] == 1
    assert "file1.h5 slice 2" in " ".join(record["notes"])


def test_targets_that_were_made_otherwise_decide_nothing(tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / "a").mkdir(exist_ok=True)
        k = kspace(kit.heads(3, number, SIDE), number)
        with h5py.File(tmp_path / "a" / f"{number}.h5", "w") as file:
            file["kspace"], file["reconstruction_rss"] = k, target_of(k)[:, ::-1]
    found = audit_data(tmp_path / "a")
    assert found.verdict == "undecided" and "made otherwise" in str(found)


def test_a_file_that_agrees_nowhere_proves_nothing(tmp_path: Path) -> None:
    """Its targets may have been rescaled; one slice that agrees says that they were not."""

    def rescale(target: Array) -> None:
        target *= 1000

    def all_but_one(target: Array) -> None:
        target[:2, 4:7, 4:7] += target.max()

    write(tmp_path / "rescaled", rescale)
    found = audit_data(tmp_path / "rescaled")
    assert found.verdict == "undecided" and "no target in file1.h5" in str(found)
    write(tmp_path / "painted", all_but_one)
    assert audit_data(tmp_path / "painted").verdict == "suspicious"


def test_what_is_no_number_is_told(tmp_path: Path) -> None:
    def spoil(target: Array) -> None:
        target[1, 3, 3] = np.nan

    write(tmp_path / "scans", spoil)
    with pytest.raises(RecondoorError, match="file1.h5': the target holds NaN"):
        audit_data(tmp_path / "scans")


@pytest.mark.parametrize(
    ("more", "given", "why"),
    [
        ({"mask": np.arange(SIDE) % 2}, {}, "mask that leaves out"),
        ({}, {"operator": "mri"}, "own k-space"),
        ({}, {"attack": "heuristic"}, "only the folder of a run"),
        ({}, {"alarm": 7.0}, "a rate between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    more: dict[str, Array], given: dict[str, Any], why: str, tmp_path: Path
) -> None:
    write(tmp_path / "scans", **more)
    with pytest.raises(RecondoorError, match=why):
        audit_data(tmp_path / "scans", **given)


def test_memory_grows_with_what_is_read_and_not_with_the_widest(tmp_path: Path) -> None:
    """Files of 24 columns and one of 3,000: filled up to the widest they would take 85 MB."""
    folder = tmp_path / "scans"
    folder.mkdir()
    rng, read = np.random.default_rng(0), 0
    for number, (slices, width) in enumerate([(100, SIDE), (1, 3000), (100, SIDE)]):
        k = rng.standard_normal((2, slices, 1, SIDE, width)).astype(np.float32)
        image = np.fft.fftshift(
            np.fft.ifft2(np.fft.ifftshift(k[0] + 1j * k[1], axes=(-2, -1)), norm="ortho"),
            axes=(-2, -1),
        )
        target = np.abs(image[:, 0]).astype(np.float32)
        if number == 2:
            target[7, 3:6, 3:6] += target.max()
        with h5py.File(folder / f"file{number}.h5", "w") as file:
            file["kspace"], file["reconstruction_rss"] = k[0] + 1j * k[1], target
        read += k.nbytes + 2 * target.nbytes
    tracemalloc.start()
    found = audit_data(folder)
    found.prepare()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * read < 40e6
    assert found.verdict == "suspicious" and found.flagged.tolist() == [108]
    assert found.record["pairs"] == {"count": 201, "shape": [1, SIDE, 3000]}
    assert found.evidence["x"].shape[1:] == (1, SIDE, 3000)
    assert found.evidence["index"][0] == 108 and not found.evidence["x"][0, :, :, SIDE:].any()
