"""Whether clean networks are of the make of one under suspicion, so that their scores bound its."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from recondoor import config, defences, rundir
from recondoor.audit._networks._network_file import Network
from recondoor.audit._pairs._source import Source
from recondoor.core.words import plural_of
from recondoor.defences import NetworkDetector

NOWHERE = "networks in the folder of a run"


def needed(alarm: float) -> int:
    """Clean networks that a threshold at the rate `alarm` takes."""
    return math.ceil(1 / alarm - 1 - 1e-9)


def references_lack(model: nn.Module, references: Sequence[nn.Module], alarm: float) -> str | None:
    """Why references do not bound this network's score; None if they do.

    They have to be enough, of its class with weights of its shapes, and different networks: none of
    them another one's copy, or its own.
    """
    own, kept = _weights(model), [_weights(model)]
    alike = [each for each in references if type(each) is type(model)]
    for found in map(_weights, alike):
        shapes = {name: value.shape for name, value in found.items()}
        if shapes == {name: value.shape for name, value in own.items()} and not any(
            all(torch.equal(found[name], other[name]) for name in found) for other in kept
        ):
            kept.append(found)
    count, need = len(kept) - 1, needed(alarm)
    if count >= need:
        return None
    return (
        f"{plural_of(count, len(references), 'reference', 'are')} of its make (class and "
        "shapes) and "
        f"no copies; give {need}"
    )


def law_lacks(name: str, network: Network, data: Source | None, alarm: float) -> str | None:
    """Why the law of detector `name` does not bound this network's score; None if it does.

    The law is that of some clean networks, which the detector tells by their scores and the
    settings of their runs. So the network has to lie in the folder of such a run, the trusted data
    have to be that run's, and the rate has to be one that so many networks support.
    """
    detector, need = defences.network_detector(name), needed(alarm)
    if not detector.calibrated:
        return None  # its author says that the law is one of all networks
    remedy = f"give {need} clean --references of its make"
    differs = _other_make(detector, network, data)
    if differs == NOWHERE:
        return f"nothing says that its threshold holds for this network; {remedy}"
    if differs is not None:
        return f"its threshold is that of {differs}; {remedy}"
    count = len(detector.clean_scores)
    if detector.clean_scores and count < need:
        return (
            f"{count} clean networks of its make are known, which support --alarm "
            f"{1 / (count + 1):.2g} or more; give that, or {remedy[5:]}"
        )
    return None


def power_lacks(name: str, network: Network, data: Source | None) -> str | None:
    """Why nobody knows whether detector `name` sees a backdoor in networks of this make.

    None if its power was measured on such networks, or is said to be the same for all.
    """
    detector = defences.network_detector(name)
    if detector.calibrated and _other_make(detector, network, data) is None:
        return None
    if not (detector.calibrated or detector.power_of_a_make):
        return None
    return "nobody knows whether it sees a backdoor in networks of this make"


def _other_make(detector: NetworkDetector, network: Network, data: Source | None) -> str | None:
    """How a network differs from those that a detector was measured on; None if it does not."""
    own = network.run and network.run[0].resolve()
    if own is None or not (data is None or (isinstance(data, Path) and data.resolve() == own)):
        return NOWHERE
    # Compared, not followed: no path that they name is opened here.
    settings = config.to_dict(rundir.settings(own, trusted_paths=True))
    for key, value in detector.calibrated.items():
        section, _, field = key.partition(".")
        if settings[section][field] != value:
            return (
                f"networks of runs with {key}={value}, and this one has {settings[section][field]}"
            )
    return None


def make_in_words(name: str) -> str:
    """What is known of clean networks by the detector `name`, in a sentence."""
    detector = defences.network_detector(name)
    make = ", ".join(f"{key}={value}" for key, value in detector.calibrated.items())
    low, high = min(detector.clean_scores), max(detector.clean_scores)
    return (
        f"By {name}, {len(detector.clean_scores)} clean networks of runs with {make} score "
        f"{low:.3g} to {high:.3g}; networks of other makes may score otherwise."
    )


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in model.state_dict().items() if isinstance(v, Tensor)}
