"""Ingest as a bare ASGI application: read the request within its limits and hand it to the intake.

It runs on any ASGI server, alone or mounted under a prefix. Surehook's own server takes a shorter way for plain requests
(``surehook.ingest.direct``), which is held to the same tests.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

from surehook.config import ServerSettings
from surehook.ingest.health import PATHS, HealthApp
from surehook.ingest.intake import ROUTE, Intake, Post, header_problem
from surehook.ingest.mount import nothing, serve_lifespan
from surehook.ingest.problems import (
    NOT_FOUND,
    POST_ONLY,
    RECEIVE_TIMEOUT,
    UNAVAILABLE,
    Answer,
    Problem,
    Receive,
    Scope,
    Send,
)
from surehook.ingest.protocol import DEADLINE_EXTENSION

logger = logging.getLogger(__name__)

_ROUTE: Final = re.compile(ROUTE)


class _StopError(Exception):
    """The request is answered without being read to its end."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _GoneError(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class IngestApp:
    """``POST /webhooks/{provider}[/{topic}]``, and /livez and /readyz where ``health`` is given.

    Where the server does not watch over the time in which a request arrives (only surehook's own does), it is done here.
    """

    def __init__(self, intake: Intake, settings: ServerSettings, health: HealthApp | None = None) -> None:
        self._intake = intake
        self._health = health
        self._receive_timeout = settings.receive_timeout / 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await serve_lifespan(nothing, nothing, receive, send)
            return
        if kind != "http":
            raise NotImplementedError(f"webhooks are received over HTTP, not {kind}")
        try:
            reply = await self._answer(scope, receive)
        except _StopError as stop:
            reply = stop.problem.close
        except _GoneError:
            return
        except Exception:  # our trouble, whatever it is: the sender is to come again
            logger.exception("a webhook could not be handled")
            reply = UNAVAILABLE.close
        await reply.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path = _path_inside(scope)
        route = _ROUTE.fullmatch(path)
        if route is None:
            if self._health is not None and path in PATHS:
                return await self._health.answer(scope["method"], path)
            return NOT_FOUND.close
        provider, method = self._intake.providers.get(route[1]), scope["method"]
        if method != "POST" and (provider is None or method not in provider.methods):
            return POST_ONLY.close
        if provider is None:
            return NOT_FOUND.close
        client = scope.get("client")
        headers, query = scope["headers"], scope["query_string"]
        post = Post(provider, route[2] or "", headers, query, client[0] if client else "")
        post.method = method
        try:
            post.body = await self._body(scope, receive, post)
        except BaseException:
            self._intake.release(post)
            raise
        return await self._taken(post)

    async def _taken(self, post: Post) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def reply(answer: Answer) -> None:
            if not future.done():  # the server may have cancelled us
                future.set_result(answer)

        self._intake.take(post, reply)
        return await future

    async def _body(self, scope: Scope, receive: Receive, post: Post) -> bytes:
        problem = header_problem(scope["headers"], post.provider.max_body)
        if problem is not None:
            raise _StopError(problem)
        if DEADLINE_EXTENSION in (scope.get("extensions") or ()):
            return await self._read(receive, post)
        try:
            async with asyncio.timeout(self._receive_timeout):
                return await self._read(receive, post)
        except TimeoutError:
            raise _StopError(RECEIVE_TIMEOUT) from None

    async def _read(self, receive: Receive, post: Post) -> bytes:
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _GoneError
            chunk: bytes = message.get("body", b"")
            problem = self._intake.more(post, len(chunk))
            if problem is not None:
                raise _StopError(problem)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _path_inside(scope: Scope) -> str:
    """The path below the prefix that the application is mounted under.

    Empty for a path with escapes: nothing that is served here needs any, so what is written in two ways is refused.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root + "/"):
        path = path[len(root) :]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None and not raw.endswith(path.encode("utf-8", "surrogateescape")):
        return ""
    return path
