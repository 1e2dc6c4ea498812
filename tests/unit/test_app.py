"""App mounted in a user's own application, over real sockets and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import apsw
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from surehook import App, Event, Transaction
from surehook.config import ProviderSettings, ServerSettings, Settings
from surehook.ingest.listening import Address
from surehook.ingest.problems import ASGIApp
from surehook.ingest.server import Server
from surehook.wiring import open_database


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """A server for any ASGI application; its base address."""
    server = Server(app, Address("127.0.0.1", 0), ServerSettings())
    await server.start()
    yield f"http://127.0.0.1:{server.port}"
    await server.drain(5_000)


def application() -> tuple[App, asyncio.Event]:
    app, done = App(), asyncio.Event()

    @app.setup
    async def tables(tx: Transaction) -> None:
        await tx.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT PRIMARY KEY)")

    @app.on("acme")
    async def record(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES (?)", (event.external_id,))
        done.set()

    return app, done


def settings_in(folder: Path) -> Settings:
    return Settings(
        database=f"sqlite:///{folder}/surehook.db",
        providers={"acme": ProviderSettings(pack="none", id="body:/id")},
    )


async def test_mounted_under_a_prefix_it_runs_the_whole_path(tmp_path: Path) -> None:
    app, done = application()
    hooks = app.asgi(settings_in(tmp_path))

    @asynccontextmanager
    async def lifespan(host: Starlette) -> AsyncIterator[None]:
        async with hooks.running():
            yield

    async def home(request: object) -> PlainTextResponse:
        return PlainTextResponse("mine")

    host = Starlette(routes=[Route("/", home), Mount("/hooks", hooks)], lifespan=lifespan)
    async with lifespan(host), serving(host) as base, aiohttp.ClientSession() as client:
        async with client.get(f"{base}/") as answer:
            assert await answer.text() == "mine"
        for _ in range(3):
            async with client.post(f"{base}/hooks/webhooks/acme", json={"id": "a"}) as answer:
                assert answer.status == 200
        async with client.get(f"{base}/hooks/readyz") as answer:
            assert answer.status == 200
        await asyncio.wait_for(done.wait(), 20)
    connection = apsw.Connection(str(tmp_path / "surehook.db"))
    assert connection.execute("SELECT id FROM effects").fetchall() == [("a",)]
    assert connection.execute("SELECT state, duplicates FROM inbox_events").fetchall() == [("PROCESSED", 2)]
    connection.close()


async def test_without_a_lifespan_the_first_request_starts_it(tmp_path: Path) -> None:
    app, done = application()
    hooks = app.asgi(settings_in(tmp_path))
    async with serving(hooks) as base, aiohttp.ClientSession() as client:
        async with client.post(f"{base}/webhooks/acme", json={"id": "a"}) as answer:
            assert answer.status == 200
        await asyncio.wait_for(done.wait(), 20)
    async with hooks.running():
        pass  # its end stops what the first request has started


async def test_the_command_lines_view_of_the_same_database(tmp_path: Path) -> None:
    app, done = application()
    settings = settings_in(tmp_path)
    hooks = app.asgi(settings)
    async with hooks.running(), serving(hooks) as base, aiohttp.ClientSession() as client:
        async with client.post(f"{base}/webhooks/acme", json={"id": "a"}) as answer:
            assert answer.status == 200
        await asyncio.wait_for(done.wait(), 20)
        async with open_database(settings) as database:
            assert abs(database.clock.now() - await database.reader.database_time()) < 60_000
