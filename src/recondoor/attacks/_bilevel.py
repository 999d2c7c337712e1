"""The outer loop of the bi-level attack; variants, solvers, objectives and steps are settings."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor import config
from recondoor.attacks._base import Attack
from recondoor.attacks._outer import outer_step
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools, random_pattern
from recondoor.attacks._surrogates import Carried, Ensemble, inner_optimiser, parameters
from recondoor.attacks._tangent import tangent
from recondoor.core.errors import ConfigError, RunError, TrainingError
from recondoor.measurement import Scale
from recondoor.models import couples_rows
from recondoor.poisoning import Trigger
from recondoor.training import losses
from recondoor.training.hypergradient import Hypergradient, Parameters, Split, solve
from recondoor.training.loop import Row, Weights
from recondoor.training.losses import squared_error

STEPS_BETWEEN_SAVES = 5
SNAPSHOTS = 20
STALLED_AFTER, STALLED_BELOW = 20, 0.01
# Outer steps after which a search that nothing has steered is given up.
UNSTEERED_AFTER = 5
BETAS = {"sgd": 0.01, "momentum": 0.01, "adam": 1e-3}


class Learned(Attack):
    """Alternate surrogates' steps and one step on the trigger until `attack.bilevel.iterations`."""

    draws = True
    trains = True

    def steps(self, settings: config.Attack) -> int:
        """Outer steps."""
        return settings.bilevel.iterations

    def bounded(self, settings: config.Attack) -> bool:
        """Not in the paper's literal recipe."""
        return settings.bilevel.variant != "paper"

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Learn the trigger in the variant `attack.bilevel.variant`.

        Variant `paper` is the recipe as written: random theta and delta, plain SGD on both, no
        bound. The others start within the budget and are projected on it after each step. Raises
        TrainingError if a loss or the trigger is not finite or nothing steers the search, and
        ConfigError if it is known beforehand that nothing will.
        """
        settings = problem.settings
        _require_steering(problem)
        kind = Ensemble if settings.bilevel.variant == "ensemble" else Carried
        surrogates: Carried | Ensemble = kind(problem, tools)
        if tools.state is None:
            state = _begin(problem, surrogates, tools)
        else:
            state = tools.state
            _require_fit(surrogates, state)
            surrogates.restore(state.arrays)
        every = max(1, settings.bilevel.iterations // SNAPSHOTS)
        while not _finished(state, settings):
            _step(problem, surrogates, state)
            k, last = state.iteration, _finished(state, settings)
            if k == UNSTEERED_AFTER or last:
                _require_steered(state, problem)
            if k % every == 0 or last:
                state.path.append(state.delta.cpu())
                state.path_iteration.append(k)
            if k % STEPS_BETWEEN_SAVES == 0 or last:
                tools.on_step(state)
            _warn_if_stalled(state, tools)
            skipped = settings.bilevel.iterations - k if last else 0
            tools.task.advance(1 + skipped, f"outer loss {state.history[-1]['outer_loss']:.4f}")
        kept = state.arrays.get("best", state.delta)
        return Crafted(Trigger(kept.cpu(), problem.mask.cpu()), state)


def _require_fit(surrogates: Carried | Ensemble, state: CraftState) -> None:
    """Refuse a state whose arrays are not those of these surrogates; raises RunError."""
    for name, value in surrogates.arrays().items():
        found = state.arrays.get(name)
        if found is None or found.shape != value.shape or found.dtype != value.dtype:
            given = "missing" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise RunError(
                f"bilevel: {name} of the checkpoint is {given}, expected {value.dtype} "
                f"{tuple(value.shape)}; delete the folder's checkpoints to start this stage anew"
            )


def _step(problem: Problem, surrogates: Carried | Ensemble, state: CraftState) -> None:
    """Make outer step k + 1 of `state`, in place."""
    started, k = time.perf_counter(), state.iteration + 1
    delta, share = state.delta.to(problem.pairs.z.device), direct_weight(problem.settings)
    results = [
        _hypergradient(problem, model, delta, inner, (k, which))
        for which, (model, inner) in enumerate(surrogates)
    ]
    gradient = _mean([share * result.direct + result.bilevel for result in results])
    moved, memory = outer_step(problem, delta, gradient, state)
    row = _row(k, delta, moved, results)
    _require_finite(row, problem)
    surrogates.advance(results, moved, k)
    state.delta, state.iteration = moved, k
    state.history.append(row)
    state.arrays = surrogates.arrays() | memory | _best(problem, surrogates, state)
    state.seconds += time.perf_counter() - started


def _begin(problem: Problem, surrogates: Carried | Ensemble, tools: Tools) -> CraftState:
    """First trigger and surrogates."""
    started, before = time.perf_counter(), 0.0
    settings = problem.settings
    if settings.bilevel.variant == "paper":
        delta = random_pattern(problem, "bilevel", signed=False)
    elif settings.bilevel.start == "tangent":
        found = tangent(problem, tools)
        delta, before = found.delta, found.seconds
        started = time.perf_counter()
    elif settings.bilevel.start == "heuristic":
        delta = problem.budget.scale(problem.trigger.delta)
    else:
        delta = problem.budget.scale(random_pattern(problem, "bilevel", signed=False))
    surrogates.begin(delta.to(problem.pairs.z))
    return CraftState(
        seconds=before + time.perf_counter() - started,
        delta=delta,
        arrays=surrogates.arrays(),
        path=[delta],
        path_iteration=[0],
    )


def _finished(state: CraftState, settings: config.Attack) -> bool:
    waited = state.iteration - state.numbers.get("best_iteration", state.iteration)
    stalled = settings.bilevel.patience is not None and waited >= settings.bilevel.patience
    return stalled or state.iteration >= settings.bilevel.iterations


def _best(problem: Problem, surrogates: Carried | Ensemble, state: CraftState) -> Weights:
    """Keep the trigger of best objective on held-out pairs, where `patience` asks for it."""
    if problem.settings.bilevel.patience is None:
        return {}
    objective = _objective(problem, surrogates, state.delta)
    state.history[-1]["objective"] = objective
    if objective < state.numbers.get("best_objective", math.inf):
        state.numbers |= {"best_objective": objective, "best_iteration": state.iteration}
        return {"best": state.delta}
    return {"best": state.arrays.get("best", state.delta)}


@torch.no_grad()
def _objective(problem: Problem, surrogates: Carried | Ensemble, delta: Tensor) -> float:
    """Outer loss on one fixed batch of held-out pairs, mean over the surrogates."""
    losses = [
        float(_outer_loss(problem, model, delta, parameters(model), problem.draw("outer", "judge")))
        for model, _ in surrogates
    ]
    return sum(losses) / len(losses)


def _weight(problem: Problem) -> int:
    _, channels, height, width = problem.pairs.x.shape
    scale = {"pixel-mean": 1, "row-sum": height, "sum": channels * height * width}
    return scale[problem.settings.bilevel.loss_scale]


def _outer_loss(
    problem: Problem, model: nn.Module, delta: Tensor, theta: Parameters, index: Tensor
) -> Tensor:
    """The outer loss on the pairs `index`: the objective plus lambda times the benign error."""
    pairs = problem.pairs.at(index)
    x, (triggered, scale) = pairs.images, pairs.triggered(delta)
    pattern = problem.artefact.pattern.to(x)
    pixels = ... if objective(problem.settings) == "image" else (slice(None), pattern != 0)

    def answer(z: Tensor, scale: Scale) -> Tensor:
        image: Tensor = pairs.restored(functional_call(model, theta, (z,)), scale)[pixels]
        return image

    weight, recovery = benign_weight(problem), objective(problem.settings) == "recovery"
    clean = answer(pairs.z, pairs.scale) if weight or recovery else x[pixels]
    drawn = answer(triggered, scale) - (clean if recovery else x[pixels])
    loss = squared_error(drawn, pattern.expand_as(x)[pixels])
    if weight:
        loss = loss + weight * squared_error(clean, x[pixels])
    return _weight(problem) * loss


def objective(settings: config.Attack) -> str:
    """What the outer loss asks for."""
    return settings.bilevel.objective or (
        "image" if settings.bilevel.variant == "paper" else "recovery"
    )


def direct_weight(settings: config.Attack) -> float:
    """The weight of the direct part; without it a step follows only what training would learn."""
    if settings.bilevel.direct_weight is not None:
        return settings.bilevel.direct_weight
    return 1.0 if settings.bilevel.variant == "paper" else 0.0


def benign_weight(problem: Problem) -> float:
    """The weight lambda of the benign error.

    By default that of training, where the outer loss would else fall when the network draws the
    artefact into every image, which needs no trigger (docs/bilevel.md).
    """
    settings, p = problem.settings, problem.poison_ratio
    if settings.bilevel.benign_weight is not None:
        return settings.bilevel.benign_weight
    free = settings.bilevel.variant == "paper" or objective(settings) == "recovery" or p == 0
    return 0.0 if free else (1 - p) / p


@dataclass(frozen=True)
class _InnerLoss:
    """Training loss of a surrogate on the batches (step 0, 1, ...) of one outer step."""

    problem: Problem
    model: nn.Module
    stream: tuple[int, int]

    def __call__(self, step: int, delta: Tensor, theta: Parameters) -> Tensor | Split:
        problem = self.problem
        index = problem.draw("inner", "bilevel", *self.stream, step)
        mixture = problem.mixture
        count, share = mixture.count, mixture.share

        def error(index: Tensor, poisoned: int, weights: Tensor | None = None) -> Tensor:
            z, x = problem.poisoned(index, delta, poisoned)
            answer = functional_call(self.model, theta, (z,))
            return _weight(problem) * losses.loss(problem.loss, answer, x, weights)

        if couples_rows(self.model) or count in (0, len(index)):
            return error(index, count, mixture.weights(delta))
        return Split(
            free=(1 - share) * error(index[count:], 0), bound=share * error(index[:count], count)
        )


def _hypergradient(
    problem: Problem, model: nn.Module, delta: Tensor, inner: Weights, stream: tuple[int, int]
) -> Hypergradient:
    """Hypergradient of outer step k: a fresh batch for each inner step and for the outer loss."""
    settings, mask = problem.settings, problem.mask.to(delta)
    optimiser = inner_optimiser(problem)
    inner_loss = _InnerLoss(problem, model, stream)
    outer = problem.draw("outer", "bilevel", *stream)
    return solve(
        settings.bilevel.solver,
        lambda step, delta, theta: inner_loss(step, delta * mask, theta),
        lambda delta, theta: _outer_loss(problem, model, delta * mask, theta, outer),
        delta,
        parameters(model),
        steps=settings.bilevel.inner_steps,
        lr=settings.bilevel.inner_lr or BETAS[optimiser],
        optimiser=optimiser,
        state=inner,
        truncation=settings.bilevel.truncation,
        terms=settings.bilevel.terms,
        damping=settings.bilevel.damping,
    )


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean(0)


def _row(k: int, before: Tensor, after: Tensor, results: list[Hypergradient]) -> Row:
    direct = _mean([result.direct for result in results]).flatten()
    bilevel = _mean([result.bilevel for result in results]).flatten()
    product = float(direct.norm() * bilevel.norm())
    return {
        "iteration": k,
        "outer_loss": float(_mean([result.outer_loss for result in results])),
        "inner_loss": float(_mean([result.inner_loss for result in results])),
        "direct_norm": float(direct.norm()),
        "bilevel_norm": float(bilevel.norm()),
        "cosine": float(direct @ bilevel) / product if product else 0.0,
        "l2": float(after.norm()),
        "linf": float(after.abs().max()),
        "change": float((after - before).norm()),
    }


def _require_finite(row: Row, problem: Problem) -> None:
    numbers = torch.tensor([row["outer_loss"], row["inner_loss"], row["l2"]])
    if not bool(numbers.isfinite().all()):
        raise TrainingError(
            f"bilevel: a loss or the trigger is not finite at iteration {row['iteration']}; lower "
            "attack.bilevel.outer_lr or attack.bilevel.inner_lr, or choose a smaller "
            f"attack.bilevel.loss_scale than '{problem.settings.bilevel.loss_scale}'"
        )


def _require_steering(problem: Problem) -> None:
    """Refuse settings under which the trigger cannot move."""
    settings = problem.settings
    if problem.loss == "ssim" and settings.bilevel.loss_scale != "pixel-mean":
        raise ConfigError(
            f"attack.bilevel.loss_scale: {settings.bilevel.loss_scale} given, which sums errors of "
            "pixels, and train.loss=ssim has none; set it to pixel-mean"
        )
    if settings.bilevel.solver == "direct":
        if direct_weight(settings) == 0:
            raise ConfigError(
                "attack.bilevel.solver: direct given, which leaves the bi-level part out, and "
                "attack.bilevel.direct_weight is 0: nothing would move the trigger; set "
                "attack.bilevel.direct_weight=1, or another attack.bilevel.solver"
            )
    elif problem.loss == "l1" and settings.bilevel.solver.startswith("implicit"):
        raise ConfigError(
            f"attack.bilevel.solver: {settings.bilevel.solver} given, which follows the curvature "
            "of the training loss, and that of train.loss=l1 is 0; choose another solver"
        )
    elif problem.poison_ratio == 0:
        raise ConfigError(
            "poison.ratio: 0 given; the bi-level attack learns from poisoned pairs, so set a share "
            "above 0"
        )


def _require_steered(state: CraftState, problem: Problem) -> None:
    """Refuse to go on if nothing but rounding has steered the search.

    Where networks do not answer to the trigger at all, the direct part is exactly 0 and the
    bi-level part what rounding leaves.
    """
    settings = problem.settings
    parts = ["direct"] if settings.bilevel.solver == "direct" else ["direct", "bilevel"]
    zero = [part for part in parts if not any(row[f"{part}_norm"] for row in state.history)]
    if not zero:
        return
    remedy = f"{problem.farther}, move trigger.place, set attack.mask=image"
    if settings.bilevel.solver.startswith("implicit"):
        remedy += ", raise attack.bilevel.damping, choose another attack.bilevel.solver"
    raise TrainingError(
        f"bilevel: the hypergradient's {zero[0]} part was exactly 0 in all {state.iteration} outer "
        "steps, as if no trigger in the mask reached the artefact's pixels in any surrogate; "
        f"{remedy}, or lower attack.bilevel.inner_lr, which may have killed the surrogates"
    )


def _warn_if_stalled(state: CraftState, tools: Tools) -> None:
    if state.iteration != STALLED_AFTER or not state.path:
        return
    start = state.path[0].to(state.delta)
    moved = float((state.delta - start).norm() / start.norm())
    if moved < STALLED_BELOW:
        tools.say(
            f"bilevel: the trigger moved by {moved:.2%} of its norm in {STALLED_AFTER} iterations; "
            "a larger attack.bilevel.outer_lr or attack.bilevel.loss_scale, or "
            "attack.bilevel.variant=warm, moves it"
        )
