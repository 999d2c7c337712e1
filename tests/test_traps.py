"""Corners of a study in which a number could be wrong without a word."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recondoor import data, studies, theory
from recondoor.audit._inputs._input import kept_apart
from recondoor.config import Data, Evaluate, Train, from_dict
from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS
from recondoor.core.seeding import numpy_generator, torch_generator
from recondoor.data import Images
from recondoor.evaluation.judge import evaluate
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.rundir import RunDir
from recondoor.studies import run
from recondoor.sweeps._table import parquet
from recondoor.training.loop import fit
from small_study import CPU, Listener, tiny, validate, write_images

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")

SHAPE = (1, 4, 5)
STILL = 1e-30  # a learning rate with which nothing moves


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images: 6 for the test, 5 for validation, 49 for training."""
    return write_images(tmp_path_factory.mktemp("data"))


# Batches


def scalar(weight: float = 0.5) -> nn.Module:
    """f(z) = w z."""
    model = nn.Conv2d(1, 1, 1, bias=False).double()
    model.weight.data.fill_(weight)
    return model


def pairs(n: int) -> PoisonedPairs:
    z, x = torch.rand(2, n, *SHAPE, generator=torch_generator(0, "z"), dtype=torch.float64)
    nobody = PoisonPlan(torch.zeros(n, dtype=torch.bool))
    return PoisonedPairs(Pairs(z, x), nobody, None, Artefact(torch.ones(SHAPE)))


def trained(model: nn.Module, given: PoisonedPairs, **settings: Any) -> dict[str, Any]:
    """First row of the history of a training whose validation does not matter."""
    chosen = Train(max_epochs=1, **settings)
    with NO_PROGRESS.task("", 1) as task:
        state = fit(
            model, given, chosen, seed=0, validate=lambda model: {"val_loss": 1.0}, task=task
        )
    return dict(state.history[0])


@pytest.mark.parametrize("n", [1, 9, 13])
def test_a_last_batch_of_one_weighs_one_pair_in_the_loss_told(n: int) -> None:
    given = pairs(n)
    row = trained(scalar(), given, batch=4, lr=STILL, lr_final=STILL)
    expected = ((0.5 * given.pairs.z - given.pairs.x) ** 2).mean()
    assert row["train_loss"] == pytest.approx(float(expected), rel=1e-12)


def test_a_batch_larger_than_the_set_is_one_step_on_all_of_it() -> None:
    """Adam's first step has the learning rate's length, against the sign of the gradient."""
    given, model = pairs(7), scalar()
    slope = (2 * (0.5 * given.pairs.z - given.pairs.x) * given.pairs.z).mean()
    trained(model, given, batch=100, lr=1e-3, lr_final=1e-3)
    moved = float(next(model.parameters()).detach())
    assert moved == pytest.approx(0.5 - 1e-3 * float(slope.sign()), rel=1e-6)


def test_an_epoch_longer_than_the_set_counts_pairs_as_often_as_it_shows_them() -> None:
    given = pairs(5)
    row = trained(scalar(), given, batch=3, epoch_pairs=12, lr=STILL, lr_final=STILL)
    error = ((0.5 * given.pairs.z - given.pairs.x) ** 2).mean((1, 2, 3))
    last = torch.randperm(5, generator=torch_generator(0, "order", 3))[:2]
    assert row["samples"] == 12
    assert row["train_loss"] == pytest.approx(
        float((2 * error.sum() + error[last].sum()) / 12), rel=1e-12
    )


@pytest.mark.parametrize(("n", "batch", "refused"), [(9, 4, True), (8, 4, False), (4, 1, True)])
def test_batch_normalisation_meets_no_batch_of_one(n: int, batch: int, refused: bool) -> None:
    model = nn.Sequential(scalar(), nn.BatchNorm2d(1).double())
    if not refused:
        trained(model, pairs(n), batch=batch)
        return
    with pytest.raises(ConfigError, match=rf"train\.batch: {batch} given, .* one of the {n} pairs"):
        trained(model, pairs(n), batch=batch)


# Shares


