"""From an image to a network's input: y = A x + noise, an image B y, and what is made of that.

x -> A -> y (+ noise) -> input map B -> u -> magnitude, crop, normalise -> z

Everything up to u is linear, so that a trigger that enters at x or y is a pattern that is added to
u. The rest, a `Preparation`, is not; the paper's chain has none, and z is u.
"""

from recondoor.measurement._chain import Chain, build
from recondoor.measurement._pairs import Pairs, Preparation, Scale, Source

__all__ = ["Chain", "Pairs", "Preparation", "Scale", "Source", "build"]
