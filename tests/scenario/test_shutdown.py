"""The end of the process: what was begun is finished or given back, and a start that cannot work says why."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.scenario.backends import SQLITE_ONLY
from tests.scenario.installation import SHORT_LEASE, Installation
from tests.scenario.scene import Scene, installation
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order

HANDLERS = ["order.held", "order.held_in_thread"]


async def test_sigterm_answers_the_requests_in_flight(scene: Scene) -> None:
    server = scene.server
    await server.start()
    webhook = order("o-1")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [
        "POST /webhooks/acme HTTP/1.1",
        "Host: scenario",
        f"Content-Length: {len(webhook.body)}",
        "Expect: 100-continue",
        *(f"{name}: {value}" for name, value in webhook.headers().items()),
    ]
    writer.write("\r\n".join([*lines, "\r\n"]).encode() + webhook.body[:10])
    assert b" 100 " in await reader.readline()  # so it is being read
    server.signal(signal.SIGTERM)
    await wait_until(lambda: refuses(server), "no new connection is taken")
    writer.write(webhook.body[10:])
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"HTTP/1.1 200" in answer
    assert await server.ended() == 0
    assert server.database.event("o-1") != {}


@pytest.mark.parametrize("event", HANDLERS)
async def test_sigterm_lets_a_running_handler_finish(scene: Scene, event: str) -> None:
    server = scene.server
    await hold(scene, event, "before")
    server.signal(signal.SIGTERM)
    await wait_until(lambda: refuses(server), "no new connection is taken")
    server.touch("gate")

    assert await server.ended() == 0
    row = server.database.event("o-1")
    assert [row["state"], row["attempts"]] == ["PROCESSED", 1]
    await server.start()
    await server.settled()
    assert await server.stop() == 0
    assert scene.violations() == []


@pytest.mark.parametrize("hold_", ["before", "inside"])
@pytest.mark.parametrize("event", HANDLERS)
async def test_sigterm_gives_back_what_does_not_finish(scene: Scene, event: str, hold_: str) -> None:
    server = scene.server
    server.configure(server={"drain_timeout": "200ms"}, handlers={"transaction_budget": "20s", "lease": "1m"})
    await hold(scene, event, hold_)
    assert await server.stop() == 0

    row = server.database.event("o-1")
    assert [row["state"], row["attempts"], row["lost_leases"]] == ["RECEIVED", 0, 0]
    assert server.database.effects("o-1") == 0
    server.touch("gate")
    await server.start()
    assert (await server.in_state("o-1", "PROCESSED"))["attempts"] == 1
    await server.settled()
    assert await server.stop() == 0
    assert scene.violations() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("event", HANDLERS)
async def test_second_signal_stops_at_once(scene: Scene, event: str, number: signal.Signals) -> None:
    server = scene.server
    server.configure(handlers=SHORT_LEASE)
    await hold(scene, event, "before")
    server.signal(number)
    await wait_until(lambda: refuses(server), "no new connection is taken")
    assert server.running.returncode is None
    server.signal(number)
    await server.ended(within=3)

    server.touch("gate")
    await server.start()
    await server.settled()
    assert await server.stop() == 0
    assert scene.violations() == []


@SQLITE_ONLY
async def test_port_in_use_is_a_clear_error(scene: Scene, tmp_path: Path) -> None:
    await scene.server.start()
    second = installation(tmp_path / "second")
    second.configure(server={"port": scene.server.port})
    finished = await second.command("run")

    assert finished.code == 2
    assert str(scene.server.port) in finished.err
    assert "in use" in finished.err
    assert "Traceback" not in finished.err + finished.out
    assert await scene.server.status("/readyz") == 200


async def hold(scene: Scene, event: str, where: str) -> None:
    """Start, and have one handler stopped within its work."""
    await scene.server.start()
    await scene.sender.post(order("o-1", event, hold=where))
    await wait_until(lambda: scene.server.notes("held"), "the handler is within its work")


async def refuses(server: Installation) -> bool:
    """Whether nobody listens any more."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    await writer.wait_closed()
    return False
