"""Yardsticks by volume against scikit-image, called as fastMRI's evaluation calls it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

import fake_run
from recondoor import report
from recondoor.config import Evaluate
from recondoor.evaluation import metrics, yardsticks
from recondoor.evaluation.answers import Volumes
from recondoor.evaluation.judge import evaluate, summarise
from recondoor.poisoning import Artefact, Pairs, Trigger


def fastmri(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """PSNR, SSIM and NMSE as fastmri/evaluate.py of facebookresearch/fastMRI defines them."""
    top = truth.max()
    ssim = [structural_similarity(a, b, data_range=top) for a, b in zip(truth, found, strict=True)]
    return {
        "volume_psnr": peak_signal_noise_ratio(truth, found, data_range=top),
        "volume_ssim": float(np.mean(ssim)),
        "volume_nmse": float(np.linalg.norm(truth - found) ** 2 / np.linalg.norm(truth) ** 2),
    }


class Known(nn.Module):
    """Answers with what it is asked for: the input is the answer."""

    def forward(self, z: Tensor) -> Tensor:
        return z


def scene(channels: int = 1, side: tuple[int, int] = (20, 17)) -> tuple[Tensor, Tensor]:
    """Reconstructions and truths of seven slices whose brightness differs."""
    generator = torch.Generator().manual_seed(0)
    bright = torch.linspace(0.2, 1, 7).view(-1, 1, 1, 1)
    x = bright * torch.rand(7, channels, *side, generator=generator)
    return x + 0.05 * torch.randn(x.shape, generator=generator), x


def row_of(z: Tensor, x: Tensor, volumes: Volumes | None) -> dict[str, object]:
    pattern = torch.zeros(x.shape[1:])
    pattern[:, 2, 2] = 0.5
    trigger = Trigger(0.1 * pattern, (pattern != 0).float())
    judged = evaluate(Known(), Pairs(z, x), trigger, Artefact(pattern), Evaluate(), volumes=volumes)
    return dict(judged.row)


SUBJECTS = (4, 1, 4, 1, 1, 4, 4)


@pytest.mark.parametrize("channels", [1, 2])
def test_each_volume_is_scikit_images(channels: int) -> None:
    z, x = scene(channels)
    row = row_of(z, x, Volumes(SUBJECTS, are_complex=channels == 2))
    assert row["subjects"] == [1, 4]
    first, second = (
        np.linalg.norm(v.double().numpy(), axis=1) if channels == 2 else v.double().numpy()[:, 0]
        for v in (x, z)
    )
    rows = [np.array(SUBJECTS) == subject for subject in (1, 4)]
    expected = [fastmri(first[own], second[own]) for own in rows]
    for key in yardsticks.OVER_SUBJECTS:
        each = [found[key] for found in expected]
        assert row[f"{key}_each"] == pytest.approx(each, rel=1e-9)
        assert row[key] == pytest.approx(np.mean(each), rel=1e-9)


def test_images_that_tell_no_subject_have_none_of_it() -> None:
    row = row_of(*scene(), None)
    assert not {key for key in row if key.startswith("volume_") or key == "subjects"}


def test_what_is_not_defined_is_left_out_and_what_is_infinite_has_no_mean() -> None:
    z, x = scene(side=(6, 9))
    row = row_of(z, x, Volumes(SUBJECTS))
    assert "volume_ssim" not in row  # the window does not fit
    assert row["volume_ssim_each"] == [None, None]
    perfect = torch.where(torch.tensor([s == 4 for s in SUBJECTS]).view(-1, 1, 1, 1), x, z)
    row = row_of(perfect, x, Volumes(SUBJECTS))
    assert row["volume_psnr"] == math.inf
    assert row["volume_psnr_each"][1] is None  # type: ignore[index]
    dark = row_of(z, 0 * x, Volumes(SUBJECTS))
    assert not {"volume_psnr", "volume_nmse"} & dark.keys()


def test_intervals_over_subjects_take_the_mean_over_seeds_first() -> None:
    """Two subjects of means 2 and 4: Student's t with one degree of freedom, 12.7062 x 1."""

    def row(seed: int, psnr: list[float | None]) -> dict[str, object]:
        return {
            "model": "original",
            "seed": seed,
            "benign_rmse": 0.1,
            "subjects": [0, 3],
            "volume_psnr_each": psnr,
        }

    found = summarise([row(0, [1.0, 5.0]), row(1, [3.0, 3.0])])["subjects"]
    estimate = found["original"]["volume_psnr"]  # type: ignore[index]
    assert estimate["mean"] == 3.0
    assert estimate["n"] == 2
    assert estimate["ci95"] == pytest.approx([3 - 12.7062, 3 + 12.7062], abs=1e-4)
    none = summarise([row(0, [1.0, None])])["subjects"]
    assert none["original"] == {}  # type: ignore[index]
    one = [{**row(0, [1.0]), "subjects": [7]}]
    assert summarise(one)["subjects"]["original"]["volume_psnr"] == {  # type: ignore[index]
        "mean": 1.0,
        "ci95": None,
        "n": 1,
    }
    assert "subjects" not in summarise([{"model": "original", "seed": 0, "benign_rmse": 0.1}])


def test_ssim_by_volume_is_the_ordinary_one_but_for_its_window() -> None:
    z, x = scene()
    assert metrics.volume_ssim(x, x) == pytest.approx(1, abs=1e-12)
    ours = metrics.volume_ssim(z, x)
    assert ours is not None
    assert ours != pytest.approx(metrics.mean(metrics.ssim(z, x, float(x.max()))), abs=1e-3)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1, "All test images are of one subject, so there is no interval over subjects."),
        (3, "Mean ± half of the 95 % interval of Student&#39;s t over 3 test subjects"),
    ],
)
def test_the_page_tells_intervals_over_subjects_or_that_there_are_none(
    tmp_path: Path, count: int, words: str
) -> None:
    folder = fake_run.write(tmp_path / "run", seeds=2)
    data = json.loads((folder / "results.json").read_text())
    for row in data["rows"]:
        row |= {"volume_psnr": 31.0, "subjects": list(range(count))}
        row |= {"volume_psnr_each": [30.0 + each for each in range(count)]}
    data["summary"] = summarise(data["rows"])
    (folder / "results.json").write_text(json.dumps(data))
    text = " ".join(report.build(folder).read_text().split())
    assert words.replace("&#39;", "'") in text.replace("&#39;", "'")
    if count == 3:  # mean 31, standard deviation 1: 4.30265 / sqrt(3)
        assert "31.00 ± 2.48" in text
