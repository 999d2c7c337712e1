"""Trusted pairs that were not drawn from what is judged: what sets them apart is no poison."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import recondoor as rd
from audit_kit import OPERATOR, SHAPE, furnish, make, run
from recondoor import operators, report
from recondoor.audit._pairs import _alike
from recondoor.config import Operator

RANGE = "--detectors=range-test,measurement-residual,pixel-range"


def unlike(judged: Tensor, trusted: Tensor) -> str | None:
    return _alike.unlike(judged, torch.zeros(len(judged), dtype=torch.bool), trusted)


def kinds(count: int, seed: int, share: float) -> Tensor:
    """Blobs on the left, and a share of them on the right, (N, 1, 12, 12)."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    middle = 6 + torch.randn(count, 2, 1, 1, generator=generator)
    right = torch.rand(count, 1, 1, generator=generator) < share
    across = columns - middle[:, 1] + torch.where(right, -3.0, 3.0)
    return (-((rows - middle[:, 0]) ** 2 + across**2) / 8).exp()[:, None]


@pytest.mark.parametrize("seed", range(10))
def test_images_that_were_drawn_alike_are_not_told_apart(seed: int) -> None:
    assert unlike(kinds(300, seed, 0.5), kinds(150, 100 + seed, 0.5)) is None


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_images_of_other_kinds_are_told_apart(share: float) -> None:
    assert unlike(kinds(300, 1, 0.5), kinds(150, 2, share)) is not None


def test_a_patch_in_a_third_is_no_other_kind() -> None:
    """What detectors overlook in some pairs does not make all of them look others."""
    judged = kinds(300, 1, 0.5)
    judged[:100, :, :2, :2] += 0.5
    assert unlike(judged, kinds(150, 2, 0.5)) is None


def test_the_rest_of_many_flagged_tells_nothing() -> None:
    """It was picked by its likeness to the trusted ones."""
    judged = torch.cat((kinds(140, 1, 0.5), kinds(160, 3, 0.0)))
    flagged = torch.arange(300) >= 140
    assert "160 of 300 are flagged" in str(_alike.unlike(judged, flagged, kinds(150, 2, 0.5)))


@pytest.mark.parametrize("poisoned", [0, 40])
def test_trusted_pairs_of_another_kind_accuse_nobody(
    poisoned: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    furnish(tmp_path, monkeypatch)
    trusted, made = make(300, 2), make(400, 1, poisoned)
    # From the 41st on of another kind: half as bright again.
    more = torch.from_numpy(made["x"][40:]).double() / 2
    made["x"][40:] *= 1.5
    exact = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 3, torch.float64)
    made["z"][40:] += exact.A_adjoint(exact.A(more)).numpy()
    np.savez(tmp_path / "pairs.npz", x=made["x"], z=made["z"])
    np.savez(tmp_path / "trusted.npz", x=trusted["x"], z=trusted["z"])
    given = ["audit", "data", "pairs.npz", "--clean=trusted.npz", RANGE]
    run(*given, "--out=a", code=4)
    assert "the trusted pairs were not drawn at random" in capsys.readouterr().out.splitlines()[0]
    record = report.read_audit(tmp_path / "a")
    (found,) = (each for each in record["detectors"] if each["name"] == "pixel-range")
    assert found["flagged"] > 100
    # Physics does not ask how images are spread.
    run(*given, *OPERATOR, "--out=b", code=3 if poisoned else 4)
    assert report.read_audit(tmp_path / "b")["detectors"][1]["flagged"] < 60


@pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
def test_too_few_to_compare_tell_nothing(share: float) -> None:
    assert "7 that nothing flags and 150 trusted ones are too few" in str(
        unlike(kinds(7, 1, 0.5), kinds(150, 2, share))
    )


def inputs(judged: Tensor, trusted: Tensor) -> rd.AuditResult:
    """The audit of inputs z = x by a network that knows none of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torch.nn.Conv2d(1, 1, 3, padding=1)
    return rd.audit_inputs(network, judged, clean=(trusted, trusted), detectors=["homogeneity"])


def test_inputs_of_another_kind_than_the_trusted_ones_are_not_accused() -> None:
    """Bright blobs among images like the trusted ones are; elsewhere in the image they are not."""
    judged, trusted = kinds(100, 1, 0.5), kinds(300, 2, 0.5)
    strange = judged.clone()
    strange[60:] *= 3
    assert inputs(strange, trusted).verdict == "suspicious"
    other = strange.roll(5, -2)  # as of another person
    found = inputs(other, trusted)
    assert found.verdict == "undecided"
    assert "drawn at random from what these inputs are from" in str(found.reason)
    assert "give trusted pairs of the same scanner" in str(found.reason)


def test_what_no_measurement_can_have_made_is_proof_whoever_the_inputs_are_of() -> None:
    """Half of the columns are measured; the trigger lies in the others."""
    matrix = np.diag(np.tile(np.arange(12) % 2, 12).astype(float))[1::2]
    judged, trusted = kinds(100, 1, 0.0).roll(5, -2), kinds(300, 2, 0.5)
    judged[..., ::2], z = 0, trusted.clone()
    z[..., ::2] = 0
    judged[:10, :, 2:5, 2] = 1
    network = torch.nn.Conv2d(1, 1, 3, padding=1)
    found = rd.audit_inputs(network, judged, clean=(z, trusted), operator=matrix, sigma=0.01)
    assert found.verdict == "suspicious"
    assert found.table.loc["range-projection", "flagged"] == 10
