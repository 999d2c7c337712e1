"""The core files, and the test files that have to notice a change to them, cheapest first."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
SOURCE = TESTS.parent / "src"

PHYSICS = ("test_defence_contracts", "test_defences", "test_limits", "test_physics_tolerance")
DEFENCES = ("test_detection", "test_mending", *PHYSICS[:2])
SOLVERS = (
    "test_hypergradient",
    "test_hypergradient_solvers",
    "test_hypergradient_optimisers",
    "test_hypergradient_convolution",
)
SETS: dict[str, tuple[str, ...]] = {
    "patterns.py": ("test_poison", "test_scene"),
    "poisoning.py": ("test_poison", "test_mixture", "test_scene"),
    "operators/_outside.py": ("test_doors",),
    "core/equations.py": ("test_equations",),
    "operators/*.py": ("test_operators",),
    "evaluation/windows.py": ("test_metrics", "test_evaluation"),
    "evaluation/metrics.py": ("test_metrics", "test_evaluation", "test_yardstick_traps"),
    "evaluation/yardsticks.py": ("test_evaluation", "test_one_yardstick"),
    "evaluation/statistics.py": ("test_statistics",),
    "evaluation/judge.py": ("test_evaluation", "test_scene", "test_yardstick_traps"),
    "theory/*.py": ("test_theory", "test_predict"),
    "training/hypergradient/*.py": SOLVERS,
    "defences/_physics.py": (*PHYSICS, "test_detection"),
    "defences/_storage.py": ("test_physics_tolerance", "test_pixel_range"),
    "defences/pixel_range.py": ("test_pixel_range", "test_detection"),
    "defences/_side_by_side.py": ("test_side_by_side", "test_mending"),
    "defences/disagreement.py": ("test_side_by_side", "test_defence_contracts"),
    "defences/side_by_side.py": ("test_side_by_side", "test_mending"),
    "defences/_unlearning.py": ("test_pattern_unlearning", "test_mending"),
    "defences/*.py": DEFENCES,
    "audit/_judgement.py": ("test_judge", "test_audit"),
    "audit/_sight.py": ("test_judge", "test_audit_sight"),
    "audit/_networks/_network.py": ("test_judge", "test_audit"),
}


def core() -> dict[Path, tuple[Path, ...]]:
    """Every core file with its test files; the first pattern that fits a file counts."""
    found: dict[Path, tuple[Path, ...]] = {}
    for pattern, names in SETS.items():
        for path in sorted((SOURCE / "recondoor").glob(pattern)):
            found.setdefault(path, tuple(TESTS / f"{name}.py" for name in names))
    return found


def module_of(path: Path) -> str:
    """Dotted name of a file below `src`."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
