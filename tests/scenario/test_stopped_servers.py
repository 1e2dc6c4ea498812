"""Servers that stand still or are gone for a while: ingest says so in time, nothing is lost, and all go on by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from tests.scenario.backends import Backend, on_postgres
from tests.scenario.checker import check
from tests.scenario.history import read_history
from tests.scenario.parts import Part
from tests.scenario.receiver import SECRET, Receiver
from tests.scenario.scene import destination
from tests.scenario.sender import Sender
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import EXPECTED, Webhook, order
from tests.services import PostgresServer, RedisServer

#: The default of ``server.ack_timeout``, and of the checks behind ``/readyz``, in seconds.
ACK_TIMEOUT, CHECK_DEADLINE = 2.5, 2.0
#: What a busy machine may add to a time that is kept, in seconds.
SLACK = 1.5
#: How long PostgreSQL is away, in seconds: longer than every timeout, and so long that tries to connect with pauses that
#: double would be far apart.
OUTAGE = 17.0
#: How soon after the server's return all must be as before, in seconds.
RECOVERY = 6.0
#: Handlers do not fail because the database is away for longer than their retries.
PATIENT: dict[str, Any] = {
    "handlers": {"retries": ["200ms"] * 100, "poison_after": 1000},
    # longer than the sender keeps its connections, so that none is closed under a request
    "server": {"keep_alive": "1m"},
}


class Party:
    """A process of each role, a receiver and a sender."""

    def __init__(self, folder: Path, backend: Backend, receiver: Receiver, **settings: Any) -> None:
        self.parts = [
            Part(folder / role, backend, role, environment={"RECEIVER_SECRET": SECRET})
            for role in ("ingest", "worker", "publisher")
        ]
        for part in self.parts:
            part.configure(**PATIENT, destinations={receiver.name: destination(receiver)})
            part.configure(destinations={receiver.name: {"retries": ["200ms"] * 100}}, **settings)
        self.ingest, self.worker, self.publisher = self.parts
        self.database = backend.database
        self.receiver = receiver
        self.sender = Sender(self.ingest.url, folder / "journal.jsonl")

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(part.start() for part in self.parts))
        await self.sender.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.sender.__aexit__(*error)
        for part in self.parts:
            await part.kill()
            sys.stdout.write(part.logs())

    async def rest(self, seconds: float) -> None:
        """Wait until everything is processed and delivered; nothing is wrong with it, and no process was replaced."""
        await wait_until(
            lambda: self.database.unfinished() == 0, "all is finished", within=seconds, pause=0.1
        )
        history = read_history(self.database, [self.sender.journal], [self.receiver.log])
        assert check(history, EXPECTED) == []
        assert [part.running.returncode for part in self.parts] == [None] * len(self.parts)

    async def end(self) -> None:
        assert [await part.stop() for part in self.parts] == [0] * len(self.parts)


class Probe:
    """Asks for ``/livez`` and ``/readyz`` again and again, and notes how it was answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        #: Status and seconds, by path.
        self.seen: dict[str, list[tuple[int, float]]] = {"/livez": [], "/readyz": []}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Inside the ``with``."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            tasks = [asyncio.create_task(self._ask(session, path)) for path in self.seen]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                for ended in await asyncio.gather(*tasks, return_exceptions=True):
                    if not isinstance(ended, asyncio.CancelledError):
                        raise AssertionError("a probe has failed") from ended

    async def _ask(self, session: aiohttp.ClientSession, path: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            async with session.get(self._url + path) as answer:
                await answer.read()
            self.seen[path].append((answer.status, loop.time() - started))
            await asyncio.sleep(0.1)  # not to wait for anything: it is how often one asks


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """One of its own: it is stopped."""
    with PostgresServer(in_memory=True) as server:
        yield server


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with Receiver("ledger", tmp_path / "ledger.log") as receiver:
        yield receiver


@pytest.mark.parametrize("outage", ["paused", "stopped"])
async def test_ingest_says_503_in_time_without_postgresql_and_recovers(
    tmp_path: Path, postgres: PostgresServer, ledger: Receiver, outage: str
) -> None:
    backend = on_postgres(postgres.url(postgres.create_database()))
    async with Party(tmp_path, backend, ledger) as party:
        await accepted(party, orders("before"))
        await party.rest(20)
        in_work = [order(f"held-{place}", "order.held", hold=place) for place in ("before", "inside")]
        await accepted(party, in_work)
        await wait_until(lambda: len(party.worker.notes("held")) == 2, "handlers are within their work")

        async with away(postgres, outage):
            refused = await refused_in_time(party)
            party.worker.touch("gate")
        async with asyncio.timeout(RECOVERY):
            await asyncio.gather(*(party.sender.deliver(each) for each in refused))
        await wait_until(party.ingest.ready, "/readyz says 200", within=RECOVERY)
        await party.rest(15)
        await party.end()


async def refused_in_time(party: Party) -> list[Webhook]:
    """What was posted during the outage, and refused as it should be; meanwhile somebody asks how it is."""
    loop = asyncio.get_running_loop()
    until = loop.time() + OUTAGE
    refused: list[Webhook] = []
    async with Probe(party.ingest.url).running() as probe:
        while loop.time() < until:
            webhooks = orders(f"refused-{len(refused)}")
            answers = await party.sender.post_all(webhooks)
            assert {answer.status for answer in answers} == {503}
            assert max(answer.seconds for answer in answers) < ACK_TIMEOUT + SLACK
            refused += webhooks
            await asyncio.sleep(0.5)  # not to wait for anything: providers pause as well
    assert {status for status, _ in probe.seen["/livez"]} == {200}
    assert max(seconds for _, seconds in probe.seen["/livez"]) < SLACK
    assert {status for status, _ in probe.seen["/readyz"]} == {503}
    assert max(seconds for _, seconds in probe.seen["/readyz"]) < CHECK_DEADLINE + SLACK
    return refused


async def test_redis_that_stands_still_delays_and_nothing_else(
    tmp_path: Path, postgres: PostgresServer, ledger: Receiver
) -> None:
    """Polls find the work as long as Redis hangs; they are slow here, so that it shows when hints come again."""
    poll = 3.0
    with RedisServer() as redis:
        backend = on_postgres(postgres.url(postgres.create_database()), redis)
        slow = {"handlers": {**PATIENT["handlers"], "poll": f"{poll:g}s", "sweep": "1s"}}
        async with Party(tmp_path, backend, ledger, **slow) as party:
            await promptly_delivered(party, "before", poll)
            with redis.paused():
                for wave in range(3):
                    answers = await party.sender.post_all(orders(f"hanging-{wave}"))
                    assert {answer.status for answer in answers} == {200}
                    assert max(answer.seconds for answer in answers) < SLACK
                    await party.rest(3 * poll + 5)
                failing = [part.folder.name for part in party.parts if not part.lines("queue.failing")]
                assert failing == [], "they have not noticed"
            await wait_until(
                lambda: all(part.lines("queue.recovered") for part in party.parts), "Redis is used again"
            )
            await promptly_delivered(party, "after", poll)
            await party.end()


async def promptly_delivered(party: Party, name: str, poll: float) -> None:
    """One after the other goes all the way, each faster than polls could find it: two of them are on the way."""
    loop = asyncio.get_running_loop()
    seconds = []
    count = party.receiver.count
    for number in range(1, 11):
        started = loop.time()
        await accepted(party, [order(f"{name}-{number}")])
        await delivered(party, count + number)
        seconds.append(loop.time() - started)
    assert sorted(seconds)[len(seconds) // 2] < poll / 4, seconds


async def delivered(party: Party, count: int) -> None:
    await wait_until(lambda: party.receiver.count >= count, f"{count} messages are delivered")


@asynccontextmanager
async def away(server: PostgresServer, how: str) -> AsyncIterator[None]:
    """Without the server inside the ``with``."""
    with contextlib.ExitStack() as stack:
        if how == "paused":
            stack.enter_context(server.paused())
        else:
            server.stop("immediate")
        yield
    if how == "stopped":
        await asyncio.to_thread(server.start)


async def accepted(party: Party, webhooks: list[Webhook]) -> None:
    answers = await party.sender.post_all(webhooks)
    assert {answer.status for answer in answers} == {200}


def orders(name: str) -> list[Webhook]:
    """Ten, with and without a transaction, on the loop and in threads."""
    kinds = ("order.paid", "order.packed", "order.seen", "order.filed")
    return [order(f"{name}-{number}", kinds[number % len(kinds)]) for number in range(10)]
