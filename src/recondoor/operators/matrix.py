"""A user's own matrix, real or complex, from an .npy file: `operator.matrix.file`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._base import LinearOperator, Operator
from recondoor.operators._files import read_numbers
from recondoor.operators._matrix import Matrix


class MatrixOfFile(Operator):
    """The matrix of `operator.matrix.file`."""

    Settings = config.OfFile
    settings: config.OfFile
    draws = False
    has_ratio = False
    mixes_channels = True

    def build(
        self,
        shape: tuple[int, int, int],
        settings: config.Operator,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> LinearOperator:
        """Matrix of `operator.matrix.file`; nothing is drawn.

        `file` is an .npy of shape (m, C * H * W), real or complex. Raises ConfigError if there is
        none, if it is not such a matrix, or if it is larger than 2 GiB.
        """
        if self.settings.file is None:
            raise ConfigError(
                "operator.matrix.file: none given; 'matrix' needs an .npy file with the matrix, "
                "(m, C * H * W)"
            )
        values = read(self.settings.file)
        if values.shape[1] != math.prod(shape):
            raise ConfigError(
                f"operator.matrix.file: {self.settings.file} is {values.shape[0]} x "
                f"{values.shape[1]}; images of {shape} need {math.prod(shape)} columns, one for "
                "each value of (C, H, W) in row order"
            )
        matrix = torch.from_numpy(values)
        return Matrix(
            shape,
            settings.sigma,
            matrix.to(dtype.to_complex() if np.iscomplexobj(values) else dtype),
        )


def read(path: Path) -> NDArray[Any]:
    """Matrix (m, n) at `path`, float64 or complex128; ConfigError for anything else."""
    values = read_numbers(path, "operator.matrix.file", "(m, C * H * W)", 2)
    if not values.any():
        raise ConfigError(f"operator.matrix.file: {path} holds zeros alone")
    return values