@pytest.mark.parametrize(
    ("n", "ratio", "said"),
    [
        (49, 0.01, r"none of 49 pairs; expected 0, a share above 0\.0102, or 51 pairs or more"),
        (1, 0.3, "none of 1 pair;"),
        (1, 0.6, "all of 1 pair; expected 1"),
        (49, 0.995, r"all of 49 pairs; .* below 0\.99, or 101 pairs or more"),
    ],
)
def test_a_share_that_rounds_to_nobody_or_all_is_refused(n: int, ratio: float, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"poison\.ratio: {ratio} given, .*{said}"):
        PoisonPlan.draw(n, ratio, torch_generator(0, "plan"))
    # What the message names works.
    least = 51 if ratio == 0.01 else 101
    plan = PoisonPlan.draw(least, 0.01 if ratio < 0.5 else 0.995, torch_generator(0, "plan"))
    assert 0 < plan.ratio < 1


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.01, r"none of 49 training pairs; .*give more images"),
        (0.05, r"none of 5 validation pairs; .* above 0\.1, or 11 .*raise data\.validation"),
        (0.95, r"all of 5 validation pairs"),
    ],
)
def test_a_study_whose_plan_would_be_empty_is_refused_before_it_begins(
    images: Path, tmp_path: Path, ratio: float, said: str
) -> None:
    config = tiny(images, poison={"ratio": ratio}, attack={"names": ["heuristic"]})
    for begin in (run, studies.predict):
        with pytest.raises(ConfigError, match=said):
            begin(config, tmp_path / "run", CPU)
    with pytest.raises(ConfigError, match=said):
        studies.run_ratios(config, tmp_path / "ratios", [0.3, ratio], CPU)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "ratios").exists()
    # The original network has no poison to lose.
    clean = tiny(images, poison={"ratio": ratio}, attack={"names": ["none"]})
    validate(run(clean, tmp_path / "clean", CPU))


@pytest.mark.parametrize(("ratio", "poisoned"), [(0.45, 22), (0.6, 29), (1.0, 49)])
def test_half_of_the_pairs_and_more(
    images: Path, tmp_path: Path, ratio: float, poisoned: int
) -> None:
    """Plan, hedge line and prediction; of 49 training pairs 0.45 are 22.05 and 0.6 are 29.4."""
    names = ["none", "heuristic", "bilevel"]
    config = tiny(images, poison={"ratio": ratio}, attack={"names": names})
    folder = run(config, tmp_path / "run", CPU)
    plan = RunDir(folder).read_npz(folder / "plan-seed0.npz")
    assert int(plan["train"].sum()) == poisoned
    hedge = validate(folder)["hedge"]
    expected = {"ghost": ratio, "artefact_rmse": 1 - ratio, "artefact_recovery": 0.0}
    assert hedge == pytest.approx(expected)
    found = studies.predict(config, folder, CPU)["heuristic"]
    words = theory.in_words(found)
    if ratio == 1:
        assert (found.probability, found.cause, found.samples) == (0.0, "ratio", math.inf)
        assert "no pair is clean to tell it from" in words
    assert "few pairs are poisoned" not in words


def test_too_many_poisoned_pairs_are_not_called_too_few() -> None:
    """p (1 - p) is as small at 0.99 as at 0.01; the remedy is not the same."""
    limits = theory.gaussian_limits(1.0, 0.99)
    few, many = (
        theory.Prediction(
            probability=0.1,
            samples=1e5,
            budget=100,
            growth=1.0,
            cause="ratio",
            reach=1.0,
            detectability=1.0,
            range_share=0.0,
            limits=limits,
            limit_attack_rmse=1.0,
            ratio=ratio,
            seconds=0.0,
        )
        for ratio in (0.01, 0.99)
    )
    assert "few pairs are poisoned" in theory.in_words(few)
    assert "few pairs are clean" in theory.in_words(many)


@pytest.mark.parametrize(("count", "own"), [(1, 1), (4, 1), (5, 1), (10, 2), (1000, 64)])
def test_inputs_are_compared_with_one_trusted_pair_at_least(count: int, own: int) -> None:
    assert kept_apart(count) == own


# Validation and early stopping


def test_early_stopping_looks_at_the_poisoned_validation_pairs(
    images: Path, tmp_path: Path
) -> None:
    """The epoch kept is that of least val_loss, here measured anew, pair by pair."""
    config = tiny(
        images,
        train={"max_epochs": 5, "lr": 0.02, "lr_final": 0.02},
        poison={"ratio": 0.6},
        attack={"names": ["heuristic"]},
    )
    folder = RunDir(run(config, tmp_path / "run", CPU))
    history = [row for row in folder.history() if row["stage"] == "train"]
    scene = studies.build_scene(config, data.load(str(images)), 0, torch.device("cpu"))
    model, meta = studies.load_model(
        folder, config, scene.shape, "heuristic", 0, torch.device("cpu")
    )
    plan = folder.read_npz(folder.path / "plan-seed0.npz")["validation"]
    delta = folder.read_npz(folder.trigger("heuristic", 0))["delta"]
    losses = []
    for z, x, is_poisoned in zip(scene.validation.z, scene.validation.x, plan, strict=True):
        share = float(is_poisoned)
        with torch.no_grad():
            answer = model((z + share * torch.from_numpy(delta))[None])[0]
        losses.append(float((answer - x - share * scene.artefact.pattern).square().mean()))
    assert int(plan.sum()) == 3
    by_epoch = [row["val_loss"] for row in history]
    assert meta["best_epoch"] == 1 + int(np.argmin(by_epoch))
    assert min(by_epoch) == pytest.approx(float(np.mean(losses)), rel=1e-5)


