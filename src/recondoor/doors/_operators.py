"""How a caller says by what pairs were measured."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from recondoor import config, operators
from recondoor.audit import Measured
from recondoor.config import Config
from recondoor.core.errors import ConfigError

Shape = tuple[int, int, int]


def measured_by(operator: object, sigma: float | None, seed: int | None) -> Measured | None:
    """What audits take to know how pairs were measured; None if that is not known.

    Args:
        operator: settings, a registered name, an .npy file, or whatever `operators.of_caller` takes
            (an object with A and A_adjoint, a matrix).
        sigma: standard deviation of the noise in y; None if it is not known: then it is the
            operator's own where that is above 0, and else estimated from the pairs.
        seed: root seed of what is drawn; None for 0, or that of the settings.

    Raises:
        ConfigError: nothing of the kind, or a sigma without an operator.
    """
    if operator is None:
        if sigma is not None:
            raise ConfigError("sigma: an operator has to be given too; the noise is in its units")
        return None
    if isinstance(operator, str | Path):
        operator = _named(str(operator), sigma, seed)
    if isinstance(operator, Config):
        return Measured.by(operator)
    known = sigma is not None or getattr(operator, "sigma", 0) > 0
    return Measured(partial(_build, operator, sigma), known, seed or 0)


def _named(name: str, sigma: float | None, seed: int | None) -> Config:
    own = {"name": name}
    if name.endswith(".npy"):
        own = {"name": "matrix", "file": name}
    known = {} if sigma is None else {"sigma": sigma}
    return config.from_dict({"operator": own | known} | ({} if seed is None else {"seed": seed}))


def _build(operator: object, sigma: float | None, shape: Shape) -> operators.LinearOperator:
    built = operators.of_caller(operator, shape)
    return built if sigma is None else replace(built, sigma=sigma)
