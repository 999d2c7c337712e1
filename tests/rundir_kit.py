"""A run folder, and what fails as a full disk does."""

import os
from collections.abc import Callable


def failing(code: int) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail
