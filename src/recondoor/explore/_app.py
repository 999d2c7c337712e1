"""The page's routes: its own files, and what it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recondoor.core.errors import FAILURES, RecondoorError, in_a_line, out_of_memory, plain
from recondoor.explore import _audits, _curves, _sweeps
from recondoor.explore._pictures import Json

if TYPE_CHECKING:
    from recondoor.explore._access import Access
    from recondoor.explore._bench import Bench
    from recondoor.explore._folder import Folder

Answer = Callable[[Request], Awaitable[Response]]

KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def build(folder: Folder, access: Access) -> Starlette:
    """The application for one folder."""
    show = _Shown(folder, access)
    routes = [Route(f"/{name}", _file(name)) for name in _pages() if name != "index.html"]
    asked: dict[str, Callable[[Request], Json]] = {
        "folder": lambda _: show.folder(),
        "sweep": lambda _: _sweeps.sweep(folder),
        "audit": lambda _: _audits.audit(folder.path),
        "curves": lambda request: _curves.curves(folder.run(_place(request))),
        "bench": lambda request: show.bench(_place(request)),
    }
    routes += [Route(f"/api/{name}", _answer(function)) for name, function in asked.items()]
    routes += [
        Route("/", _file("index.html")),
        Route("/api/look", partial(_look, show), methods=["POST"]),
    ]
    return Starlette(routes=routes)


class _Shown:
    """What has been read of the folder so far: one run's bench at a time."""

    def __init__(self, folder: Folder, access: Access) -> None:
        self._folder = folder
        self._access = access
        self._lock = Lock()
        self._bench: tuple[str, Bench] | None = None

    def folder(self) -> Json:
        """What it is called, and what it is."""
        resolved = self._folder.path.resolve()
        return {"kind": self._folder.kind, "name": resolved.name}

    def bench(self, place: str) -> Json:
        """What can be tried on a run."""
        with self._lock:
            return self._of(place).described()

    def look(self, place: str, body: bytes) -> Json:
        """What a run's networks make of one input; one question at a time is answered."""
        from recondoor.explore._bench import Question

        question = Question.model_validate_json(body)
        with self._lock:
            return self._of(place).look(question)

    def _of(self, place: str) -> Bench:
        from recondoor.explore._bench import Bench  # torch, which a sweep's map does without

        if self._bench is None or self._bench[0] != place:
            self._bench = None
            made = Bench(self._folder.run(place), self._access)
            self._bench = (place, made)
        return self._bench[1]


def _place(request: Request) -> str:
    return str(request.query_params.get("run", ""))


def _answer(function: Callable[[Request], Json]) -> Answer:
    async def answering(request: Request) -> Response:
        return await run_in_threadpool(_told, partial(function, request))

    return answering


async def _look(show: _Shown, request: Request) -> Response:
    body = await request.body()
    return await run_in_threadpool(_told, partial(show.look, _place(request), body))


def _told(function: Callable[[], Json]) -> Response:
    """The answer, or in one line why there is none: a folder may hold whatever a stranger made."""
    try:
        return JSONResponse(function())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)
    except RecondoorError as error:
        return JSONResponse({"error": plain(str(error))}, 422)
    except FAILURES as error:
        said = in_a_line(error)
        if not out_of_memory(error):
            said = f"what the folder holds cannot be shown, {said}; make it again"
        return JSONResponse({"error": said}, 422)


def _pages() -> list[str]:
    folder = resources.files("recondoor.explore").joinpath("page")
    return sorted(each.name for each in folder.iterdir())


def _file(name: str) -> Answer:
    """A file of the package, read as it is asked for."""
    kind = KINDS.get(f".{name.rpartition('.')[2]}")

    async def sending(_: Request) -> Response:
        if kind is None:
            raise HTTPException(404)
        content = resources.files("recondoor.explore").joinpath("page", name).read_bytes()
        return Response(content, media_type=kind)

    return sending
