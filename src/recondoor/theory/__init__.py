"""When a backdoor can be learnt, and when it will be: limits, reach, speed, prediction.

Every formula is derived in docs/theory.md.
"""

from recondoor.theory._detect import (
    Covariance,
    cross_fitted_limits,
    detectability,
    range_share,
)
from recondoor.theory._limits import Limits, gaussian_limits, posterior_limits
from recondoor.theory._predict import (
    Constants,
    Plan,
    Prediction,
    expected_samples,
    limiting_cause,
    predict,
    shipped,
)
from recondoor.theory._reach import effective_reach, structural_field, structural_reach
from recondoor.theory._sentences import in_words, record
from recondoor.theory._speed import Brief, briefly_trained, growth_rate

__all__ = [
    "Brief",
    "Constants",
    "Covariance",
    "Limits",
    "Plan",
    "Prediction",
    "briefly_trained",
    "cross_fitted_limits",
    "detectability",
    "effective_reach",
    "expected_samples",
    "gaussian_limits",
    "growth_rate",
    "in_words",
    "limiting_cause",
    "posterior_limits",
    "predict",
    "range_share",
    "record",
    "shipped",
    "structural_field",
    "structural_reach",
]
