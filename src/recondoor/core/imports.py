"""Code of the user's own, by MODULE:NAME: the only way by which it is imported."""

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from traceback import extract_tb

from recondoor.core.errors import ConfigError, RecondoorError, in_a_line

OURS = str(Path(__file__).parents[1])
LIBRARY = sysconfig.get_paths()["stdlib"]


def imported(told: str, module: str, attribute: str, *, here: bool = True) -> object:
    """The attribute of a module: this runs the module.

    Args:
        told: what begins a message, as in "operator.name: 'blur:Blur'".
        module: dotted name.
        attribute: dotted name in it.
        here: whether the module may lie in the current folder, which is on `sys.path` during the
            import and no longer.

    Raises:
        ConfigError: it cannot be imported, or has no such attribute, with the file and the fault.
    """
    with searched() if here else nullcontext(), told_in_a_line(told):
        found: object = import_module(module)
    for name in attribute.split("."):
        if not hasattr(found, name):
            where = getattr(sys.modules[module], "__file__", None) or module
            raise ConfigError(f"{told}: {where} has no {name}")
        found = getattr(found, name)
    return found


@contextmanager
def told_in_a_line(told: str) -> Iterator[None]:
    """Whatever another's code raises becomes a ConfigError of one line, with file and fault."""
    try:
        yield
    except RecondoorError:
        raise
    except (Exception, SystemExit) as error:  # `sys.exit(0)` would pass for a clean verdict
        raise ConfigError(f"{told}: {fault_of(error)}") from error


def fault_of(error: BaseException) -> str:
    """What went wrong and where in code that is not the package's, in one line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    # Where their own file called what failed, which may be another library.
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    where = f"{own[-1].filename}, line {own[-1].lineno}: " if own else ""
    return where + in_a_line(error)


def is_users(filename: str) -> bool:
    """Whether a file is neither the package's nor a library's."""
    return _is_theirs(filename) and "site-packages" not in filename


def _is_theirs(filename: str) -> bool:
    torch = getattr(sys.modules.get("torch"), "__file__", None)
    library = Path(filename).parent.is_relative_to(LIBRARY) and "site-packages" not in filename
    passing = (OURS, "<frozen", *([str(Path(torch).parent)] if torch else []))
    return not (library or filename.startswith(passing))


@contextmanager
def searched() -> Iterator[None]:
    """Within, Python looks for modules in the current folder first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
