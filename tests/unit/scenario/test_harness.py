"""The parties of the scenarios tell the truth: what they log, wait for and write down is what is."""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from standardwebhooks import Webhook as Signer

from surehook.clock import SystemClock
from tests.scenario.history import Request, digest, read_lines
from tests.scenario.installation import free_ports, merged, toml
from tests.scenario.receiver import HANG, SECRET, Receiver
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import order

BODY = b'{"type":"order.recorded"}'


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with Receiver("ledger", tmp_path / "ledger.log") as receiver:
        yield receiver


async def test_receiver_accepts_what_the_official_library_signs(receiver: Receiver) -> None:
    assert await deliver(receiver, "msg_1", BODY) == 204
    (delivery,) = receiver.deliveries()
    assert [delivery.id, delivery.sha256, delivery.verified] == ["msg_1", digest(BODY), True]
    assert delivery.arrived


async def test_receiver_refuses_what_is_forged(receiver: Receiver) -> None:
    assert await deliver(receiver, "msg_1", BODY, sent=BODY + b" ") == 401
    (delivery,) = receiver.deliveries()
    assert [delivery.verified, delivery.arrived] == [False, False]


async def test_receiver_follows_its_script(receiver: Receiver) -> None:
    receiver.script.extend([500, 410])
    assert [await deliver(receiver, "msg_1", BODY) for _ in range(3)] == [500, 410, 204]
    assert [delivery.arrived for delivery in receiver.deliveries()] == [False, False, True]


async def test_receiver_hangs_when_told_to(receiver: Receiver) -> None:
    receiver.script.append(HANG)
    hanging = asyncio.create_task(deliver(receiver, "msg_1", BODY))
    await wait_until(receiver.deliveries, "it has the delivery")
    assert await deliver(receiver, "msg_2", BODY) == 204
    assert not hanging.done()
    hanging.cancel()
    assert [delivery.status for delivery in receiver.deliveries()] == [None, 204]


async def test_sender_notes_that_no_answer_came(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    journal = tmp_path / "journal.jsonl"
    webhook = order("o-1")
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Sender(f"http://127.0.0.1:{port}", journal) as sender:
            assert (await sender.post(webhook)).status is None
    assert read_lines(journal, Request) == [Request("acme", "o-1", digest(webhook.body), None)]


async def test_sender_notes_nothing_that_was_not_sent(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with Sender(f"http://127.0.0.1:{port}", tmp_path / "journal.jsonl") as sender:
        assert (await sender.post(order("o-1"))).status is None
    assert read_lines(sender.journal, Request) == []


async def test_waiting_ends_at_its_deadline() -> None:
    with pytest.raises(AssertionError, match="still not: pigs fly"):
        await wait_until(lambda: False, "pigs fly", within=0.05)


async def test_waiting_gives_the_value_it_waited_for() -> None:
    values = iter([0, 0, 7])
    assert await wait_until(lambda: next(values), "a value comes") == 7


def test_settings_survive_their_file() -> None:
    old = {
        "app": "a:b",
        "handlers": {"retries": ["1s"], "lease": "2s"},
        "providers": {"acme": {"pack": "hmac"}},
    }
    new = merged(old, {"handlers": {"lease": "3s"}, "providers": {"stripe": {"secrets": ["env:S"]}}})
    assert tomllib.loads(toml(new)) == {
        "app": "a:b",
        "handlers": {"retries": ["1s"], "lease": "3s"},
        "providers": {"acme": {"pack": "hmac"}, "stripe": {"secrets": ["env:S"]}},
    }


async def deliver(receiver: Receiver, id: str, signed: bytes, *, sent: bytes | None = None) -> int:
    """Deliver as a sender of Standard Webhooks does; returns the status."""
    at = datetime.fromtimestamp(SystemClock().now() // 1000, UTC)
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(SECRET).sign(id, at, signed.decode()),
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(receiver.url, data=sent or signed, headers=headers) as answer,
    ):
        return answer.status
