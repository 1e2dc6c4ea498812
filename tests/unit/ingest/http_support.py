"""A running ingest port, and a client that sends exactly the bytes it is given."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from surehook.clock import ManualClock
from surehook.config import ProviderSettings, ServerSettings
from surehook.ingest.health import HealthApp, Readiness
from surehook.ingest.http import IngestApp
from surehook.ingest.intake import Done, Intake
from surehook.ingest.listening import Address
from surehook.ingest.problems import ASGIApp
from surehook.ingest.server import Server
from surehook.model import Accepted, Arrival, Rejection
from surehook.packs import Provider, build_provider
from surehook.secrets import Secret
from surehook.states import EventState

#: Seconds after which a test gives up. Far longer than anything here takes, since the machine may be busy.
PATIENCE = 20.0
ANY_PORT = Address("127.0.0.1", 0)


class Shelf:
    """Takes arrivals in the inbox's place, so that a test decides when and how the commit ends."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.waiting = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, arrival: Arrival, done: Done) -> None:
        task = asyncio.get_running_loop().create_task(self._store(arrival, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, arrival: Arrival, done: Done) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        done(self._stored(arrival) if self.error is None else self.error)

    def _stored(self, arrival: Arrival) -> list[Accepted]:
        known = {event.external_id for each in self.arrivals for event in each.events}
        self.arrivals.append(arrival)
        return [
            Accepted(event.id, event.external_id in known, EventState.RECEIVED) for event in arrival.events
        ]


class Notes:
    """Takes rejections in the log's place."""

    def __init__(self) -> None:
        self.all: list[Rejection] = []

    def note(self, rejection: Rejection) -> None:
        self.all.append(rejection)


class Site:
    """An ingest port with its surroundings."""

    def __init__(self, providers: dict[str, Provider], *, direct: bool = True, **changes: Any) -> None:
        self.settings = ServerSettings(**changes)
        self.providers = providers
        self.shelf = Shelf()
        self.notes = Notes()
        self.clock = ManualClock()
        self.readiness = Readiness({})
        self.intake = Intake(providers, self.shelf, self.notes, self.clock, self.settings)
        self.app = IngestApp(self.intake, self.settings, HealthApp(self.readiness))
        self.server = Server(self.app, ANY_PORT, self.settings, self.intake if direct else None)

    @property
    def port(self) -> int:
        return self.server.port

    async def connect(self) -> Client:
        return await Client.to(self.port)

    async def ask(self, data: bytes) -> Reply:
        """Send these bytes over a new connection; the first answer."""
        async with await self.connect() as client:
            client.send(data)
            return await client.reply()

    async def ask_all(self, data: bytes) -> list[Reply]:
        """Send these bytes over a new connection; every answer until the server closes."""
        async with await self.connect() as client:
            client.send(data)
            return await client.rest()


class Sites:
    """The ports of one test."""

    def __init__(self, *, direct: bool) -> None:
        """``direct``: plain webhooks take the short way."""
        self._direct = direct
        self._servers: list[Server] = []

    async def site(
        self, providers: dict[str, Provider] | None = None, wrap: ASGIApp | None = None, **changes: Any
    ) -> Site:
        """A running port; without ``providers`` it has ``acme`` of pack ``none``."""
        known = {"acme": unverified()} if providers is None else providers
        site = Site(known, direct=self._direct, **changes)
        if wrap is not None:
            site.server = Server(wrap, ANY_PORT, site.settings)
        await self.run(site.server)
        return site

    async def run(self, server: Server) -> Server:
        await server.start()
        self._servers.append(server)
        return server

    async def close(self) -> None:
        for server in self._servers:
            await server.drain(0)


class Reply(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closes(self) -> bool:
        return self.headers.get("connection") == "close"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, begun: bytes = b"") -> Reply:
        """The next answer, of which ``begun`` was read already."""
        async with asyncio.timeout(PATIENCE):
            head = begun + await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Reply(int(first.split(" ")[1]), headers, body)

    async def rest(self) -> list[Reply]:
        """Every answer until the server closes the connection."""
        replies = []
        while first := await self._first():
            replies.append(await self.reply(first))
        return replies

    async def _first(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(1)

    async def closed(self) -> bytes:
        """Wait until the server closes; whatever it sent before that."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


def unverified(name: str = "acme", **settings: Any) -> Provider:
    """A provider that trusts everyone; ids stand at ``/id``."""
    chosen = ProviderSettings(pack="none", id="body:/id", **settings)
    return build_provider(name, chosen, lambda name: Secret("", name), ServerSettings())


def signed(pack: str, secret: str, **settings: Any) -> Provider:
    """A provider of this pack, by the name of it."""
    chosen = ProviderSettings(pack=pack, secrets=("env:SECRET",), **settings)
    return build_provider(pack, chosen, lambda name: Secret(secret, name), ServerSettings())


def get(path: str, *lines: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


def head(*lines: str, path: str = "/webhooks/acme/orders") -> bytes:
    """The head of a POST."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode("latin-1")


def post(body: bytes = b'{"id":"1"}', *lines: str, path: str = "/webhooks/acme/orders") -> bytes:
    """A whole POST with a Content-Length."""
    return head(f"Content-Length: {len(body)}", *lines, path=path) + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def problem(reply: Reply) -> str:
    """The slug of a problem document, whose form is checked."""
    assert reply.headers["content-type"] == "application/problem+json"
    document = msgspec.json.decode(reply.body, type=dict[str, Any])
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == reply.status
    prefix, slug = document["type"].rsplit(":", 1)
    assert prefix == "urn:surehook:problem"
    return str(slug)
