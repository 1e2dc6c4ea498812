"""A listening port inside a running event loop, built on uvicorn's protocol."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from email.utils import formatdate

from uvicorn.config import Config
from uvicorn.server import ServerState

from surehook.config import ServerSettings
from surehook.ingest.direct import DirectProtocol
from surehook.ingest.intake import Intake
from surehook.ingest.listening import BACKLOG, Address
from surehook.ingest.problems import ASGIApp
from surehook.ingest.protocol import GuardedProtocol

logger = logging.getLogger(__name__)

#: Seconds between two sweeps over the connections; shorter only where a timeout is.
SWEEP: float = 1.0
#: Seconds between two looks while draining.
_DRAIN_POLL = 0.02


class Server:
    """One port. Any number of them run in one loop, and none touches signals, the loop or the process's logging.

    uvicorn parses, frames and keeps alive; listening, draining and the clock of the ``Date`` header are done here,
    because ``uvicorn.Server`` owns signals and leaves the process when a port is taken.
    """

    def __init__(
        self, app: ASGIApp, address: Address, settings: ServerSettings, intake: Intake | None = None
    ) -> None:
        """``intake`` is what the application hands webhooks to: given here as well, plain ones go there directly."""
        self._config = Config(
            app,
            http=GuardedProtocol,
            ws="none",
            loop="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            server_header=False,
        )
        self._address = address
        #: The section of the settings that the port stands in.
        self.section = address.section
        #: The port that is listened on; the real one, once started, where 0 was asked for.
        self.port = address.port
        self._intake = intake
        self._settings = settings
        self._state = ServerState()
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._state.connections)

    async def start(self, sockets: Sequence[socket.socket] = ()) -> None:
        """Listen, on these bound sockets (which are the server's own from now on) or on new ones.

        Raises ConfigurationError when the address cannot be had.
        """
        if not self._config.loaded:
            self._config.load()
        self._renew_date()
        bound = list(sockets) or self._address.bind()
        try:
            for sock in bound:
                await self._listen(sock)
        except OSError as error:
            self._stop_listening()
            for sock in bound:
                sock.close()
            raise self._address.explain(error) from error
        loop = asyncio.get_running_loop()
        self._sweeper = loop.create_task(self._sweep(), name=f"sweep of port {self.port}")

    async def _listen(self, sock: socket.socket) -> None:
        self.port = int(sock.getsockname()[1])
        loop = asyncio.get_running_loop()
        self._listeners.append(await loop.create_server(self._connect, sock=sock, backlog=BACKLOG))

    async def drain(self, timeout_ms: int) -> bool:
        """Stop listening, answer what has arrived or is arriving, close; whether that was done within the timeout.

        A request that still comes over a kept connection is answered with ``connection: close``. What is left after the
        timeout is closed without an answer.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_ms / 1000
        self._stop_listening()
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._busy() and loop.time() < until:
            await asyncio.sleep(_DRAIN_POLL)
            self._sweep_once()
        clean = not self._busy()
        if not clean:
            logger.warning("%d connections were closed before they were answered", self.connections)
        self.close()
        await asyncio.sleep(0)  # lets the transports tell their protocols
        return clean

    def close(self) -> None:
        """Close everything now. A commit that a request has begun goes on; its answer goes nowhere."""
        self._stop_listening()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in self._guarded():
            connection.abort()

    def _connect(self) -> GuardedProtocol:
        if self._intake is not None:
            return DirectProtocol(self._config, self._state, self._settings, self._intake)
        return GuardedProtocol(self._config, self._state, self._settings)

    def _busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _guarded(self) -> list[GuardedProtocol]:
        return [each for each in self._state.connections if isinstance(each, GuardedProtocol)]

    def _sweep_once(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in self._guarded():
            connection.sweep(now)

    async def _sweep(self) -> None:
        shortest = min(self._settings.receive_timeout, self._settings.keep_alive) / 1000
        period = min(SWEEP, shortest / 4)
        while True:
            await asyncio.sleep(period)
            self._renew_date()
            try:
                self._sweep_once()
            except Exception:  # the next sweep must come, whatever one connection did
                logger.exception("the sweep over the connections failed")

    def _renew_date(self) -> None:
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode("ascii"))]
