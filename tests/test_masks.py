"""Pairs whose file says which columns of k-space each slice has."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import pipelines_kit as kit
from recondoor import audit_data, config
from recondoor.core.errors import ConfigError, DataError

SIDE, COUNT = kit.SIDE, 60
PHYSICS = ("range-test", "measurement-residual")
Arrays = dict[str, NDArray[np.float64]]


def slices(same: bool = False, count: int = COUNT) -> Arrays:
    """Heads behind a mask of each, of 9 to 14 columns; in the order of centred k-space."""
    rng, x = np.random.default_rng(1), kit.heads(count, 1)
    masks = rng.random((count, SIDE)) < 0.25
    masks[:, SIDE // 2 - 2 : SIDE // 2 + 3] = True
    masks[:] = masks[:1] if same else masks
    k = np.fft.fftshift(kit.fft(x), axes=(-2, -1)) + kit.complex_noise(x.shape, rng)
    z = kit.ifft(np.fft.ifftshift(k * masks[:, None], axes=(-2, -1))).real
    return {"x": x, "z": z, "mask": masks[0] if same else masks}


@pytest.mark.parametrize("same", [False, True])
def test_every_slice_is_tested_behind_its_own_mask(same: bool) -> None:
    given = slices(same)
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.verdict == "clean", str(found)
    given["x"][:4] += kit.disc(0.3)
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.verdict == "suspicious" and set(range(4)) <= set(found.flagged.tolist())
    given["z"][10:13, 2:6, 2:6] += 0.5
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.table.loc["range-test", "flagged"] == 3


def test_the_wrong_masks_accuse_nobody() -> None:
    given = slices()
    given["mask"] = np.roll(given["mask"], 1, axis=0)
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.verdict == "undecided" and "--clean" not in str(found)


def test_a_faint_lesion_in_all_targets_is_not_taken_for_noise() -> None:
    """The noise is estimated from the pairs, so that only what they have in common tells."""
    given = slices()
    given["x"] += kit.disc(0.05)
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.verdict == "undecided" and "not those of noise" in str(found)


@pytest.mark.parametrize("louder", [8, 24])
def test_louder_noise_behind_masks_of_each_accuses_nobody(louder: int) -> None:
    """What the text names as the remedy decides, and trusted pairs, which do not, are not named."""
    given, rng = slices(), np.random.default_rng(5)
    k = kit.complex_noise((louder, SIDE, SIDE), rng) * given["mask"][:louder, None]
    given["z"][:louder] += kit.ifft(np.fft.ifftshift(k, axes=(-2, -1))).real
    found = audit_data(given, operator="mri", detectors=PHYSICS)
    assert found.table.loc["measurement-residual", "flagged"] == louder
    assert found.verdict == "undecided" and "more noise than the others" in str(found)
    assert "in files of their own" in str(found) and "--clean" not in str(found)
    assert ("need their own operator.sigma" in str(found)) == (louder < 20)
    sigma = 0.01 * 2**0.5 if louder < 20 else None
    for part, known in ((slice(louder), sigma), (slice(louder, None), None)):
        mine = {name: values[part] for name, values in given.items()}
        found = audit_data(mine, operator="mri", sigma=known, detectors=PHYSICS)
        assert found.verdict == "clean", str(found)


def test_trusted_pairs_are_no_remedy_behind_masks_of_each() -> None:
    """Beside them the operator's tests do not look, and the text says to leave them out."""
    given = slices(count=160)
    judged, trusted = (
        {k: v[part] for k, v in given.items()} for part in (slice(40), slice(40, None))
    )
    found = audit_data(judged, operator="mri", clean=trusted, detectors=PHYSICS)
    assert found.verdict == "undecided" and "with --clean" in str(found.reason)
    assert str(found.reason).count("leave it out") == 1
    assert audit_data(judged, operator="mri", detectors=PHYSICS).verdict == "clean"


def test_other_inputs_behind_masks_of_each_are_not_compared() -> None:
    known = config.from_dict({"operator": {"name": "mri"}, "input": {"map": "pinv"}})
    found = audit_data(slices(count=10), operator=known, detectors=PHYSICS)
    assert found.verdict == "undecided" and "masks of their own" in str(found)


def test_masks_of_slices_hide_no_shared_lesion() -> None:
    """Also where the masks are told, whose residuals no one whitening fits."""
    given = slices(count=100)
    given["x"][:10] += kit.disc(0.4)
    found = audit_data(given, operator="mri", detectors=("shared-pattern",))
    assert found.verdict == "suspicious", str(found)


def test_masks_that_are_none_are_refused() -> None:
    given = slices()
    with pytest.raises(DataError, match="expected \\(W,\\) or \\(60, W\\)"):
        audit_data(given | {"mask": given["mask"][:7]}, operator="mri")
    with pytest.raises(ConfigError, match="columns given"):
        audit_data(given | {"mask": given["mask"][:, :-1]}, operator="mri")
    with pytest.raises(ConfigError, match="only the operators mri"):
        audit_data(given, operator="blur")
    del given["mask"]
    each = config.from_dict({"operator": {"name": "mri", "mri": {"mask_per": "slice"}}})
    with pytest.raises(DataError, match="holds no mask"):
        audit_data(given, operator=each)


@pytest.mark.parametrize("mask_per", ["set", "slice"])
def test_pairs_of_a_study_can_be_audited(
    mask_per: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from recondoor.cli import main

    out = tmp_path / "mri.npz"
    sizes = ["--set", "data.size=16", "--set", "data.limit=60", "--set", "artefact.size=3"]
    sizes += ["--set", "artefact.place=5,5", "--set", f"operator.mri.mask_per={mask_per}"]
    main(["pairs", str(out), "--preset", "mri", "--set", "input.normalise=none", *sizes])
    arrays = np.load(out)
    shape = (16,) if mask_per == "set" else (len(arrays["z"]), 16)
    assert arrays["z"].shape == arrays["x"].shape and arrays["mask"].shape == shape
    found = audit_data(out, operator="mri", detectors=PHYSICS)
    assert found.table.loc["range-test", "flagged"] == 0
    capsys.readouterr()
    for given, why in ((out, "something already"), (out / "more.npz", "is a file; choose another")):
        with pytest.raises(SystemExit):
            main(["pairs", str(given), "--preset", "mri"])
        assert why in capsys.readouterr().err
