"""Who may ask: this machine's own page, which knows the token, and nobody else.

A page of another site, open in the same browser, can send requests to this machine. It does not
know the token; and where its own name is made to point here (DNS rebinding), the Host header tells.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from secrets import compare_digest
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
MOST_BYTES = 64 * 1024
"""Of a question."""


class Guard:
    """Lets through what is asked of `hosts` under /TOKEN/, and adds headers to every answer."""

    def __init__(self, app: App, token: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request; the app behind sees its path without the token."""
        if scope["type"] != "http":
            return
        send = _with_headers(send)
        refused = self._refused(scope)
        if refused is not None:
            await _tell(send, *refused)
            return
        path = scope["path"].removeprefix(f"/{self._token}")
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    def _refused(self, scope: Message) -> tuple[int, str] | None:
        """Status and reason, if the request is none of ours."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        host = headers.get("host", [])
        if len(host) != 1 or host[0] not in self._hosts:
            return 421, "this page answers at 127.0.0.1 alone"
        origins = {f"http://{name}" for name in self._hosts}
        if not set(headers.get("origin", [])) <= origins:
            return 403, "asked from another site"
        first, _, _ = scope["path"].removeprefix("/").partition("/")
        if not compare_digest(first.encode(), self._token.encode()):
            return 404, "no such page; open the address that the terminal shows"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "ask by GET or POST"
        if scope["method"] == "POST" and headers.get("content-type") != ["application/json"]:
            return 415, "ask with application/json"
        length = headers.get("content-length", ["0"])[0]
        if "transfer-encoding" in headers or not length.isdigit() or int(length) > MOST_BYTES:
            return 413, f"ask with at most {MOST_BYTES} bytes, and say how many"
        return None


def _with_headers(send: Send) -> Send:
    added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *added]
        await send(message)

    return sending


async def _tell(send: Send, status: int, reason: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": reason.encode()})
