"""From what detectors found in pairs to the verdict, and why pairs are not called clean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from recondoor.audit._judgement import Judged, alarming, rests_on_physics, seen_by, suspicious
from recondoor.audit._pairs import _doubts as doubts_of
from recondoor.audit._pairs._alike import unlike
from recondoor.audit._pairs._source import Given
from recondoor.audit._sight import Sight, Verdict, decide
from recondoor.defences import Defender
from recondoor.poisoning import Pairs


@dataclass(frozen=True)
class Conclusion:
    """What follows from what was found; `cause` and `doubts` as `Audit` has them."""

    verdict: Verdict
    seen: Sight
    doubts: list[str]
    cause: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """What was given to judge by.

    Args:
        names: all detectors that are meant.
        given: the pairs.
        defender: what the defender has of them; `clean` are the trusted pairs.
        unfit: why the operator did not measure them; None if it may have.
    """

    names: Sequence[str]
    given: Given
    defender: Defender
    unfit: str | None

    def conclude(
        self,
        judged: list[Judged],
        skipped: Mapping[str, str],
        blind: Mapping[str, str],
        waiting: int = 0,
    ) -> Conclusion:
        """The verdict of those who looked; the level is split over `waiting` tests besides."""
        given, clean, unfit = self.given, self.defender.clean, self.unfit
        seen = seen_by("pairs", self.names, judged, skipped, blind)
        apart = _drawn_apart(given, clean, judged, waiting)
        alarmed = any(each.whole is not None and alarming(each.whole) for each in judged)
        whole = any(each.whole is not None and each.p_value is not None for each in judged)
        cause, notes = apart if not alarmed else None, []
        if unfit is not None and (given.made or not whole):
            cause = unfit
        elif unfit is not None:
            notes.append(f"{unfit[0].upper()}{unfit[1:]}.")
        louder = [] if unfit or clean is not None else self._louder(judged)
        doubts = [cause] if cause else [*louder, *self._doubts(judged, waiting)]
        telling = [each for each in judged if not (louder and each.name == doubts_of.RESIDUAL)]
        accused = suspicious(telling, waiting) and cause is None
        return Conclusion(decide(accused, seen, doubts), seen, doubts, cause, tuple(notes))

    def _louder(self, judged: Sequence[Judged]) -> list[str]:
        return doubts_of.of_louder(self.defender.physics, self.given.pairs, judged)

    def _doubts(self, judged: Sequence[Judged], waiting: int) -> list[str]:
        """What keeps these pairs from being called clean."""
        given, physics = self.given, None if self.unfit else self.defender.physics
        found = [
            *doubts_of.of_numbers(judged, waiting),
            *doubts_of.of_flags(judged, waiting),
            *doubts_of.of_gaps(judged),
            *doubts_of.of_rankings(judged, given.pairs, _varies(given)),
        ]
        if physics is None or self.defender.clean is not None or given.noise_known:
            return found
        return [*doubts_of.of_noise(physics, given.pairs), *found]

    def through(self, defender: Defender) -> "Case":
        """The same with a network to look through."""
        return replace(self, defender=defender)


def _drawn_apart(
    given: Given, clean: Pairs | None, judged: list[Judged], waiting: int
) -> str | None:
    """Why what is suspicious by trusted pairs is not: these were not drawn from what is judged."""
    by_law = [each for each in judged if rests_on_physics(each)]
    if clean is None or not suspicious(judged, waiting) or suspicious(by_law, waiting):
        return None
    flagged = torch.from_numpy(np.any([each.flagged for each in judged], axis=0))
    why = unlike(given.pairs.x, flagged, clean.x)
    instead = ""
    if given.operator is None:
        instead = ", or --operator, whose tests do not ask for it"
    elif _varies(given):
        instead = ", or none: then the operator's tests look, which do not ask for it"
    return why and (
        "the trusted pairs were not drawn at random from what is judged, or more than half of that "
        f"is poisoned: {why}; give other trusted pairs{instead}"
    )


def _varies(given: Given) -> bool:
    return given.operator is not None and given.operator.varies
