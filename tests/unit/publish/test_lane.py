"""What a lane claims, and when: by what the storage was asked for in real runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from aiohttp import web

from surehook.clock import ManualClock, Millis
from surehook.errors import Unavailable
from surehook.model import MessageClaim
from surehook.publish import Delivered, Outcome
from surehook.publish.lane import AHEAD, AHEAD_BYTES, Route
from surehook.publish.publisher import Publisher
from surehook.states import MessageState
from surehook.storage import Reader, Storage
from tests.contract.receivers import Receiver, Request
from tests.scenario.waiting import wait_until
from tests.unit.publish.scene import (
    POLICY,
    STILL,
    Flaky,
    Gate,
    publish,
    publishing,
    reached,
    reached_any,
    route,
)

#: More than a lane ever has of them.
MANY = 600


class QuickThenHanging:
    """Answers so many at once; the others wait for the gate."""

    def __init__(self, quick: int) -> None:
        self.gate = Gate()
        self.quick = quick
        self._left = quick

    async def __call__(self, request: Request) -> web.StreamResponse:
        if self._left == 0:
            return await self.gate(request)
        self._left -= 1
        return web.Response(status=204)


async def all_are(reader: Reader, state: str, count: int) -> None:
    async def look() -> bool:
        return (await reader.counts()).messages == {state: count}

    await wait_until(look, f"{count} messages that are {state}")


async def at_rest(reader: Reader, watched: Flaky, hanging: QuickThenHanging) -> None:
    """Wait until both slots hang, no claim goes on, and all that was sent is settled."""

    async def look() -> bool:
        sent = (await reader.counts()).messages.get("SENT")
        return sent == hanging.quick and hanging.gate.waiting == 2 and not watched.claiming

    await wait_until(look, "a lane at rest")


async def test_a_backlog_is_claimed_and_settled_in_batches(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    """Neither a claim for each slot that becomes free nor a commit for each message that is sent."""
    watched = Flaky(storage)
    await publish(storage, clock, *["ledger"] * MANY)
    async with publishing(watched, clock, route(receiver.url, clock, concurrency=10)):
        await all_are(reader, "SENT", MANY)
    assert sum(watched.claimed) == sum(watched.settled) == MANY
    assert len(watched.claimed) <= MANY / 20
    assert len(watched.settled) <= MANY / 10
    assert len(receiver.requests) == MANY


async def test_a_lone_message_costs_one_claim_and_one_commit(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    watched = Flaky(storage)
    async with publishing(watched, clock, route(receiver.url, clock)) as publisher:
        await wait_until(lambda: watched.claimed == [0], "the first look")
        [id] = await publish(storage, clock, "ledger")
        publisher.wake()
        await reached(reader, id, MessageState.SENT)
        await wait_until(lambda: publisher.in_flight == 0, "nothing in flight")
    assert watched.claimed == [0, 1]
    assert watched.settled == [1]


async def test_who_was_woken_without_a_free_slot_looks_when_there_is_one(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer = gate
    watched = Flaky(storage)
    [first] = await publish(storage, clock, "ledger")
    async with publishing(watched, clock, route(receiver.url, clock, concurrency=1)) as publisher:
        await wait_until(lambda: gate.waiting, "the delivery")
        await publisher.run_once("ledger")
        looks = len(watched.claimed)
        clock.advance(1)
        [second] = await publish(storage, clock, "ledger")
        await publisher.run_once("ledger")
        assert len(watched.claimed) == looks  # there was no slot to claim for
        gate.opened.set()
        await reached(reader, first, MessageState.SENT)
        await reached(reader, second, MessageState.SENT)


async def test_a_destination_that_begins_to_hang_holds_no_more_than_it_took_just_before(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    hanging = QuickThenHanging(40)
    receiver.answer = hanging
    watched = Flaky(storage)
    await publish(storage, clock, *["ledger"] * MANY)
    routes = [route(receiver.url, clock, concurrency=2)]
    publisher = Publisher(cast("Storage", watched), routes, clock, timing=STILL)
    publisher.start()
    await at_rest(reader, watched, hanging)
    held = publisher.in_flight
    assert 2 < held <= 2 + 40
    await publisher.heartbeat()
    clock.advance(1_000)
    await publisher.run_once("ledger")
    assert publisher.in_flight == held  # nothing ended lately: none is claimed for it
    await publisher.stop(50)
    assert (await reader.counts()).messages == {"SENT": 40, "PENDING": MANY - 40}
    rows = await storage.claim_messages("ledger", MANY, clock.now(), Millis(clock.now() + 1))
    assert {row.attempt for row in rows} == {1}  # none of what was given back was counted


async def test_the_hand_is_bounded(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    hanging = QuickThenHanging(2 * AHEAD)
    receiver.answer = hanging
    watched = Flaky(storage)
    await publish(storage, clock, *["ledger"] * 4 * AHEAD)
    async with publishing(watched, clock, route(receiver.url, clock, concurrency=2), drain=50) as publisher:
        await at_rest(reader, watched, hanging)
        assert publisher.in_flight <= 2 + AHEAD


async def test_large_bodies_are_not_claimed_ahead(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    watched = Flaky(storage)
    await publish(storage, clock, *["ledger"] * 9, body=b"x" * (AHEAD_BYTES // 2 + 1))
    async with publishing(watched, clock, route(receiver.url, clock, concurrency=2)):
        await all_are(reader, "SENT", 9)
    assert max(watched.claimed) <= 2 + 1


async def test_what_waits_in_hand_keeps_its_lease(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    hanging = QuickThenHanging(40)
    receiver.answer = hanging
    await publish(storage, clock, *["ledger"] * 100)
    async with publishing(storage, clock, route(receiver.url, clock, concurrency=2)) as publisher:
        await wait_until(lambda: hanging.gate.waiting == 2, "both slots to hang")
        for _ in range(5):
            clock.advance(20_000)
            await publisher.heartbeat()
            assert (await storage.rescue(clock.now(), poison_after=3)).messages == 0
        hanging.gate.opened.set()
        await all_are(reader, "SENT", 100)
    assert len(receiver.requests) == 100


async def test_what_lost_its_lease_in_hand_is_not_sent(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hanging = QuickThenHanging(40)
    receiver.answer = hanging
    watched = Flaky(storage)
    await publish(storage, clock, *["ledger"] * 100)
    async with publishing(watched, clock, route(receiver.url, clock, concurrency=2)) as publisher:
        await at_rest(reader, watched, hanging)
        in_hand = publisher.in_flight - 2
        assert in_hand > 0
        clock.advance(60_001)
        rescued = (await storage.rescue(clock.now(), poison_after=3)).messages
        await storage.claim_messages("ledger", 100, clock.now(), Millis(clock.now() + 60_000))
        await publisher.heartbeat()
        hanging.gate.opened.set()
        await wait_until(lambda: publisher.in_flight == 0, "the lane to be empty")
        assert rescued == in_hand + 2
        assert len(receiver.requests) == 40 + 2
    lost = [record for record in caplog.records if getattr(record, "event", "") == "publisher.lease_lost"]
    assert len(lost) == rescued


async def test_claims_go_on_when_settlements_that_the_database_refused_are_written(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    """All that may be held was sent by then: no sender is left to ask for more."""
    count = 4 * AHEAD
    flaky = Flaky(storage)
    flaky.errors["settle"] = [Unavailable("the disk is full")] * count
    await publish(storage, clock, *["ledger"] * count)
    async with publishing(flaky, clock, route(receiver.url, clock, concurrency=2)) as publisher:

        async def full() -> bool:
            return 2 * AHEAD < publisher.in_flight == len(receiver.requests)

        await wait_until(full, "as many unsettled messages as may be held")
        flaky.errors["settle"] = []
        await all_are(reader, "SENT", count)
    assert len(receiver.requests) == count


async def test_a_settlement_that_fails_for_its_own_reason_is_left_to_its_lease(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky = Flaky(storage)
    flaky.errors["settle"] = [RuntimeError("a bug")] * 2
    [id] = await publish(storage, clock, "ledger")
    async with publishing(flaky, clock, route(receiver.url, clock)) as publisher:
        await wait_until(lambda: flaky.refused, "the refusal")
        await wait_until(lambda: publisher.in_flight == 0, "it to be given up")
    assert (await reached_any(reader, id)).state is MessageState.SENDING
    assert any("could not be settled" in record.getMessage() for record in caplog.records)


async def test_a_stop_does_not_wait_for_ever_for_a_database_that_cannot(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("surehook.publish.publisher._GRACE", 0.1)
    flaky = Flaky(storage)
    flaky.errors["settle"] = [Unavailable("the disk is full")] * 1000
    [id] = await publish(storage, clock, "ledger")
    publisher = Publisher(cast("Storage", flaky), [route(receiver.url, clock)], clock, timing=STILL)
    publisher.start()
    await wait_until(lambda: flaky.refused, "the first refusal")
    await publisher.stop(1_000)
    refused = flaky.refused["settle"]
    await asyncio.sleep(0)
    assert flaky.refused["settle"] == refused
    assert (await reached_any(reader, id)).state is MessageState.SENDING


class Nonsense:
    """A transport whose outcomes are none."""

    batch = 1

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        return cast("list[Outcome]", ["sent"] * len(claims))

    async def close(self) -> None:
        """Nothing is held."""


async def test_an_outcome_that_is_none_ends_no_lane(
    storage: Storage, reader: Reader, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    ids = await publish(storage, clock, *["ledger"] * 5)
    async with publishing(storage, clock, Route("ledger", Nonsense(), POLICY, 1)) as publisher:

        async def tried_all() -> bool:
            return (await reader.counts()).messages == {"SENDING": len(ids)} and not publisher.in_flight

        await wait_until(tried_all, "all to be tried and left to their leases")
    assert any("could not be settled" in record.getMessage() for record in caplog.records)


class Cancelling:
    """A transport that is cancelled from inside, once."""

    batch = 1

    def __init__(self) -> None:
        self.calls = 0

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        self.calls += 1
        if self.calls == 1:
            raise asyncio.CancelledError
        return [Delivered()] * len(claims)

    async def close(self) -> None:
        """Nothing is held."""


async def test_a_cancellation_of_nobody_gives_the_message_back_and_ends_no_lane(
    storage: Storage, reader: Reader, clock: ManualClock
) -> None:
    transport: Any = Cancelling()
    await publish(storage, clock, *["ledger"] * 5)
    async with publishing(storage, clock, Route("ledger", transport, POLICY, 1)) as publisher:
        await wait_until(lambda: transport.calls >= 5 and not publisher.in_flight, "the first round")
        publisher.wake()
        await all_are(reader, "SENT", 5)
    assert transport.calls == 6
