"""The contracts of the plug-ins given to `python -m recondoor.testing`."""

from recondoor import defences
from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.core.imports import imported
from recondoor.testing import _given
from recondoor.testing._attacks import AttackContract
from recondoor.testing._contract import Contract
from recondoor.testing._data import DataSetContract
from recondoor.testing._defences import (
    InputDetectorContract,
    NetworkDetectorContract,
    PairDetectorContract,
    RepairContract,
)
from recondoor.testing._networks import NetworkContract
from recondoor.testing._operators import OperatorContract

CONTRACTS: dict[str, type[Contract]] = {
    "attacks": AttackContract,
    "datasets": DataSetContract,
    "models": NetworkContract,
    "operators": OperatorContract,
    "pairs": PairDetectorContract,
    "input": InputDetectorContract,
    "model": NetworkDetectorContract,
    "repair": RepairContract,
}


def contract_of(given: str) -> type[Contract]:
    """The test class of a plug-in; raises ConfigError if it is none."""
    kind, _, name = given.partition(".")
    if registry.is_own_code(given):
        module, attribute = given.split(":")
        found = imported(f"'{given}'", module, attribute)
        kind, name = str(getattr(found, "kind", "")), given
    if kind not in registry.FOLDERS:
        raise ConfigError(
            f"'{given}' given; expected MODULE:NAME of a plug-in, or KIND.NAME with a "
            f"KIND of {', '.join(registry.FOLDERS)}"
        )
    registry.load(kind, name)
    looks_at = defences.load(name).looks_at if kind == "defences" else kind
    contract = CONTRACTS["pairs" if looks_at == "scans" else looks_at]
    return type("Test", (contract,), {"names": (name,)})


for _each in _given.PLUG_INS:
    globals()[f"Test[{_each}]"] = contract_of(_each)
