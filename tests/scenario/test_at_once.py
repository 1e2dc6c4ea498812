"""The same webhook at the same moment, from many clients and at several processes: it is one event."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from tests.scenario.backends import Backend, on_postgres
from tests.scenario.parts import Part
from tests.scenario.supervised import Supervised
from tests.scenario.webhooks import Webhook, order, push
from tests.services import PostgresServer

CLIENTS = 100
IDS = 200
PAIRS = 50


class Client:
    """A connection that is kept, and requests that are written in one piece: nothing is between two of them."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    @property
    def local(self) -> Any:
        """Its own address."""
        return self._writer.get_extra_info("sockname")

    def begin(self, request: bytes) -> None:
        """Write a request."""
        self._writer.write(request)

    async def answer(self) -> tuple[int, Any]:
        """The status and the document of the answer to it."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *headers = head.decode().split("\r\n")
        [length] = [line.split(":")[1] for line in headers if line.lower().startswith("content-length:")]
        return int(status.split()[1]), msgspec.json.decode(await self._reader.readexactly(int(length)))


def written(webhook: Webhook) -> bytes:
    """The request of a webhook as it goes over the wire."""
    headers = {"Host": "surehook", "Content-Length": len(webhook.body), **webhook.headers()}
    lines = [
        f"POST /webhooks/{webhook.provider} HTTP/1.1",
        *(f"{k}: {v}" for k, v in headers.items()),
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + webhook.body


async def at_once(clients: Sequence[Client], *webhooks: Webhook) -> list[tuple[int, Any]]:
    """Each client sends one of the webhooks, in turn; the answers, in the order of the clients."""
    requests = [written(webhook) for webhook in webhooks]
    for number, client in enumerate(clients):
        client.begin(requests[number % len(requests)])
    return await asyncio.gather(*(client.answer() for client in clients))


@contextlib.asynccontextmanager
async def connected(*ports: int, count: int = CLIENTS) -> AsyncIterator[list[Client]]:
    """So many clients, with the ports in turn."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(ports[n % len(ports)])) for n in range(count)]


@pytest.fixture
def backend(postgres: PostgresServer) -> Iterator[Backend]:
    """An empty database."""
    with postgres.database() as url:
        yield on_postgres(url)


@pytest.fixture
async def ports(tmp_path: Path, backend: Backend) -> AsyncIterator[list[int]]:
    """Of two ingest processes."""
    parts = [Part(tmp_path / name, backend, "ingest") for name in ("one", "other")]
    try:
        for part in parts:
            await part.start()
        yield [part.port for part in parts]
        assert [await part.stop() for part in parts] == [0, 0]
    finally:
        for part in parts:
            await part.kill()
            sys.stdout.write(part.logs())


@pytest.fixture
async def shared(tmp_path: Path, backend: Backend) -> AsyncIterator[Supervised]:
    """Two ingest processes on one port."""
    part = Part(tmp_path / "shared", backend, "ingest")
    try:
        await part.supervise("--role=ingest", "--processes=2")
        yield part
        assert await part.stop() == 0
    finally:
        await part.kill_all()
        sys.stdout.write(part.logs())


async def test_the_same_webhook_from_100_clients_at_two_ports_is_one_event(
    ports: list[int], backend: Backend
) -> None:
    async with connected(*ports) as clients:
        await assert_each_is_stored_once(clients, backend)


async def test_the_same_webhook_from_100_clients_at_one_port_of_two_processes_is_one_event(
    shared: Supervised, backend: Backend
) -> None:
    async with connected(shared.port) as clients:
        await assert_each_is_stored_once(clients, backend)
        served = accepted_by(shared, clients)
    assert min(served) > 0, "one process took all connections, so the test has shown nothing"


async def test_the_same_body_under_two_ids_at_two_processes_runs_once(
    ports: list[int], backend: Backend
) -> None:
    """Nobody signs GitHub's ids: whoever has seen a delivery can send its body again under another one."""
    async with connected(*ports, count=2) as clients:
        for number in range(PAIRS):
            one, other = push(f"one-{number}"), push(f"other-{number}")
            answers = await at_once(clients, one, msgspec.structs.replace(other, body=one.body))
            assert [status for status, _ in answers] == [200, 200]

    rows = backend.database.rows("SELECT external_id, state, reason FROM inbox_events")
    states = Counter((row["external_id"].split("-")[1], row["state"], row["reason"]) for row in rows)
    assert states == Counter(
        [(str(n), *end) for n in range(PAIRS) for end in (("RECEIVED", None), ("DEAD", "REPLAY_SUSPECT"))]
    )
    first = Counter(row["external_id"].split("-")[0] for row in rows if row["state"] == "RECEIVED")
    sys.stdout.write(f"first came: {first}\n")


async def assert_each_is_stored_once(clients: Sequence[Client], backend: Backend) -> None:
    """All ids, one after the other, from all clients at once."""
    first: dict[str, str] = {}
    for number in range(IDS):
        id = f"o-{number}"
        answers = await at_once(clients, order(id))
        assert {status for status, _ in answers} == {200}
        events = [event for _, document in answers for event in document["events"]]
        assert len(events) == CLIENTS
        [first[id]] = {event["id"] for event in events}
        assert sum(not event["duplicate"] for event in events) == 1

    rows = backend.database.rows("SELECT external_id, state, duplicates FROM inbox_events")
    assert {row["external_id"]: (row["state"], row["duplicates"]) for row in rows} == dict.fromkeys(
        first, ("RECEIVED", CLIENTS - 1)
    )
    assert len(rows) == IDS
    assert backend.database.value("SELECT count(*) FROM inbox_payloads") == IDS


def accepted_by(server: Supervised, clients: Sequence[Client]) -> list[int]:
    """How many of the clients each process serves."""
    locals = {client.local for client in clients}
    return [
        sum(each.raddr in locals for each in child.net_connections("tcp") if each.raddr)
        for child in server.children()
    ]
