"""The page's server: on 127.0.0.1, on a port and under a token of its own."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from recondoor.core.errors import ConfigError
from recondoor.explore._access import Access
from recondoor.explore._folder import Folder
from recondoor.explore._guard import App, Guard

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
EXTRA = ("starlette", "uvicorn", "anyio", "h11")


class Site:
    """A folder's page, bound to its port and not yet answering; close it after use.

    Raises ConfigError where the extra is not installed or the port is taken.
    """

    def __init__(self, folder: Folder, access: Access, port: int = 0) -> None:
        build, made = _extra()
        self.folder = folder
        self._socket = _bound(port)
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(24)
        hosts = frozenset((f"{HOST}:{self.port}", f"localhost:{self.port}"))
        self._server = made(Guard(build(folder, access), self.token, hosts))

    @property
    def address(self) -> str:
        """Where the page is; who knows it may look."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until Ctrl-C or `stop`."""
        with closing(self._socket), suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` end, from another thread."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the port back, if `run` was never called."""
        self._socket.close()


def serve(
    folder: Folder,
    access: Access,
    port: int = 0,
    browser: bool = True,
) -> None:
    """Show a folder's page until Ctrl-C.

    Args:
        folder: what is shown.
        access: what else may be opened.
        port: 0 for any that is free.
        browser: whether to open it there.

    Raises ConfigError as `Site`.
    """
    site = Site(folder, access, port)
    with suppress(KeyboardInterrupt):  # also of one who presses it before the server listens for it
        print(f"{site.address}\nThis address is for you alone. Ctrl-C ends it.", flush=True)
        if browser:
            webbrowser.open(site.address)
        site.run()


def _extra() -> tuple[Callable[[Folder, Access], App], Callable[[App], uvicorn.Server]]:
    """What builds the page and its server; raises ConfigError where the extra is not installed."""
    try:
        import uvicorn  # noqa: F401 - told here, with the other

        from recondoor.explore._app import build
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRA:
            raise
        raise ConfigError(f"explore needs {name}: pip install 'recondoor[explore]'") from None
    return build, _made


def _bound(port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()  # a browser that is faster than the server waits
    except (OSError, OverflowError) as error:
        made.close()
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"--port: {port} given, {why}; leave it out for a free one") from None
    return made


def _made(app: App) -> uvicorn.Server:
    import uvicorn

    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings)
