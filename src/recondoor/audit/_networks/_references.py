"""Networks to compare a suspect with: those that the user gives, or those that the audit trains."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from recondoor import defences, models
from recondoor.audit._networks._make import law_lacks, needed, power_lacks, references_lack
from recondoor.audit._networks._network_file import Network, open_network
from recondoor.audit._networks._trained import Training, train_references, unlike
from recondoor.audit._pairs._source import Given, Source
from recondoor.audit._subject import Subject
from recondoor.core.progress import Progress
from recondoor.poisoning import Pairs

Basis = Literal["law", "references"]
"""What a threshold comes from."""

UNPROVED = (
    "references that an audit trains itself rank a network and decide nothing: how often they "
    "accuse clean networks was not measured on networks held out; give clean --references that "
    "were trained elsewhere"
)
"""Why nothing is decided by references that were trained here."""

FEWEST = 40
"""Clean pairs that inversion wants: some to find a trigger with, others to judge it by."""


@dataclass(frozen=True)
class References:
    """What a suspect is compared with.

    Args:
        clean: networks known to be clean.
        pairs: trusted pairs that detectors look through.
        planted: networks of the same make that have learnt a backdoor.
        tried: how many were given one.
        lack: why they are not like the suspect; None if they are.
        notes: what is to be known of them.
        trained: whether the audit trained them.
    """

    clean: list[nn.Module]
    pairs: Pairs
    planted: list[nn.Module] = field(default_factory=list)
    tried: int = 0
    lack: str | None = None
    notes: list[str] = field(default_factory=list)
    trained: bool = False

    @property
    def unproved(self) -> str | None:
        """Why nothing that rests on them is decided; None if it is."""
        return UNPROVED if self.trained and self.lack is None else None

    def law_of(self, name: str, suspect: Network, data: Source | None, alarm: float) -> "Ground":
        """What gives detector `name` a threshold that holds for the suspect; if nothing, why."""
        enough = len(self.clean) >= needed(alarm)
        lack = self.lack
        if enough and lack is None and not self.trained:
            lack = references_lack(suspect.model, self.clean, alarm)
        if enough and lack is None:
            return Ground("references", None, self._power(name, suspect, data))
        if not defences.network_detector(name).has_law:
            return Ground(None, lack or _only_ranks(alarm), None)
        by_law = law_lacks(name, suspect, data, alarm)
        return Ground("law", None, None) if by_law is None else Ground(None, lack or by_law, None)

    def _power(self, name: str, suspect: Network, data: Source | None) -> str | None:
        return None if self.planted else power_lacks(name, suspect, data)


@dataclass(frozen=True)
class Ground:
    """What a threshold comes from.

    Args:
        basis: "law", "references" or None.
        no_threshold: why there is none.
        no_power: why a network that is not flagged may have a backdoor nevertheless.
    """

    basis: Basis | None
    no_threshold: str | None
    no_power: str | None


def _only_ranks(alarm: float) -> str:
    return f"give {needed(alarm)} clean --references of its make"


def gather(
    suspect: Network,
    given: Given,
    subject: Subject,
    what: Sequence[str | nn.Module] | Training,
    alarm: float,
    progress: Progress,
) -> References:
    """Read references, or train them; errors as of `open_network` and `train_references`."""
    if isinstance(what, Training):
        found = train_references(
            suspect.model,
            given.pairs,
            needed(alarm),
            _registered(suspect, given, what),
            seed=given.seed,
            fewest=FEWEST,
            progress=progress,
        )
        lack = unlike(suspect.model, found.clean, found.held)
        return References(
            found.clean, found.held, found.planted, found.tried, lack, found.notes, trained=True
        )
    _, channels, height, width = given.pairs.x.shape
    shape = (channels, height, width)
    clean = [
        open_network(
            each,
            shape,
            subject.files,
            subject.overrides,
            subject.trust_paths,
            given.operator,
        ).model
        for each in what
    ]
    return References(clean, given.pairs, lack=unlike(suspect.model, clean, given.pairs))


def _registered(suspect: Network, given: Given, how: Training) -> Training:
    """A registered network is built anew by its settings, unless the user says how."""
    settings = suspect.settings
    if settings is None or how.fresh is not None:
        return how
    _, channels, height, width = given.pairs.x.shape

    def build() -> nn.Module:
        root = int(torch.randint(2**62, ()))  # torch's generator is that of this network
        shape = (channels, height, width)
        return models.build(shape, settings, root, "reference", operator=given.operator)

    return replace(how, fresh=build)
