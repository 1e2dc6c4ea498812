"""What the tests of the publisher share: destinations, messages, and receivers that wait or fail when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from surehook.clock import ManualClock, Millis
from surehook.config import DestinationSettings
from surehook.ids import MessageId
from surehook.model import MessageClaim, MessageRow, MessageSettlement
from surehook.publish.http import HttpTransport
from surehook.publish.lane import Route, Timing
from surehook.publish.publisher import Publisher
from surehook.retry import RetryPolicy
from surehook.states import EventState, MessageState
from surehook.storage import Reader, Storage
from tests.builders import arrival, message, settlement
from tests.contract.receivers import Receiver, Request
from tests.scenario.waiting import wait_until

POLICY = RetryPolicy((5_000, 60_000), jitter=0)
#: Neither the poll nor the heartbeat happens by itself: what is seen was woken.
STILL = Timing(lease=60_000, heartbeat=3_600_000, poll=3_600_000)


def route(url: str, clock: ManualClock, name: str = "ledger", concurrency: int = 10) -> Route:
    settings = DestinationSettings(url=url, allow_private=True, timeout=30_000)
    return Route(name, HttpTransport(name, settings, [], clock), POLICY, concurrency)


@asynccontextmanager
async def publishing(
    storage: Storage, clock: ManualClock, *routes: Route, timing: Timing = STILL, drain: int = 5_000
) -> AsyncIterator[Publisher]:
    publisher = Publisher(storage, routes, clock, worker="here", timing=timing)
    publisher.start()
    try:
        yield publisher
    finally:
        await publisher.stop(drain)


async def publish(
    storage: Storage, clock: ManualClock, *destinations: str, body: bytes = b"{}"
) -> list[MessageId]:
    """Messages of one event, as its handler's completion writes them."""
    now = clock.now()
    await storage.accept([arrival(external_id=f"evt_{now}", now=now)])
    [claim] = await storage.claim(1, now, Millis(now + 60_000))
    messages = tuple(message(name, now, body=body) for name in destinations)
    assert await storage.settle([settlement(claim, EventState.PROCESSED, now, messages=messages)]) == [True]
    return [message.id for message in messages]


async def reached(reader: Reader, id: MessageId, state: MessageState) -> MessageRow:
    """Wait for a message's state."""

    async def look() -> MessageRow | None:
        row = await reader.message(id)
        return row if row and row.state is state else None

    found = await wait_until(look, f"a message that is {state}")
    assert found is not None
    return found


async def reached_any(reader: Reader, id: MessageId) -> MessageRow:
    row = await reader.message(id)
    assert row is not None
    return row


async def tried(publisher: Publisher, receiver: Receiver, times: int) -> None:
    """Wait until the receiver has had so many requests and their ends are settled."""
    await wait_until(
        lambda: len(receiver.requests) == times and publisher.in_flight == 0, f"{times} tries to end"
    )


class Gate:
    """A receiver's answer that waits until it is opened."""

    def __init__(self, status: int = 204) -> None:
        self.status = status
        self.opened = asyncio.Event()
        self.waiting = 0
        self.most = 0

    async def __call__(self, _: Request) -> web.StreamResponse:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1
        return web.Response(status=self.status)


class Statuses:
    """Answers in turn, the last one for ever."""

    def __init__(self, *statuses: int, **headers: str) -> None:
        self._statuses = list(statuses)
        self._headers = headers

    async def __call__(self, _: Request) -> web.StreamResponse:
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        named = {name.replace("_", "-"): value for name, value in self._headers.items()}
        return web.Response(status=status, headers=named)


class Flaky:
    """The real storage, of which some calls are refused; how many rows the others had is kept."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.errors: dict[str, list[Exception]] = {}
        self.refused: dict[str, int] = {}
        self.claiming = 0
        self.claimed: list[int] = []
        self.settled: list[int] = []

    def _refuse(self, verb: str) -> None:
        if self.errors.get(verb):
            self.refused[verb] = self.refused.get(verb, 0) + 1
            raise self.errors[verb].pop(0)

    async def claim_messages(
        self, destination: str, limit: int, now: Millis, lease_until: Millis
    ) -> list[MessageClaim]:
        self._refuse("claim")
        self.claiming += 1
        claims = await self._storage.claim_messages(destination, limit, now, lease_until)
        self.claiming -= 1
        self.claimed.append(len(claims))
        return claims

    async def settle_messages(self, settlements: Sequence[MessageSettlement]) -> list[bool]:
        self._refuse("settle")
        self.settled.append(len(settlements))
        return await self._storage.settle_messages(settlements)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
