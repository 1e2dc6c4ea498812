"""Receivers on real sockets: one that behaves and keeps what it got, and raw ones that misbehave in every way."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Request:
    """One delivery as it came."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header that came exactly once."""
        [value] = [value for header, value in self.headers if header.lower() == name]
        return value

    def has(self, name: str) -> bool:
        return any(header.lower() == name for header, _ in self.headers)


@dataclass
class Receiver:
    """Answers as ``answer`` says; by default 204."""

    requests: list[Request] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    answer: Callable[[Request], Awaitable[web.StreamResponse]] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep the request, then answer."""
        got = Request(request.path_qs, list(request.headers.items()), await request.read())
        self.requests.append(got)
        self.connections.add(request.transport)
        return await self.answer(got) if self.answer else web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A running receiver."""
    receiver = Receiver()
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class Peer:
    """A raw connection of a delivery."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read one whole request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        [length] = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        return head + await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            return

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass
class Hostile:
    """A raw server, and how many connections it had."""

    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@asynccontextmanager
async def misbehaving(behaviour: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[Hostile]:
    """A raw server; each connection is closed when ``behaviour`` ends."""
    hostile = Hostile()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(peer: Peer) -> None:
        try:
            await behaviour(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            peer.writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hostile.connections += 1
        tasks.add(asyncio.create_task(serve(Peer(reader, writer))))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    hostile.port = server.sockets[0].getsockname()[1]
    try:
        yield hostile
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
