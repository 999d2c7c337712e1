"""Contracts of plug-ins as tests, for one's own as for the package's: needs pytest.

One line runs that of a plug-in::

    python -m recondoor.testing blur:Blur

In a test file of one's own a class takes the names, and may override how settings are made::

    class TestBlur(OperatorContract):
        names = ("blur:Blur",)
"""

import pytest

pytest.register_assert_rewrite(
    *(
        f"recondoor.testing._{name}"
        for name in ("contract", "data", "operators", "networks", "attacks", "defences")
    )
)

from recondoor.testing._attacks import AttackContract  # noqa: E402 - after their registration
from recondoor.testing._data import DataSetContract  # noqa: E402
from recondoor.testing._defences import (  # noqa: E402
    DefenceContract,
    InputDetectorContract,
    NetworkDetectorContract,
    PairDetectorContract,
    RepairContract,
)
from recondoor.testing._networks import NetworkContract  # noqa: E402
from recondoor.testing._operators import OperatorContract  # noqa: E402

__all__ = [
    "AttackContract",
    "DataSetContract",
    "DefenceContract",
    "InputDetectorContract",
    "NetworkContract",
    "NetworkDetectorContract",
    "OperatorContract",
    "PairDetectorContract",
    "RepairContract",
]
