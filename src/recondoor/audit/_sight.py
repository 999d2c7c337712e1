"""What the detectors that looked are known to see, and whether that is enough to call clean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from recondoor import defences
from recondoor.defences import ATTACKS, Attack

Verdict = Literal["suspicious", "clean", "undecided"]


@dataclass(frozen=True)
class Sight:
    """What could be seen.

    Args:
        by: what each detector that looked sees here; empty for those of no established power.
        lacking: why detectors that were meant to look could not, or see nothing here.
        left_out: detectors of established power that were not asked for.
    """

    by: Mapping[str, tuple[Attack, ...]]
    lacking: Mapping[str, str]
    left_out: tuple[str, ...]

    @property
    def sees(self) -> list[Attack]:
        """Kinds of attack that some detector would have seen."""
        return [kind for kind in ATTACKS if any(kind in seen for seen in self.by.values())]

    @property
    def blind_to(self) -> list[Attack]:
        """All other kinds."""
        return [kind for kind in ATTACKS if kind not in self.sees]

    @property
    def enough(self) -> bool:
        """Whether what was meant to be seen would have been; a clean verdict asks for that."""
        wanted = {kind for name in self.lacking for kind in defences.sees(name)}
        return bool(self.sees) and wanted <= set(self.sees)

    def reason(self, given: str) -> str:
        """Why nothing is decided, in a line: what was `given`, and what is lacking."""
        because = _grouped(self.lacking)
        if self.left_out and not self.sees:
            because.append(f"--detectors leaves out {', '.join(self.left_out)}")
        why = "; ".join(because) or "no detector of this kind is known to see an attack"
        who = "not every detector" if self.sees else "no detector"
        return f"{given}: {who} that is known to see attacks could look ({why})"


def sight(
    kind: defences.Kind, chosen: Sequence[str], ran: Sequence[str], lacking: Mapping[str, str]
) -> Sight:
    """What the detectors that `ran` see, but for those of which `lacking` says why they do not."""
    meant = {*defences.names(kind), *chosen}
    known = {name for name in meant if defences.sees(name)}
    by = {name: () if name in lacking else defences.sees(name) for name in ran}
    told = {name: why for name, why in lacking.items() if name in known}
    return Sight(by, told, tuple(sorted(known - set(chosen))))


def decide(suspicious: bool, seen: Sight, doubts: Sequence[str] = ()) -> Verdict:
    """Suspicion needs no more than a flag, a clean verdict needs sight and no doubts."""
    if suspicious:
        return "suspicious"
    return "clean" if seen.enough and not doubts else "undecided"


def _grouped(reasons: Mapping[str, str]) -> list[str]:
    """Names with the same reason together."""
    groups: dict[str, list[str]] = {}
    for name, why in reasons.items():
        groups.setdefault(why, []).append(name)
    return [f"{', '.join(names)}: {why}" for why, names in groups.items()]
