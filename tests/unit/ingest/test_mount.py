"""Inside another application: prefixes, the host's life, and the lifespan protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.unit.ingest.http_support import ANY_PORT, Client, Reply, Site, Sites, get, post, unverified

from surehook.config import ServerSettings
from surehook.ingest.mount import Mountable
from surehook.ingest.problems import Message
from surehook.ingest.server import Server


class Life:
    """Counts what is started and stopped, and can fail."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.error: Exception | None = None

    async def start(self) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.events.append("started")

    async def stop(self) -> None:
        self.events.append("stopped")


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def ask(server: Server, data: bytes) -> Reply:
    async with await Client.to(server.port) as client:
        client.send(data)
        return await client.reply()


async def host(sites: Sites, app: Starlette) -> Server:
    return await sites.run(Server(app, ANY_PORT, ServerSettings()))


async def test_mounted_under_a_prefix_in_starlette(sites: Sites) -> None:
    site, life = Site({"acme": unverified()}), Life()
    mounted = Mountable(site.app, life.start, life.stop)
    server = await host(sites, Starlette(routes=[Route("/hello", hello), Mount("/in/side", mounted)]))
    assert (await ask(server, post(path="/in/side/webhooks/acme/a/b"))).status == 200
    assert site.shelf.arrivals[0].payload.topic == "a/b"
    assert (await ask(server, get("/in/side/livez"))).status == 200
    assert (await ask(server, get("/hello"))).body == b"hello"
    for path in ("/webhooks/acme", "/in/side/webhooks/%61cme", "/in/side/in/side/webhooks/acme"):
        assert (await ask(server, post(path=path))).status == 404


async def test_a_server_with_a_root_path(sites: Sites) -> None:
    site = Site({"acme": unverified()})
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"id":"1"}'}

    async def send(message: Message) -> None:
        sent.append(message)

    base = {"type": "http", "method": "POST", "root_path": "/pre", "query_string": b"", "headers": []}
    # As ASGI 3 has it, with the prefix in the path; and as servers did before, without it.
    await site.app({**base, "path": "/pre/webhooks/acme"}, receive, send)
    await site.app({**base, "path": "/webhooks/acme"}, receive, send)
    assert [message["status"] for message in sent if "status" in message] == [200, 200]


async def test_the_host_starts_and_stops_it(sites: Sites) -> None:
    site, life = Site({"acme": unverified()}), Life()
    mounted = Mountable(site.app, life.start, life.stop)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with mounted.running():
            yield

    app = Starlette(routes=[Mount("/hooks", mounted)], lifespan=lifespan)
    server = await host(sites, app)
    async with app.router.lifespan_context(app):
        assert life.events == ["started"]
        assert (await ask(server, post(path="/hooks/webhooks/acme"))).status == 200
    assert life.events == ["started", "stopped"]


async def test_without_a_lifespan_the_first_request_starts_it_once(sites: Sites) -> None:
    site, life = Site({"acme": unverified()}), Life()
    server = await sites.run(Server(Mountable(site.app, life.start, life.stop), ANY_PORT, site.settings))
    replies = await asyncio.gather(*(ask(server, post()) for _ in range(5)))
    assert {reply.status for reply in replies} == {200}
    assert life.events == ["started"]


async def test_a_start_that_fails_is_503_and_tried_again(
    sites: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    site, life = Site({"acme": unverified()}), Life()
    life.error = OSError("no database at /srv/secret")
    server = await sites.run(Server(Mountable(site.app, life.start, life.stop), ANY_PORT, site.settings))
    reply = await ask(server, post())
    assert reply.status == 503
    assert b"secret" not in reply.body
    assert "no database" in caplog.text
    life.error = None
    assert (await ask(server, post())).status == 200


async def lifespan(app: Mountable, *stages: str) -> list[Message]:
    """Run the lifespan protocol; what the application answered."""
    sent: list[Message] = []
    pending = [{"type": f"lifespan.{stage}"} for stage in reversed(stages)]

    async def receive() -> Message:
        return pending.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    return sent


async def test_an_asgi_server_starts_and_stops_it() -> None:
    life = Life()
    app = Mountable(Site({}).app, life.start, life.stop)
    sent = await lifespan(app, "startup", "shutdown")
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert life.events == ["started", "stopped"]


async def test_an_asgi_server_is_told_that_the_start_failed() -> None:
    life = Life()
    life.error = OSError("no database")
    sent = await lifespan(Mountable(Site({}).app, life.start, life.stop), "startup")
    assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]


async def test_websockets_are_not_served() -> None:
    async def never(*_: object) -> Message:
        raise AssertionError

    with pytest.raises(NotImplementedError, match="websocket"):
        await Site({}).app({"type": "websocket"}, never, never)  # type: ignore[arg-type]  # never called