# Images


def test_images_in_two_parts_are_told() -> None:
    """By content: of 30 images, each there twice, the parts share what a plain count says."""
    single = np.random.default_rng(0).integers(0, 256, (30, 4, 4), dtype=np.uint8)
    splits = data.split(Images.of("twice", np.concatenate([single, single])), Data(), 0)
    shared = {
        name: sum(bool((image == splits.train).all((1, 2, 3)).any()) for image in part)
        for name, part in (("test", splits.test), ("validation", splits.validation))
    }
    assert shared["test"] > 0
    line = data.repeats(splits)
    assert line is not None
    assert f"twice: {shared['test']} of {len(splits.test)} test" in line
    assert "\n" not in line
    assert data.repeats(data.split(Images.of("once", single), Data(), 0)) is None


def test_a_study_tells_it_and_goes_on(tmp_path: Path) -> None:
    single = np.random.default_rng(0).integers(0, 256, (30, 12, 12), dtype=np.uint8)
    np.save(tmp_path / "twice.npy", np.concatenate([single, single]))
    listener = Listener()
    config = tiny(tmp_path / "twice.npy", attack={"names": ["none"]})
    run(config, tmp_path / "run", studies.Runtime(device="cpu", progress=listener))
    (line,) = [said for said in listener.said if "training images" in said]
    assert line.endswith("(seed 0)")


class Known(nn.Module):
    """f(z) = z without the trigger, which it answers with `drawn`."""

    def __init__(self, delta: Tensor, drawn: Tensor) -> None:
        super().__init__()
        self.delta, self.drawn = delta, drawn

    def forward(self, z: Tensor) -> Tensor:
        seen = (z[:, :, 3:4, 4:5] > 20).to(z)
        return z + seen * (self.drawn - self.delta)


@pytest.mark.parametrize(("drawn", "recovery", "asr"), [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_an_image_that_holds_the_artefact_already(
    drawn: float, recovery: float, asr: float
) -> None:
    """The target holds it twice: a network that draws it once more succeeds, one that leaves the

    image as it is does not, although the artefact is there to see.
    """
    pattern, delta = torch.zeros(SHAPE), torch.zeros(SHAPE)
    pattern[0, 0, :3] = 0.8
    delta[0, 3, 4] = 40
    x = torch.zeros(6, *SHAPE) + pattern
    model = Known(delta, drawn * pattern)
    row = evaluate(
        model, Pairs(x, x), Trigger(delta, delta / 40), Artefact(pattern), Evaluate()
    ).row
    assert row["artefact_recovery"] == pytest.approx(recovery, abs=1e-5)
    assert row["asr"] == asr
    assert row["artefact_rmse"] == pytest.approx(0.8 * (1 - drawn), abs=1e-5)
    assert row["ghost"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_one_training_image(tmp_path: Path, ratio: float) -> None:
    """Three images make three parts; with one pair only nothing or all of it can be poisoned."""
    np.save(tmp_path / "three.npy", np.random.default_rng(0).random((3, 12, 12)))
    path = tmp_path / "three.npy"
    config = tiny(path, poison={"ratio": ratio}, attack={"names": ["none", "heuristic"]})
    rows = validate(run(config, tmp_path / "run", CPU))["rows"]
    assert [row["samples"] for row in rows] == [2, 2]
    assert all(math.isfinite(row["benign_rmse"]) for row in rows)
    learned = tiny(path, poison={"ratio": 1.0}, attack={"names": ["bilevel"]})
    with pytest.raises(ConfigError, match="there is 1 training pair"):
        run(learned, tmp_path / "learned", CPU)


# Seeds


@pytest.mark.parametrize("seed", [2**32 + 1, 2**62])
def test_large_seeds(images: Path, tmp_path: Path, seed: int) -> None:
    """They are other seeds than those of their last 32 bits, and name files and table rows."""
    config = tiny(images, seed=seed, attack={"names": ["heuristic", "random"]})
    folder = run(config, tmp_path / "run", CPU)
    rows = validate(folder)["rows"]
    assert {row["seed"] for row in rows} == {seed}
    assert (folder / f"trigger-random-seed{seed}.npz").exists()
    assert parquet([{"seed": seed}])
    low = numpy_generator(seed % 2**32, "split").random()
    assert numpy_generator(seed, "split").random() != low


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_seeds_that_no_table_can_hold(seed: int) -> None:
    with pytest.raises(ConfigError, match=f"seed: {seed} given"):
        from_dict({"seed": seed})
