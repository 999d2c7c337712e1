"""Who looks at pairs first, and who waits: a network is trained only where it can tell something.

Detectors that need none look first. The others ask for a training, which takes longer than all of
them together. They look where the verdict is open then, and where they have a threshold that could
decide it. The level is split over them from the beginning, whether they look or not: else the
number of tests would depend on what the first ones found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from recondoor import defences
from recondoor.audit._guard import attempt, undisturbed
from recondoor.audit._judgement import Judged, blindness, counted, judge
from recondoor.audit._pairs._conclusion import Conclusion
from recondoor.defences import Defender, PairDetector, SetDetector
from recondoor.poisoning import Pairs

UNTRAINED = "it needs a network, and none was trained on the pairs"
ASKS = "--detectors asks for it"


@dataclass(frozen=True)
class Plan:
    """Who looks when; made before anything is looked at.

    Args:
        first: names of those that look at once.
        later: those that need a network trained on the pairs and could decide something.
        silent: those that need one and could not, as they would only rank.
    """

    first: tuple[str, ...]
    later: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def tests(self) -> int:
        """How many of `later` would count flags."""
        return sum(not isinstance(defences.load(name), SetDetector) for name in self.later)

    def waiting(self, judged: Sequence[Judged]) -> int:
        """How many of those have no count among what was `judged`."""
        return self.tests - sum(each.name in self.later for each in counted(judged))

    def unneeded(self, found: Conclusion) -> str | None:
        """Why `later` need not look after the `first` have found that; None if they need to."""
        if found.verdict != "undecided":
            return f"{UNTRAINED}: the verdict is {found.verdict.upper()} without it; {ASKS}"
        if found.cause is not None:
            return f"{UNTRAINED}: whatever it finds, nothing is decided; {ASKS}"
        return None

    @property
    def left_out(self) -> dict[str, str]:
        """Why those of `silent` do not look."""
        return dict.fromkeys(self.silent, f"{UNTRAINED}: without --clean it only ranks; {ASKS}")

    @property
    def yet(self) -> dict[str, str]:
        """The same of `later`, as long as they wait."""
        return dict.fromkeys(self.later, UNTRAINED)


def plan_of(names: Sequence[str], skipped: Mapping[str, str], trusted: bool, asked: bool) -> Plan:
    """Who looks when, of those that are not `skipped`.

    `asked`: whether the user named them or gave a network; then all look at once. `trusted`:
    whether there are trusted pairs, of which thresholds are made.
    """
    left = [name for name in names if name not in skipped]
    ready = tuple(name for name in left if asked or "model" not in defences.load(name).needs)
    wanting = [name for name in left if name not in ready]
    able = tuple(name for name in wanting if trusted or _has_threshold(name))
    return Plan(ready, able, tuple(name for name in wanting if name not in able))


def _has_threshold(name: str) -> bool:
    """Whether it can decide something without trusted pairs."""
    detector = defences.pair_detector(name)
    law = type(detector).law is not PairDetector.law
    return law or isinstance(detector, SetDetector) or bool(detector.sees)


def in_order(names: Sequence[str], judged: Sequence[Judged]) -> list[Judged]:
    """What was judged, in the order of the names."""
    return sorted(judged, key=lambda each: names.index(each.name))


def look(
    names: Sequence[str],
    pairs: Pairs,
    defender: Defender,
    without: Defender | None,
    alarm: float,
    skipped: dict[str, str],
) -> tuple[list[Judged], dict[str, str]]:
    """What those find that are not `skipped`, and why some of them see nothing here.

    `without`: the defender less the clean pairs, for detectors that look through the network and
    can have no threshold from those; None if they can.
    """

    def one(name: str) -> tuple[Judged, dict[str, str]]:
        through = without is not None and "model" in defences.load(name).needs
        mine = without if without is not None and through else defender
        with undisturbed(defender.model, defender.seed, name):
            found = judge(name, pairs, mine, alarm)
        if found.whole is None:
            return found, blindness(name, pairs, mine)
        return found, {} if found.whole.lacking is None else {name: found.whole.lacking}

    judged: list[Judged] = []
    blind: dict[str, str] = {}
    with defender.progress.task("looking at pairs", len(names)) as task:
        for name in names:
            found = None if name in skipped else attempt(name, partial(one, name), skipped)
            if found is not None:
                judged.append(found[0])
                blind |= found[1]
            task.advance(1, name)
    return judged, blind
