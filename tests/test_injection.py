"""Triggers that enter by the measurement or by the image: what becomes of them in z."""

import pytest
import torch
from torch import Tensor

from recondoor import data, operators, studies
from recondoor.attacks._budget import Budget
from recondoor.config import Operator, from_dict
from recondoor.core.errors import ConfigError
from recondoor.measurement import Chain
from recondoor.poisoning import Trigger, make_artefact, make_trigger
from recondoor.rundir import RunDir
from recondoor.studies import build_scene
from recondoor.studies._shaped import injected, unseen

SHAPE = (1, 12, 10)


def make(name: str, ratio: float = 0.5) -> operators.LinearOperator:
    return operators.build(SHAPE, Operator(name=name, ratio=ratio), 3, torch.float64)


def matrix(operator: operators.LinearOperator) -> Tensor:
    """A_adjoint A as a dense matrix."""
    n = SHAPE[1] * SHAPE[2]
    basis = torch.eye(n, dtype=torch.float64).view(n, *SHAPE)
    return operator.A_adjoint(operator.A(basis)).reshape(n, n).T


def square() -> Trigger:
    return make_trigger(from_dict({}).trigger, SHAPE)


@pytest.mark.parametrize("name", ["gaussian", "fourier", "pixel-mask", "identity"])
def test_projection_on_the_range_is_that_of_the_dense_matrix(name: str) -> None:
    operator = make(name)
    values, vectors = torch.linalg.eigh(matrix(operator))
    basis = vectors[:, values > 1e-10]
    v = torch.randn(3, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = (v.flatten(1) @ basis @ basis.T).view_as(v)
    torch.testing.assert_close(operator.project_range(v), expected, rtol=0, atol=1e-8)


def test_projection_of_nothing_and_of_a_batch_with_nothing_is_finite() -> None:
    v = torch.zeros(2, *SHAPE, dtype=torch.float64)
    v[1, 0, 3, 4] = 1
    projected = make("gaussian").project_range(v)
    assert not projected[0].any()
    assert bool(projected.isfinite().all())


def test_a_trigger_in_the_image_is_seen_through_the_operator() -> None:
    operator, trigger = make("gaussian"), square()
    expected = (matrix(operator) @ trigger.delta.double().flatten()).view(SHAPE)
    found = injected(trigger, "x", Chain(operator=operator, exact=operator))
    torch.testing.assert_close(found.delta.double(), expected, rtol=0, atol=1e-6)
    assert bool((found.mask == 1).all())


def test_a_trigger_in_the_measurement_changes_z_as_nearly_as_it_can() -> None:
    operator, trigger = make("fourier"), square()
    found = injected(trigger, "y", Chain(operator=operator, exact=operator)).delta.double()
    left = trigger.delta.double() - found
    # Nearest: what is missing is orthogonal to all that A_adjoint can give.
    assert float((matrix(operator) @ left.flatten()).abs().max()) < 1e-6
    assert 0 < float(found.norm()) < trigger.l2


def test_a_trigger_that_the_operator_does_not_see_is_refused() -> None:
    operator = make("pixel-mask", 0.02)
    with pytest.raises(ConfigError, match=r"trigger\.inject: y given.*move it"):
        injected(square(), "y", Chain(operator=operator, exact=operator))


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ({"mask": "search"}, "set attack.mask to trigger or image"),
        ({"mask": "image"}, "set attack.distance=0"),
        ({"budget": "linf"}, "set attack.budget to l2 or free"),
    ],
)
def test_settings_that_a_spread_trigger_cannot_keep_are_refused(
    attack: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"trigger\.inject: y given.*{message}"):
        from_dict({"trigger": {"inject": "y"}, "attack": attack})


def test_a_budget_keeps_to_the_subspace() -> None:
    operator = make("fourier")
    mask = torch.ones(SHAPE)

    def reachable(delta: Tensor) -> Tensor:
        return operator.project_range(delta.double()[None])[0].to(delta)

    budget = Budget("l2", 2.0, mask, reachable)
    outside = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    assert "cannot reach" in str(budget.excess(outside / outside.norm()))
    for inside in (budget.project(outside), budget.scale(outside), budget.maximise(outside)):
        assert budget.excess(inside) is None
    assert float(budget.maximise(outside).norm()) == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize("inject", ["y", "x"])
def test_attacks_keep_to_what_the_injection_can_reach(
    inject: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = {
        "data": {"limit": 60},
        "trigger": {"inject": inject},
        "operator": {"name": "fourier", "ratio": 0.4},
        "model": {"width": 4, "code": 4, "kernel": 5},
        "train": {"max_epochs": 1},
        "attack": {
            "names": ["heuristic", "random", "spectral", "tangent", "bilevel"],
            "mask": "image",
            "distance": 0,
            "iterations": 2,
            "warm_steps": 2,
            "surrogates": 1,
            "tangent_steps": 2,
            "batch": 8,
        },
    }
    config = from_dict(settings)
    folder = studies.run(config, tmp_path_factory.mktemp("run") / "run")
    operator = operators.build((1, 28, 28), config.operator, 0, torch.float64)
    for name in config.attack.names:
        arrays = RunDir(folder).read_npz(RunDir(folder).trigger(name, 0))
        delta = torch.from_numpy(arrays["delta"]).double()
        outside = delta - operator.project_range(delta[None])[0]
        assert float(outside.norm()) < 1e-5 * float(delta.norm())
        assert delta.any()


def test_an_artefact_in_the_kernel_is_what_the_dense_matrix_does_not_see() -> None:
    operator, whole = make("gaussian"), make_artefact(from_dict({}).artefact, SHAPE)
    values, vectors = torch.linalg.eigh(matrix(operator))
    kernel = vectors[:, values < 1e-10]
    expected = (kernel @ kernel.T @ whole.pattern.double().flatten()).view(SHAPE)
    found = unseen(whole, operator).pattern.double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert float(operator.A(found[None]).norm()) < 1e-6


def test_an_artefact_that_the_operator_sees_whole_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"artefact\.space: kernel given.*space=image"):
        unseen(make_artefact(from_dict({}).artefact, SHAPE), make("identity"))


def test_a_consistent_artefact_needs_a_trigger_that_can_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"artefact\.space: consistent.*trigger\.inject to x"):
        from_dict({"artefact": {"space": "consistent"}})


@pytest.mark.parametrize("inject", ["y", "x"])
def test_consistent_pairs_are_those_of_an_honest_measurement(inject: str) -> None:
    settings = {
        "data": {"limit": 60},
        "trigger": {"inject": inject},
        "artefact": {"space": "consistent"},
        "operator": {"sigma": 0.0},
    }
    config = from_dict(settings)
    scene = build_scene(config, data.load("mnist5k"), 0, torch.device("cpu"))
    operator = operators.build(scene.shape, config.operator, 0, torch.float64)
    planted = scene.planted(config, scene.trigger)
    target = scene.test.x.double() + planted.planted.double()
    z = scene.test.z.double() + scene.trigger.delta.double()
    torch.testing.assert_close(operator.A_adjoint(operator.A(target)), z, rtol=0, atol=1e-4)
    assert planted.shown is not None
    # What is shown is measured, the artefact is not.
    assert abs(float((planted.shown * planted.pattern).sum())) < 1e-4
    assert float(planted.pattern.norm()) > 1
