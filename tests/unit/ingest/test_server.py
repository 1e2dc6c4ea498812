"""Binding, several ports in one loop, and stopping."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.unit.ingest.http_support import PATIENCE, Client, Sites, get, head, post, until

from surehook.config import ServerSettings
from surehook.errors import ConfigurationError
from surehook.ingest.health import HealthApp, Readiness
from surehook.ingest.listening import Address
from surehook.ingest.server import Server

BODY = b'{"id":"1"}'


def health(port: int = 0, section: str = "server", host: str = "127.0.0.1") -> Server:
    return Server(HealthApp(Readiness({})), Address(host, port, section), ServerSettings())


async def test_a_port_in_use_is_told_with_the_setting_to_change(sites: Sites) -> None:
    site = await sites.site()
    with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{site.port} is in use.*SUREHOOK_CONSOLE__PORT"):
        await health(site.port, "console").start()


async def test_a_host_that_is_not_here_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0.*\[server\]"):
        await health(host="192.0.2.1").start()


async def test_several_ports_run_in_one_loop_and_stop_on_their_own(sites: Sites) -> None:
    site = await sites.site()
    console = await sites.run(health())
    assert site.port != console.port
    assert await console.drain(5000)
    assert (await site.ask(get("/livez"))).status == 200
    with pytest.raises(ConnectionRefusedError):
        await Client.to(console.port)


async def test_the_date_is_sent_and_the_server_is_not_named(sites: Sites) -> None:
    reply = await (await sites.site()).ask(get("/livez"))
    assert "date" in reply.headers
    assert "server" not in reply.headers


async def test_a_drain_answers_what_is_on_its_way_and_takes_nothing_new(sites: Sites) -> None:
    site = await sites.site()
    idle, half_head, half_body, waiting = [await site.connect() for _ in range(4)]
    request = post(BODY)
    async with idle, half_head, half_body, waiting:
        site.shelf.open.clear()
        waiting.send(request)
        half_head.send(request[:20])
        half_body.send(request[:-5])
        await until(lambda: site.shelf.waiting == 1 and site.server.connections == 4)
        await until(lambda: site.intake.bytes_in_flight == 2 * len(BODY) - 5)

        drain = asyncio.create_task(site.server.drain(10_000))
        assert await idle.closed() == b""
        with pytest.raises(ConnectionRefusedError):
            await site.connect()
        half_head.send(request[20:])
        half_body.send(request[-5:])
        await until(lambda: site.shelf.waiting == 3)
        site.shelf.open.set()
        for client in (waiting, half_head, half_body):
            [reply] = await client.rest()
            assert (reply.status, reply.closes) == (200, True)
        assert await drain


async def test_a_late_request_on_a_kept_connection_is_answered_and_the_last(sites: Sites) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(post(BODY))
        assert not (await client.reply()).closes
        drain = asyncio.create_task(site.server.drain(10_000))
        await asyncio.sleep(0)
        client.send(post(BODY))
        [reply] = await client.rest()
        assert (reply.status, reply.closes) == (200, True)
        assert await drain


async def test_a_drain_ends_when_its_time_is_over(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    site = await sites.site(ack_timeout=100)
    async with await site.connect() as client:
        client.send(head("Content-Length: 10") + b"half")
        await until(lambda: site.intake.bytes_in_flight == 4)
        assert not await site.server.drain(50)
        assert await client.closed() == b""
    assert "closed before they were answered" in caplog.text
    await until(lambda: site.intake.bytes_in_flight == 0)


async def test_close_closes_at_once_and_the_commit_goes_on(sites: Sites) -> None:
    site = await sites.site()
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(BODY))
        await until(lambda: site.shelf.waiting == 1)
        site.server.close()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.reply()
    site.shelf.open.set()
    await until(lambda: len(site.shelf.arrivals) == 1)


async def test_the_port_can_be_had_again_after_a_close(sites: Sites) -> None:
    site = await sites.site()
    assert (await site.ask(get("/livez"))).status == 200
    site.server.close()
    again = await sites.run(health(site.port))
    assert again.port == site.port


def test_it_runs_on_the_loop_of_the_standard_library_too() -> None:
    def ask(port: int, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
            client.sendall(data)
            return client.recv(65536)

    async def main() -> list[bytes]:
        server = health()
        await server.start()
        asks = [get("/livez"), b"garbage\r\n\r\n", get("/livez", "Transfer-Encoding: x")]
        answers = [await asyncio.to_thread(ask, server.port, data) for data in asks]
        assert await server.drain(10_000)
        return answers

    answers = asyncio.run(main())
    assert [answer.split(b" ")[1] for answer in answers] == [b"200", b"400", b"400"]
