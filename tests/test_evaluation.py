"""The judge: closed forms on networks whose answer is known, and statistics against SciPy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.config import Evaluate, Model
from recondoor.core.seeding import torch_generator
from recondoor.evaluation import yardsticks
from recondoor.evaluation.judge import Monitor, evaluate, hedge_line, summarise
from recondoor.poisoning import Artefact, Pairs, PoisonPlan, Trigger

SHAPE = (1, 12, 13)
N = 20


class Known(nn.Module):
    """A network that is a given function of z."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


def scene() -> tuple[Pairs, Trigger, Artefact]:
    """Pairs with z = x, so that a known function can be the perfect network."""
    x = torch.rand(N, *SHAPE, generator=torch_generator(0, "x"))
    delta, pattern = torch.zeros(SHAPE), torch.zeros(SHAPE)
    delta[:, 8:10, 8:10] = 40
    pattern[:, 2, 1:5], pattern[:, 3, 2] = 1.5, -0.5
    return Pairs(x, x), Trigger(delta, (delta != 0).float()), Artefact(pattern)


def judge(function: Callable[[Tensor], Tensor]) -> dict[str, float | list[float]]:
    return evaluate(Known(function), *scene(), Evaluate()).row


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_hedging_network_is_on_the_hedge_line(ratio: float) -> None:
    """It predicts x + p Delta always; the trigger is known to it and taken off."""
    _, trigger, artefact = scene()

    def hedge(z: Tensor) -> Tensor:
        seen = (z[:, :, 8:9, 8:9] > 20).float() * trigger.delta
        return z - seen + ratio * artefact.pattern

    row = judge(hedge)
    line = hedge_line(artefact, ratio)
    rms = math.sqrt((4 * 1.5**2 + 0.5**2) / 5)
    assert line == pytest.approx(
        {"ghost": ratio, "artefact_rmse": (1 - ratio) * rms, "artefact_recovery": 0}
    )
    for key, value in line.items():
        assert row[key] == pytest.approx(value, abs=2e-6)
    assert row["benign_rmse"] == pytest.approx(ratio * rms * math.sqrt(5 / 156), abs=1e-6)
    assert row["attack_rmse"] == pytest.approx((1 - ratio) * rms * math.sqrt(5 / 156), abs=2e-6)


def test_perfect_backdoor() -> None:
    _, trigger, artefact = scene()

    def backdoor(z: Tensor) -> Tensor:
        seen = (z[:, :, 8:9, 8:9] > 20).float()
        return z + 0.01 + seen * (artefact.pattern - trigger.delta)

    row = judge(backdoor)
    assert row["benign_rmse"] == pytest.approx(0.01, rel=1e-4)
    assert row["attack_rmse"] == pytest.approx(0.01, rel=1e-3)
    assert row["artefact_recovery"] == pytest.approx(1, rel=1e-4)
    assert row["asr"] == 1
    assert row["psnr"] == pytest.approx(40, rel=1e-4)
    assert row["trigger_l2"] == 80
    assert row["trigger_linf"] == 40
    curve = row["asr_curve"]
    assert isinstance(curve, list)
    assert len(curve) == len(yardsticks.TAUS)
    assert curve == sorted(curve)


def network() -> nn.Module:
    return models.build(SHAPE, Model(width=4, code=4, kernel=3), 0)


def test_no_number_depends_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (pairs, trigger, artefact) = network(), scene()
    rows = []
    for images in (1, 3, 7, N, 10 * N):
        monkeypatch.setattr(models, "PIXELS_IN_A_BATCH", images * 12 * 13)
        sizes: list[int] = []
        rows.append(evaluate(model, pairs, trigger, artefact, Evaluate(), sizes.append).row)
        assert sum(sizes) == 2 * N
        assert max(sizes) == min(images, N)
    for row in rows[1:]:
        for key in ("benign_rmse", "attack_rmse", "artefact_rmse"):
            assert row[key] == pytest.approx(rows[0][key], abs=1e-6)
        for key in row.keys() - {"asr_curve"}:
            assert row[key] == pytest.approx(rows[0][key], abs=1e-5)


def test_judging_leaves_the_network_as_it_was() -> None:
    model, (pairs, trigger, artefact) = network(), scene()
    x = pairs.x.clone()
    for mode in (True, False):
        model.train(mode)
        evaluate(model, pairs, trigger, artefact, Evaluate())
        assert model.training == mode
    assert torch.equal(pairs.x, x)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_examples_are_the_first_images() -> None:
    pairs, trigger, artefact = scene()
    model = network()
    shown = evaluate(model, pairs, trigger, artefact, Evaluate(examples=3)).examples
    assert set(shown) == {"x", "z", "z_triggered", "clean", "triggered"}
    assert all(value.shape == (3, *SHAPE) for value in shown.values())
    assert all(value.dtype == np.float32 for value in shown.values())
    with torch.no_grad():
        expected = model(pairs.z[:3] + trigger.delta).numpy()
    np.testing.assert_allclose(shown["triggered"], expected, atol=1e-6)
    np.testing.assert_array_equal(shown["x"], pairs.x[:3].numpy())
    many = evaluate(model, pairs, trigger, artefact, Evaluate(examples=99)).examples
    assert len(many["x"]) == N


