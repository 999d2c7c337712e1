"""Trigger learned by bi-level optimisation through unrolled SGD (paper, section 3.2, eq. 3-6)."""

import time

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor import seeding
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools, random_start
from recondoor.config import Attack
from recondoor.errors import TrainingError
from recondoor.hypergradient import Hypergradient, Parameters, unrolled
from recondoor.poison import Trigger
from recondoor.training import adam_step, make_adam, squared_error

STEPS_BETWEEN_SAVES = 5
SNAPSHOTS = 20
STALLED_AFTER, STALLED_BELOW = 20, 0.01


def steps(settings: Attack) -> int:
    """Outer steps."""
    return settings.iterations


def bounded(settings: Attack) -> bool:
    """Whether the trigger keeps to the budget."""
    return settings.variant != "paper"


def craft(problem: Problem, tools: Tools) -> Crafted:
    """Alternate `inner_steps` unrolled SGD steps on theta and one step on the trigger.

    Variant `paper` is the recipe as written: random theta and delta, plain SGD on both, no bound.
    Variant `warm` trains theta briefly on poisoned batches first, normalises the outer step and
    keeps the trigger's L2 within the heuristic trigger's. In both, theta carries on from where the
    inner steps left it. Raises TrainingError if a loss or the trigger is not finite.
    """
    settings, device = problem.settings, problem.pairs.z.device
    model = problem.build_model("surrogate").to(device)
    state = tools.state or _start(problem, model, tools)
    delta = state.delta.to(device)
    mask = problem.trigger.mask.to(device)
    theta: Parameters = {name: value.detach() for name, value in model.named_parameters()}
    for name, value in state.weights.items():
        theta[name].copy_(value)
    every = max(1, settings.iterations // SNAPSHOTS)
    while state.iteration < settings.iterations:
        started = time.perf_counter()
        k = state.iteration + 1
        result = _hypergradient(problem, model, delta, mask, theta, k)
        theta = result.parameters
        moved = _outer_step(problem, delta, result.total)
        state.history.append(_row(k, delta, moved, result))
        delta, state.iteration = moved, k
        _require_finite(state, problem)
        if k % every == 0 or k == settings.iterations:
            state.path.append(delta.cpu())
            state.path_iteration.append(k)
        state.seconds += time.perf_counter() - started
        state.delta, state.weights = delta, theta
        if k % STEPS_BETWEEN_SAVES == 0 or k == settings.iterations:
            tools.on_step(state)
        _warn_if_stalled(state, tools)
        tools.task.advance(1, f"outer loss {state.history[-1]['outer_loss']:.4f}")
    return Crafted(Trigger(delta.cpu(), problem.trigger.mask.cpu()), state)


def _start(problem: Problem, model: nn.Module, tools: Tools) -> CraftState:
    """Random trigger; for the warm variant scaled to the budget, with a surrogate trained on it."""
    delta = random_start(problem, "bilevel", signed=False)
    started = time.perf_counter()
    if problem.settings.variant == "warm":
        delta = delta * (problem.budget / delta.norm())
        _warm_up(problem, model, delta.to(problem.pairs.z), tools)
    return CraftState(
        seconds=time.perf_counter() - started, delta=delta, path=[delta], path_iteration=[0]
    )


def _warm_up(problem: Problem, model: nn.Module, delta: Tensor, tools: Tools) -> None:
    optimiser = make_adam(model, problem.surrogate_lr)
    for step in range(problem.settings.warm_steps):
        index = _draw(problem, "warm", step)
        z, x = _poisoned(problem, index, delta, problem.poison_ratio)
        adam_step(model, optimiser, z, x)
        tools.task.advance(0, f"warm-up {step + 1} of {problem.settings.warm_steps}")


def _hypergradient(
    problem: Problem, model: nn.Module, delta: Tensor, mask: Tensor, theta: Parameters, k: int
) -> Hypergradient:
    """Hypergradient of outer step k: a fresh batch for each inner step and for the outer loss."""
    settings = problem.settings
    _, channels, height, width = problem.pairs.x.shape
    scale = {"pixel-mean": 1, "row-sum": height, "sum": channels * height * width}
    weight = scale[settings.loss_scale]

    def loss(stream: str, step: int, delta: Tensor, theta: Parameters, ratio: float) -> Tensor:
        z, x = _poisoned(problem, _draw(problem, stream, k, step), delta * mask, ratio)
        return weight * squared_error(functional_call(model, theta, (z,)), x)

    return unrolled(
        lambda step, delta, theta: loss("inner", step, delta, theta, problem.poison_ratio),
        lambda delta, theta: loss("outer", 0, delta, theta, 1.0),
        delta,
        theta,
        steps=settings.inner_steps,
        lr=settings.inner_lr,
    )


def _draw(problem: Problem, stream: str, *step: int) -> Tensor:
    """Indices of a random batch of training pairs."""
    generator = seeding.torch_generator(problem.seed, "attack", "bilevel", stream, *step)
    index = torch.randint(len(problem.pairs), (problem.settings.batch,), generator=generator)
    return index.to(problem.pairs.z.device)


def _poisoned(
    problem: Problem, index: Tensor, delta: Tensor, ratio: float
) -> tuple[Tensor, Tensor]:
    """Pairs `index`, the first round(ratio * B) of them poisoned; differentiable in delta."""
    z, x = problem.pairs.z.index_select(0, index), problem.pairs.x.index_select(0, index)
    chosen = torch.zeros(len(index), 1, 1, 1, device=z.device, dtype=z.dtype)
    chosen[: round(ratio * len(index))] = 1
    return z + chosen * delta, x + chosen * problem.artefact.pattern.to(x)


def _outer_step(problem: Problem, delta: Tensor, gradient: Tensor) -> Tensor:
    settings = problem.settings
    if settings.variant == "paper":
        return delta - settings.outer_lr * gradient
    length = settings.step * problem.budget
    moved = delta - length * gradient / gradient.norm().clamp_min(torch.finfo(delta.dtype).tiny)
    bounded: Tensor = moved * (problem.budget / moved.norm()).clamp(max=1)
    return bounded


def _row(
    k: int, before: Tensor, after: Tensor, result: Hypergradient
) -> dict[str, float | int | str | bool]:
    direct, bilevel = result.direct.flatten(), result.bilevel.flatten()
    product = float(direct.norm() * bilevel.norm())
    return {
        "iteration": k,
        "outer_loss": float(result.outer_loss),
        "inner_loss": float(result.inner_loss),
        "direct_norm": float(direct.norm()),
        "bilevel_norm": float(bilevel.norm()),
        "cosine": float(direct @ bilevel) / product if product else 0.0,
        "l2": float(after.norm()),
        "linf": float(after.abs().max()),
        "change": float((after - before).norm()),
    }


def _require_finite(state: CraftState, problem: Problem) -> None:
    row = state.history[-1]
    numbers = torch.tensor([row["outer_loss"], row["inner_loss"], row["l2"]])
    if not bool(numbers.isfinite().all()):
        raise TrainingError(
            f"bilevel: loss or trigger is not finite at iteration {state.iteration}; lower "
            f"attack.outer_lr or attack.inner_lr, or choose a smaller attack.loss_scale than "
            f"'{problem.settings.loss_scale}'"
        )


def _warn_if_stalled(state: CraftState, tools: Tools) -> None:
    if state.iteration != STALLED_AFTER or not state.path:
        return
    start = state.path[0].to(state.delta)
    moved = float((state.delta - start).norm() / start.norm())
    if moved < STALLED_BELOW:
        tools.say(
            f"bilevel: the trigger moved by {moved:.2%} of its norm in {STALLED_AFTER} iterations; "
            "a larger attack.outer_lr or attack.loss_scale, or attack.variant=warm, moves it"
        )
