"""Queues as several processes would have them, each linked to the same server, and a line that can go dead."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from surehook.clock import SystemClock
from surehook.ids import EventId, uuid7
from surehook.queue import Queue
from tests.scenario.waiting import wait_until

#: How long an answer may take on a busy machine, in seconds. No test waits for it unless it fails.
AMPLE = 30.0

_prefixes = (f"site{number}" for number in itertools.count())


def unique_prefix() -> str:
    """Tests share servers; their queues do not meet."""
    return next(_prefixes)


def ids(count: int) -> list[EventId]:
    """So many new ids."""
    return [EventId(uuid7(SystemClock().now())) for _ in range(count)]


@dataclass
class Site:
    """An installation: every queue that is opened here stands for one more process of it."""

    make: Callable[[], Queue]
    #: Whether announcements reach other processes.
    across: bool
    #: Whether ``next`` names ids.
    names: bool
    queues: list[Queue] = field(default_factory=list)

    async def start(self) -> tuple[Queue, list[frozenset[str]]]:
        """A started queue, and what it tells publishers."""
        queue, heard = self.make(), list[frozenset[str]]()
        queue.on_messages(heard.append)
        self.queues.append(queue)
        await queue.start()
        return queue, heard

    async def linked(self) -> tuple[Queue, list[frozenset[str]]]:
        """As ``start``, when it is connected; what it told publishers then is left out."""
        queue, heard = await self.start()
        if self.across:
            await wait_until(lambda: frozenset[str]() in heard, "the queue listens", within=AMPLE)
            await queue.next(1, 0)  # uses up the wake-up that a new link brings
            heard.clear()
        return queue, heard

    async def close(self) -> None:
        """Close them all."""
        for queue in self.queues:
            async with asyncio.timeout(AMPLE):
                await queue.close()


async def ended(call: asyncio.Task[Sequence[EventId] | None]) -> Sequence[EventId] | None:
    """What the call answers. It has been given far longer than this, so it ends for another reason than its wait."""
    async with asyncio.timeout(AMPLE):
        return await call


async def collect(queue: Queue, count: int) -> list[EventId]:
    """Take ids until so many have come."""
    found: list[EventId] = []
    async with asyncio.timeout(AMPLE):
        while len(found) < count:
            found += await queue.next(100, 1.0) or ()
    return found


async def reaches(sender: Queue, receiver: Queue, names: bool) -> None:
    """Wait until what one announces wakes the other."""
    announced: set[EventId] = set()
    call = asyncio.create_task(_first_of(receiver, announced) if names else receiver.next(100, 3_600))

    def arrived() -> bool:
        fresh = ids(1)
        announced.update(fresh)
        sender.announce(fresh)
        return call.done()

    await wait_until(arrived, "an announcement arrives", within=AMPLE)
    assert not call.exception()


async def _first_of(queue: Queue, wanted: set[EventId]) -> None:
    """Take ids until one of these comes; there may be others from before."""
    while wanted.isdisjoint(await queue.next(100, 1.0) or ()):
        pass


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """What was logged under this name."""
    return [record.getMessage() for record in caplog.records if getattr(record, "event", "") == event]


def told_more_than_info(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings and worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@dataclass
class Relay:
    """Passes bytes on to a server, until it is told to swallow them without closing anything."""

    port: int = 0
    opened: int = 0
    _target: int = 0
    _silent: set[asyncio.StreamWriter] = field(default_factory=set)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def go_dead(self) -> None:
        """Nothing passes through the present connections any more; new ones work."""
        self._silent |= self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, back}
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if writer not in self._silent:
                    writer.write(data)
        self._open.discard(writer)
        writer.close()


@asynccontextmanager
async def relay(target: int) -> AsyncIterator[Relay]:
    """A line to the server on this port of 127.0.0.1."""
    line = Relay(_target=target)
    server = await asyncio.start_server(line._serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for writer in list(line._open):
            writer.close()