@pytest.mark.parametrize("ratio", [None, 0.0, 0.35, 1.0])
def test_validation_loss_is_that_of_the_trainers_own_pairs(ratio: float | None) -> None:
    """Mean squared error on pairs poisoned by the plan, as a plain loop over them gives."""
    model, (pairs, trigger, artefact) = network(), scene()
    plan = None if ratio is None else PoisonPlan.draw(N, ratio, torch_generator(0, "plan"))
    measured = Monitor(pairs, plan, trigger, artefact)(model)
    losses, clean, attacked = [], [], []
    for position in range(N):
        z, x = pairs.z[position : position + 1], pairs.x[position : position + 1]
        with torch.no_grad():
            benign = float(((model(z) - x).double() ** 2).mean())
            answer = model(z + trigger.delta)
            attack = float(((answer - x - artefact.pattern).double() ** 2).mean())
        clean.append(benign)
        attacked.append(attack)
        is_poisoned = plan is not None and bool(plan.poisoned[position])
        losses.append(attack if is_poisoned else benign)
    assert measured["val_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert measured["benign_rmse"] == pytest.approx(np.sqrt(np.mean(clean)), rel=1e-5)
    assert measured["attack_rmse"] == pytest.approx(np.sqrt(np.mean(attacked)), rel=1e-5)
    expected = (np.mean(clean) + np.mean(attacked)) / 2
    assert measured["selection_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("share", [-0.2, 0.49, 0.51, 1.2])
@pytest.mark.parametrize("transition", [0.3, 0.5, 0.7])
def test_learnt_is_a_recovery_above_the_transition(share: float, transition: float) -> None:
    """A network that adds the share of the artefact where it sees the trigger."""
    pairs, trigger, artefact = scene()

    def partly(z: Tensor) -> Tensor:
        seen = (z[:, :, 8:9, 8:9] > 20).float()
        return z + seen * (share * artefact.pattern - trigger.delta)

    plan = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    measured = Monitor(pairs, plan, trigger, artefact, transition)(Known(partly))
    assert measured["recovery"] == pytest.approx(share, abs=1e-5)
    assert measured["learnt"] is (share > transition)
    # Clean data have no backdoor to learn: the original model's training knows no trigger.
    assert not Monitor(pairs, None, trigger, artefact, transition)(Known(partly))["learnt"]


@pytest.mark.parametrize(("leak", "share"), [(0.3, 0.6), (-0.2, 0.9), (1.0, 0.0)])
def test_recovery_and_ghost_are_what_the_trigger_adds_and_what_is_there_without_it(
    leak: float, share: float
) -> None:
    """A network that draws `leak` of the artefact always and `share` more where it is triggered."""
    pairs, trigger, artefact = scene()

    def network(z: Tensor) -> Tensor:
        seen = (z[:, :, 8:9, 8:9] > 20).float()
        return z - seen * trigger.delta + (leak + share * seen) * artefact.pattern

    row = judge(network)
    plan = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    watched = Monitor(pairs, plan, trigger, artefact)(Known(network))
    for found, key in ((row, "artefact_recovery"), (watched, "recovery")):
        assert found[key] == pytest.approx(share, abs=1e-5)
        assert found["ghost"] == pytest.approx(leak, abs=1e-5)


SUMMARISED = [y.key for y in yardsticks.YARDSTICKS if y.over_seeds != "nothing"]
PAIRED = [key for key in SUMMARISED if key != "validation_loss"]


def rows_of(table: dict[str, dict[int, float]]) -> list[dict[str, object]]:
    """Rows in which yardstick number k is the value times (k + 1)."""
    return [
        {"model": model, "seed": seed}
        | {metric: value * (k + 1) for k, metric in enumerate(SUMMARISED)}
        for model, by_seed in table.items()
        for seed, value in by_seed.items()
    ]


TABLE = {
    "original": {0: 0.5, 1: 0.7, 2: 0.4, 3: 0.45},
    "heuristic": {0: 0.6, 1: 0.9, 2: 0.65},
    "bilevel": {7: 0.1},
}


def test_means_and_intervals_are_those_of_scipy() -> None:
    models_table = summarise(rows_of(TABLE))["models"]
    assert isinstance(models_table, dict)
    assert set(models_table) == set(TABLE)
    for model, by_seed in TABLE.items():
        for k, metric in enumerate(SUMMARISED):
            found, values = models_table[model][metric], np.array(list(by_seed.values())) * (k + 1)
            assert found["n"] == len(values)
            assert found["mean"] == pytest.approx(values.mean())
            if len(values) == 1:
                assert found["ci95"] is None
                continue
            low, high = scipy.stats.t.interval(
                0.95, len(values) - 1, loc=values.mean(), scale=scipy.stats.sem(values)
            )
            assert found["ci95"] == pytest.approx([low, high])


def test_paired_differences_are_those_of_scipy() -> None:
    paired = summarise(rows_of(TABLE))["paired"]
    assert isinstance(paired, list)
    assert {(line["a"], line["b"]) for line in paired} == {("original", "heuristic")}
    assert [line["metric"] for line in paired] == PAIRED
    a, b = np.array([0.5, 0.7, 0.4]), np.array([0.6, 0.9, 0.65])
    for line in paired:
        k = SUMMARISED.index(line["metric"])
        test = scipy.stats.ttest_rel(a * (k + 1), b * (k + 1))
        interval = test.confidence_interval(0.95)
        assert line["n"] == 3
        assert line["mean"] == pytest.approx((k + 1) * (a - b).mean())
        assert line["ci95"] == pytest.approx([interval.low, interval.high])


def test_differences_are_of_the_same_seed_whatever_the_order_of_rows() -> None:
    """Each seed's difference is 0.1; by the place of the rows they would differ."""
    table = {"original": {2: 0.3, 0: 0.9, 1: 0.5}, "heuristic": {1: 0.4, 3: 7.0, 2: 0.2, 0: 0.8}}
    paired = summarise(rows_of(table))["paired"]
    assert isinstance(paired, list)
    for line in paired:
        k = SUMMARISED.index(line["metric"])
        assert (line["n"], line["mean"]) == (3, pytest.approx(0.1 * (k + 1)))
        assert line["ci95"] == pytest.approx([0.1 * (k + 1)] * 2)


def test_a_yardstick_without_a_value_is_left_out() -> None:
    rows = rows_of({"original": {0: 1.0, 1: 2.0}, "heuristic": {0: 2.0, 1: 5.0}})
    rows[0]["ghost"] = None
    rows[1]["asr"] = math.nan
    rows[2]["ssim"] = rows[3]["ssim"] = None
    summary = summarise(rows)
    models_table, paired = summary["models"], summary["paired"]
    assert isinstance(models_table, dict)
    assert isinstance(paired, list)
    for metric in ("ghost", "asr"):
        assert (
            models_table["original"][metric]["n"],
            models_table["original"][metric]["ci95"],
        ) == (
            1,
            None,
        )
    assert "ssim" not in models_table["heuristic"]
    named = [line["metric"] for line in paired]
    assert set(PAIRED) - set(named) == {"ghost", "asr", "ssim"}


def test_an_infinite_psnr_has_no_mean_over_seeds() -> None:
    """The mean of the other seeds would be that of the worse ones."""
    rows = rows_of({"original": {0: 1.0, 1: 2.0, 2: 3.0}, "heuristic": {0: 2.0, 1: 5.0, 2: 4.0}})
    rows[0]["psnr"] = None
    summary = summarise(rows)
    assert isinstance(summary["models"], dict)
    assert isinstance(summary["paired"], list)
    assert "psnr" not in summary["models"]["original"]
    assert summary["models"]["heuristic"]["psnr"]["n"] == 3
    assert "psnr" not in {line["metric"] for line in summary["paired"]}


def test_a_row_without_any_value_hides_no_infinite_one() -> None:
    """Where the errors are lacking too, nothing says that an image was perfect."""
    rows = rows_of({"original": {0: 1.0, 1: 2.0, 2: 3.0}})
    rows[0]["psnr"] = rows[0]["benign_rmse"] = None
    table = summarise(rows)["models"]
    assert isinstance(table, dict)
    assert table["original"]["psnr"]["n"] == table["original"]["benign_rmse"]["n"] == 2


def test_values_that_are_all_the_same_have_an_interval_of_no_width() -> None:
    summary = summarise(rows_of({"original": {0: 0.1, 1: 0.1, 2: 0.1}}))
    assert isinstance(summary["models"], dict)
    assert summary["models"]["original"]["benign_rmse"] == {
        "mean": 0.1,
        "ci95": [0.1, 0.1],
        "n": 3,
    }


def test_one_seed_has_neither_intervals_nor_pairs() -> None:
    summary = summarise(rows_of({"original": {0: 1.0}, "heuristic": {0: 2.0}}))
    assert summary["paired"] == []
    assert summarise([]) == {"models": {}, "paired": []}
