"""Life beside requests: started and stopped by the ASGI server, or by the application that Surehook is mounted in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from surehook.ingest.problems import UNAVAILABLE, ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)

Hook = Callable[[], Awaitable[None]]


class Mountable:
    """An ASGI application that starts and stops what it needs with the server, or with the application around it.

    An ASGI server alone sends the lifespan events. A host such as Starlette sends none to what is mounted in it: then the
    host's own lifespan enters ``running()``; if it does not, the first request starts everything, and nothing is stopped
    gracefully (which loses nothing that was acknowledged).
    """

    def __init__(self, app: ASGIApp, startup: Hook, shutdown: Hook) -> None:
        self._app = app
        self._startup = startup
        self._shutdown = shutdown
        self._lock = asyncio.Lock()
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await serve_lifespan(self._start, self._stop, receive, send)
            return
        if not self._started:
            try:
                await self._start()
            except Exception:  # the next request tries again
                logger.exception("surehook could not start")
                await UNAVAILABLE.close.send(send)
                return
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Started inside, stopped afterwards: for the lifespan of the host application."""
        await self._start()
        try:
            yield
        finally:
            await self._stop()

    async def _start(self) -> None:
        async with self._lock:
            if not self._started:
                await self._startup()
                self._started = True

    async def _stop(self) -> None:
        async with self._lock:
            if self._started:
                self._started = False
                await self._shutdown()


async def nothing() -> None:
    """What an application without a life of its own starts and stops."""


async def serve_lifespan(startup: Hook, shutdown: Hook, receive: Receive, send: Send) -> None:
    """The ASGI lifespan protocol: https://asgi.readthedocs.io/en/latest/specs/lifespan.html."""
    while True:
        message = await receive()
        stage = message["type"]
        try:
            await (startup() if stage == "lifespan.startup" else shutdown())
        except Exception as error:  # the server decides what follows from it, and logs the text
            logger.exception("%s failed", stage)
            await send({"type": f"{stage}.failed", "message": str(error)})
            return
        await send({"type": f"{stage}.complete"})
        if stage == "lifespan.shutdown":
            return
