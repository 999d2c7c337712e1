"""Pairs of which an audit could say too much: mostly poisoned, few, constant, in other units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audit_kit import OPERATOR, SHAPE, Array, make, run
from recondoor import config, defences, models, operators
from recondoor.audit import Audit, Measured, Request, audit_data
from recondoor.config import Model, Operator
from recondoor.defences import Defender, Physics
from recondoor.poisoning import Pairs

PHYSICS = ("range-test", "measurement-residual")
SMALL = Model(width=4, code=2, kernel=3)


def measured(count: int, poisoned: int) -> dict[str, Array]:
    """Pairs of which the first `poisoned` have a trigger in the measurement."""
    made = make(count, 1)
    exact = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 3, torch.float64)
    trigger = torch.zeros(1, *SHAPE, dtype=torch.float64)
    trigger[..., -3:, -3:] = 1
    delta = exact.A_adjoint(exact.A(trigger))[0].float().numpy()
    made["z"][:poisoned] += delta
    return made


def audit(
    folder: Path, made: dict[str, Array], *more: str, clean: bool = False, **other: Any
) -> Audit:
    np.savez(folder / "pairs.npz", x=made["x"], z=made["z"])  # type: ignore[arg-type]
    trusted = make(300, 2)
    np.savez(folder / "trusted.npz", x=trusted["x"], z=trusted["z"])  # type: ignore[arg-type]
    given = ["operator.name=gaussian", "operator.gaussian.ratio=0.5", "seed=3", *more]
    settings = config.load_config("quick", (), given)
    other.setdefault("detectors", PHYSICS)
    path = folder / "trusted.npz" if clean else None
    return audit_data(
        Request(folder / "pairs.npz", settings and Measured.by(settings), path, **other)
    )


@pytest.mark.parametrize("share", [0.45, 0.6, 1.0])
@pytest.mark.parametrize("known", ["nothing", "sigma", "clean"])
def test_mostly_poisoned_pairs_are_never_called_clean(
    share: float, known: str, tmp_path: Path
) -> None:
    made = measured(200, round(200 * share))
    more = ["operator.sigma=0.01"] if known == "sigma" else []
    found = audit(tmp_path, made, *more, clean=known == "clean")
    # With 80 pairs that have the residuals of the noise that was given, the operator is theirs.
    if (known == "nothing" and share > 0.5) or (known == "sigma" and share == 1):
        assert found.verdict == "undecided"
        assert "more than half" in found.doubts[0]
    else:
        assert found.verdict == "suspicious"


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_pairs_in_range_say_that_the_operator_is_theirs(share: float, tmp_path: Path) -> None:
    """A trigger in z of more than half: the others cannot lie in the range by chance."""
    found = audit(tmp_path, make(200, 1, round(200 * share)), "operator.sigma=0.01")
    assert found.verdict == "suspicious"
    assert int(found.judged[0].flagged.sum()) == round(200 * share)


@pytest.mark.parametrize("seed", range(5))
def test_clean_pairs_of_unknown_noise_are_not_doubted(seed: int, tmp_path: Path) -> None:
    found = audit(tmp_path, make(200, 10 + seed))
    assert found.doubts == [] and found.verdict == "clean"


def test_noiseless_pairs_are_not_doubted(tmp_path: Path) -> None:
    made = make(200, 1)
    exact = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 3, torch.float64)
    x = torch.from_numpy(made["x"]).double()
    made["z"] = exact.A_adjoint(exact.A(x)).float().numpy()
    assert audit(tmp_path, made).verdict == "clean"


def test_one_pair_is_decided_only_by_proof(tmp_path: Path) -> None:
    found = audit(tmp_path, make(1, 1), "operator.sigma=0.01")
    assert found.verdict == "undecided"
    assert "1 pair is too few" in found.doubts[0]
    assert audit(tmp_path, measured(1, 0)).verdict == "undecided"
    found = audit(tmp_path, make(1, 1, 1), "operator.sigma=0.01")
    assert found.verdict == "undecided"
    assert "or more than half are poisoned" in found.doubts[0]
    found = audit(tmp_path, make(1, 1, 1), "operator.sigma=0.01", clean=True)
    assert found.verdict == "suspicious"


def test_eight_pairs(tmp_path: Path) -> None:
    assert audit(tmp_path, measured(8, 3), "operator.sigma=0.01").verdict == "suspicious"
    assert audit(tmp_path, measured(8, 0), "operator.sigma=0.01").verdict == "clean"
    found = audit(tmp_path, measured(8, 0))
    assert found.verdict == "undecided"
    assert "8 pairs" in found.doubts[0]


def test_constant_images_have_scores(tmp_path: Path) -> None:
    """All of one value, or all alike: no score is NaN, and none is called poisoned."""
    made = make(120, 1)
    for x in (np.zeros_like(made["x"]), np.repeat(made["x"][:1], 120, axis=0)):
        exact = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 3, torch.float64)
        y = exact.forward(torch.from_numpy(x).double(), torch.Generator().manual_seed(1))
        z = exact.A_adjoint(y).float().numpy()
        every = defences.names("pairs")
        found = audit(tmp_path, {"x": x, "z": z}, "operator.sigma=0.01", detectors=every)
        assert len(found.judged) == len(defences.names("pairs"))
        assert all(np.isfinite(each.scores).all() for each in found.judged)
        assert found.verdict != "suspicious"
    np.savez(tmp_path / "same.npz", x=np.zeros((120, 12, 12)), z=np.zeros((120, 12, 12)))
    found = audit_data(Request(tmp_path / "same.npz"))
    assert all(np.isfinite(each.scores).all() for each in found.judged)


class InUnits(nn.Module):
    """The network that the same one is in another unit."""

    def __init__(self, model: nn.Module, unit: float) -> None:
        super().__init__()
        self.model, self.unit = model, unit

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.unit * self.model(z / self.unit)
        return out

    def features(self, z: Tensor) -> Tensor:
        out: Tensor = self.model.features(z / self.unit)  # type: ignore[operator]
        return out


@pytest.mark.parametrize("name", defences.names("pairs"))
@pytest.mark.parametrize("exponent", [-17, 17])
def test_scores_do_not_depend_on_units(name: str, exponent: int) -> None:
    """2^-17 and 2^17, some 1e-5 and 1e5, which change no digit."""
    unit = 2.0**exponent
    made = make(200, 1, poisoned=20)
    z, x = torch.from_numpy(made["z"]), torch.from_numpy(made["x"])
    settings = Operator(name="gaussian", ratio=0.5)
    scores = defences.load(name).scores
    found = []
    for factor in (1.0, unit):
        own = settings.model_copy(update={"sigma": 0.01 * factor})
        physics = Physics.of(operators.build(SHAPE, own, 3, torch.float64))
        model = InUnits(models.build(SHAPE, SMALL, 0, "audit"), factor)
        found.append(scores(Pairs(factor * z, factor * x), Defender(None, physics, model)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("poisoned", [0, 60])
@pytest.mark.parametrize("unit", [1e-5, 1e5, "HU"])
def test_other_units_give_the_same_verdict(poisoned: int, unit: Any, tmp_path: Path) -> None:
    """With all detectors, and a network that is trained on the pairs."""
    made = make(200, 1, poisoned)
    every = defences.names("pairs")
    expected = audit(tmp_path, made, detectors=every)
    if unit == "HU":
        exact = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 3, torch.float64)
        shift = torch.full((1, *SHAPE), -1000.0, dtype=torch.float64)
        moved = exact.A_adjoint(exact.A(shift)).numpy()
        other = {"x": 4000 * made["x"] - 1000, "z": 4000 * made["z"] + moved}
    else:
        other = {key: np.float32(unit * made[key]) for key in ("x", "z")}
    found = audit(tmp_path, other, detectors=every)
    assert found.verdict == expected.verdict
    assert len(found.judged) == len(expected.judged)
    for one, other_units in zip(expected.judged, found.judged, strict=True):
        assert one.name == other_units.name
        # Rounding differs, and a pair may lie at the threshold.
        assert abs(int(one.flagged.sum()) - int(other_units.flagged.sum())) <= 1
    rankings = zip(found.judged, expected.judged, strict=True)
    for mine, theirs in rankings:
        assert np.isfinite(mine.scores).all(), mine.name
        if unit != "HU" and theirs.name in ("pixel-range", "loss-isolation"):
            assert np.corrcoef(mine.scores, theirs.scores)[0, 1] > 0.99, mine.name


@pytest.mark.parametrize("kind", ["int16", "float16"])
def test_coarsely_stored_pairs_are_read_and_not_accused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = make(300, 1)
    z = np.round(1000 * made["z"]).astype(np.int16) if kind == "int16" else None
    x = 1000 * made["x"] if kind == "int16" else made["x"]
    np.savez("pairs.npz", x=x, z=made["z"].astype(np.float16) if z is None else z)
    run("audit", "data", "pairs.npz", *OPERATOR, "--detectors", ",".join(PHYSICS))
    shown = capsys.readouterr().out
    assert shown.startswith("CLEAN") and "its rounding is allowed for" in shown
    bad = make(300, 1, poisoned=30)
    np.savez("pairs.npz", x=bad["x"], z=bad["z"].astype(np.float16))
    run("audit", "data", "pairs.npz", *OPERATOR, "--detectors", "range-test", "--out=b", code=3)
    assert "30 of 300 pairs are flagged" in capsys.readouterr().out
