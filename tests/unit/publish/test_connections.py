"""What a broken or hostile receiver does to the connections that are kept."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from yarl import URL

from surehook.clock import SystemClock
from surehook.config import DestinationSettings
from surehook.ids import MessageId, uuid7
from surehook.model import MessageClaim
from surehook.publish import Delivered, Failed, Outcome
from surehook.publish.http import HttpTransport
from surehook.publish.wire import Target, Wire

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def receiver(behave: Behaviour) -> AsyncIterator[HttpTransport]:
    """A transport to a raw socket server."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    settings = DestinationSettings(url=url, allow_private=True, timeout=20_000)
    transport = HttpTransport("ledger", settings, [], SystemClock())
    try:
        yield transport
    finally:
        await transport.close()
        server.close()


async def send(transport: HttpTransport) -> Outcome:
    now = SystemClock().now()
    claim = MessageClaim(MessageId(uuid7(now)), 1, 1, 0, "ledger", "t", None, None, b"{}", now, None)
    [outcome] = await transport.send([claim])
    return outcome


async def a_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))


async def test_an_answer_that_nobody_asked_for_is_not_the_next_messages(
    caplog: pytest.LogCaptureFixture,
) -> None:
    requests = 0
    stray = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await a_request(reader)
            requests += 1
            writer.write(OK if requests == 1 else b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            if requests == 1:
                await asyncio.sleep(0.05)  # the answer is read, the connection is idle
                writer.write(OK)
                await writer.drain()
                stray.set()

    async with receiver(behave) as transport:
        assert await send(transport) == Delivered()
        await stray.wait()
        await asyncio.sleep(0.05)  # loopback has delivered it
        outcome = await send(transport)
    assert isinstance(outcome, Failed)
    assert outcome.failure.error_type == "HTTP 500"


async def test_interim_answers_without_end_are_broken_off() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await a_request(reader)
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
            await writer.drain()

    async with receiver(behave) as transport:
        outcome = await send(transport)
    assert isinstance(outcome, Failed)
    assert "Timeout" not in outcome.failure.error_type


async def test_a_good_connection_is_kept() -> None:
    connections = 0

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await a_request(reader)
            writer.write(OK)
            await writer.drain()

    async with receiver(behave) as transport:
        for _ in range(5):
            assert await send(transport) == Delivered()
    assert connections == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/x?y", "https://ledger.example.com./", "https://[::1]/"]
)
@pytest.mark.parametrize("tls", [True, ssl.create_default_context()])
async def test_connections_are_kept_under_the_key_that_aiohttp_would_use(
    url: str, tls: ssl.SSLContext | bool
) -> None:
    loop = asyncio.get_running_loop()
    usual = aiohttp.ClientRequest("POST", URL(url), loop=loop, ssl=tls)
    target = Target("POST", URL(url), loop=loop, ssl=tls)
    assert target.connection_key == usual.connection_key
    assert target.connection_key is target.connection_key
    assert usual.headers["host"] == URL(url).host_port_subcomponent


async def test_a_header_that_holds_the_end_of_a_line_is_never_sent() -> None:
    url = URL("http://127.0.0.1:9/")
    for value in ("a\r\nx-evil: 1", "a\nx", "a\rx", "a\0"):
        with pytest.raises(ValueError, match="the end of a line"):
            Wire(url, {"x": value}, allow_private=True, tls=True, connect_timeout=1, read_ahead=1)
