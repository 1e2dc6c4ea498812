"""The publisher over the real storage and real HTTP receivers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from surehook.clock import ManualClock, Millis
from surehook.errors import Unavailable
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.model import MessageClaim, RowFilter
from surehook.publish import Delivered, Outcome
from surehook.publish.lane import Route, Timing
from surehook.publish.publisher import Publisher
from surehook.states import MessageState, Reason
from surehook.storage import Reader, Storage
from surehook.telemetry import current_context
from tests.builders import action
from tests.contract.receivers import Receiver, receiving
from tests.scenario.waiting import wait_until
from tests.unit.publish.scene import (
    POLICY,
    STILL,
    Flaky,
    Gate,
    Statuses,
    publish,
    publishing,
    reached,
    reached_any,
    route,
    tried,
)


class Contexts(logging.Handler):
    """Keeps the context of each line, with its message and event."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        self.lines.append({**current_context(), "message": record.getMessage(), "event": event})


async def test_a_message_is_delivered_once_and_sent(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        row = await reached(reader, id, MessageState.SENT)
        await wait_until(lambda: publisher.in_flight == 0, "nothing in flight")
    assert row.attempts == 1
    assert row.finished_at == clock.now()
    [request] = receiver.requests
    assert request.header("webhook-id") == typeid(MESSAGE_PREFIX, id)
    assert request.body == await reader.message_body(id)


async def test_waking_delivers_what_was_committed_since(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        [first] = await publish(storage, clock, "ledger")
        publisher.wake(frozenset({"ledger", "unknown"}))
        await reached(reader, first, MessageState.SENT)
        clock.advance(1)
        [second] = await publish(storage, clock, "ledger")
        publisher.wake()
        await reached(reader, second, MessageState.SENT)


async def test_without_being_woken_the_poll_finds_it(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    async with publishing(storage, clock, route(receiver.url, clock), timing=Timing(poll=10)):
        [id] = await publish(storage, clock, "ledger")
        await reached(reader, id, MessageState.SENT)


async def test_a_failed_delivery_is_retried_under_the_same_id_when_it_is_due(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    receiver.answer = Statuses(503, 204)
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        row = await reached(reader, id, MessageState.RETRYING)
        assert row.due_at == clock.now() + 5_000
        clock.advance(4_999)
        await publisher.run_once("ledger")
        assert len(receiver.requests) == 1
        clock.advance(1)
        publisher.wake(["ledger"])
        row = await reached(reader, id, MessageState.SENT)
    assert row.attempts == 2
    assert len({request.header("webhook-id") for request in receiver.requests}) == 1
    [kept] = await reader.failures(id)
    assert (kept.attempt, kept.failure.error_type, kept.failure.status) == (1, "HTTP 503", 503)
    assert kept.failure.worker == "here"


async def test_a_longer_wait_is_granted_to_the_destination_that_asks_for_it(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    receiver.answer = Statuses(429, retry_after="120")
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)):
        row = await reached(reader, id, MessageState.RETRYING)
    assert row.due_at == clock.now() + 120_000


async def test_a_message_whose_attempts_are_used_up_is_dead_and_can_be_replayed(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    receiver.answer = Statuses(500, 500, 500, 204)
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        for tries, wait in enumerate(POLICY.delays, start=1):
            await tried(publisher, receiver, tries)
            assert (await reached_any(reader, id)).state is MessageState.RETRYING
            clock.advance(wait)
            publisher.wake()
        row = await reached(reader, id, MessageState.DEAD)
        assert (row.reason, row.attempts) == (Reason.EXHAUSTED, 3)
        assert len(await reader.failures(id)) == 3
        await storage.replay_messages([id], action(clock.now()))
        publisher.wake()
        await reached(reader, id, MessageState.SENT)
    assert len({request.header("webhook-id") for request in receiver.requests}) == 1


async def test_410_is_dead_at_once(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    receiver.answer = Statuses(410)
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)):
        row = await reached(reader, id, MessageState.DEAD)
    assert (row.reason, row.attempts) == (Reason.REJECTED, 1)


async def test_no_more_is_sent_at_once_than_the_destination_allows(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer = gate
    ids = await publish(storage, clock, *["ledger"] * 9)
    async with publishing(storage, clock, route(receiver.url, clock, concurrency=3)) as publisher:
        await wait_until(lambda: gate.waiting == 3, "three deliveries at once")
        await publisher.run_once("ledger")
        assert (await reader.counts()).messages == {"SENDING": 3, "PENDING": 6}
        gate.opened.set()
        for id in ids:
            await reached(reader, id, MessageState.SENT)
    assert gate.most == 3
    assert len(receiver.requests) == 9


async def test_a_destination_that_hangs_does_not_hold_up_another(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    async with receiving() as hanging:
        hanging.answer = gate
        ids = await publish(storage, clock, *["slow"] * 10, *["ledger"] * 10)
        routes = (route(hanging.url, clock, "slow", 2), route(receiver.url, clock, "ledger", 2))
        async with publishing(storage, clock, *routes):
            await wait_until(lambda: gate.waiting == 2, "the slow destination to be busy")
            for id in ids[10:]:
                await reached(reader, id, MessageState.SENT)
            assert len(hanging.requests) == 2
            gate.opened.set()


async def test_leases_are_prolonged_while_a_message_is_being_sent(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer = gate
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        await wait_until(lambda: gate.waiting, "the delivery")
        for _ in range(5):
            clock.advance(20_000)
            await publisher.heartbeat()
            assert (await storage.rescue(clock.now(), poison_after=3)).messages == 0
        gate.opened.set()
        row = await reached(reader, id, MessageState.SENT)
    assert row.lost_leases == 0
    assert len(receiver.requests) == 1


async def test_who_lost_the_lease_writes_nothing(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate(status=500)
    receiver.answer = gate
    [id] = await publish(storage, clock, "ledger")
    async with publishing(storage, clock, route(receiver.url, clock)) as publisher:
        await wait_until(lambda: gate.waiting, "the delivery")
        clock.advance(60_001)
        assert (await storage.rescue(clock.now(), poison_after=3)).messages == 1
        [other] = await storage.claim_messages("ledger", 1, clock.now(), Millis(clock.now() + 60_000))
        await publisher.heartbeat()
        before = await reader.message(id)
        gate.opened.set()
        await wait_until(lambda: publisher.in_flight == 0, "the delivery to end")
        assert await reader.message(id) == before
        assert await reader.failures(id) == []
    assert (other.id, other.attempt) == (id, 2)
    events = [getattr(record, "event", "") for record in caplog.records]
    assert "publisher.lease_lost" in events


async def test_stopping_waits_for_what_is_being_sent(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer = gate
    first, second = await publish(storage, clock, "ledger", "ledger")
    publisher = Publisher(storage, [route(receiver.url, clock, concurrency=1)], clock, timing=STILL)
    publisher.start()
    await wait_until(lambda: gate.waiting, "the delivery")
    stopping = asyncio.create_task(publisher.stop(20_000))
    await asyncio.sleep(0)
    assert not stopping.done()
    gate.opened.set()
    await stopping
    states = {id: (await reached_any(reader, id)).state for id in (first, second)}
    assert sorted(states.values()) == ["PENDING", "SENT"]
    assert len(receiver.requests) == 1


async def test_what_cannot_finish_before_the_stop_is_given_back_uncounted(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    gate = Gate()
    receiver.answer = gate
    [id] = await publish(storage, clock, "ledger")
    publisher = Publisher(storage, [route(receiver.url, clock)], clock, timing=STILL)
    publisher.start()
    await wait_until(lambda: gate.waiting, "the delivery")
    await publisher.stop(50)
    row = await reached_any(reader, id)
    assert (row.state, row.attempts, row.lost_leases) == (MessageState.PENDING, 0, 0)
    gate.opened.set()
    async with publishing(storage, clock, route(receiver.url, clock)):
        row = await reached(reader, id, MessageState.SENT)
    assert row.attempts == 1


@pytest.mark.parametrize("error", [Unavailable("the disk is full"), RuntimeError("a bug")])
async def test_a_claim_that_fails_does_not_end_the_lane(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    error: Exception,
) -> None:
    flaky = Flaky(storage)
    flaky.errors["claim"] = [error] * 3
    [id] = await publish(storage, clock, "ledger")
    async with publishing(flaky, clock, route(receiver.url, clock), timing=Timing(poll=10)):
        await reached(reader, id, MessageState.SENT)
    assert flaky.refused == {"claim": 3}


async def test_settling_is_repeated_while_the_database_cannot_and_the_message_not_sent_again(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    flaky = Flaky(storage)
    flaky.errors["settle"] = [Unavailable("the disk is full")] * 2
    [id] = await publish(storage, clock, "ledger")
    async with publishing(flaky, clock, route(receiver.url, clock)):
        await reached(reader, id, MessageState.SENT)
    assert flaky.refused == {"settle": 2}
    assert len(receiver.requests) == 1


async def test_settling_is_given_up_when_the_lease_is_over(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    receiver: Receiver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    flaky = Flaky(storage)
    flaky.errors["settle"] = [Unavailable("the disk is full")] * 1000
    [id] = await publish(storage, clock, "ledger")
    async with publishing(flaky, clock, route(receiver.url, clock)) as publisher:
        await wait_until(lambda: flaky.refused, "the first refusal")
        clock.advance(60_000)
        await wait_until(lambda: publisher.in_flight == 0, "the settlement to be given up")
    assert (await reached_any(reader, id)).state is MessageState.SENDING
    assert "publisher.lease_lost" in [getattr(record, "event", "") for record in caplog.records]


class Odd:
    """A transport that breaks its contract."""

    batch = 3

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.sizes: list[int] = []

    async def send(self, claims: Sequence[MessageClaim]) -> list[Outcome]:
        self.sizes.append(len(claims))
        if self._error is not None:
            raise self._error
        return [Delivered()] * (len(claims) - 1)

    async def close(self) -> None:
        self.sizes.append(0)


@pytest.mark.parametrize("error", [ValueError("a bug"), None])
async def test_a_transport_that_breaks_its_contract_fails_its_messages_and_not_the_lane(
    storage: Storage,
    reader: Reader,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
    error: Exception | None,
) -> None:
    odd = Odd(error)
    ids = await publish(storage, clock, *["ledger"] * 5)
    async with publishing(storage, clock, Route("ledger", odd, POLICY, 10)):
        for id in ids:
            row = await reached(reader, id, MessageState.RETRYING)
            assert row.last_error is not None
    assert odd.sizes == [3, 2, 0]
    assert any("broke its contract" in record.getMessage() for record in caplog.records)


async def test_every_line_about_a_delivery_names_the_message(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    receiver.answer = Statuses(503)
    [id] = await publish(storage, clock, "ledger")
    contexts = Contexts()
    logger = logging.getLogger("surehook.publish")
    logger.addHandler(contexts)
    try:
        async with publishing(storage, clock, route(receiver.url, clock)):
            await reached(reader, id, MessageState.RETRYING)
    finally:
        logger.removeHandler(contexts)
    assert contexts.lines == [
        {
            "message": "delivery to ledger failed, attempt 1: HTTP 503: Service Unavailable",
            "event": "publisher.retrying",
            "message_id": typeid(MESSAGE_PREFIX, id),
            "destination": "ledger",
            "type": "payment.recorded",
            "attempt": 1,
        }
    ]


async def test_many_messages_are_each_delivered_once(
    storage: Storage, reader: Reader, clock: ManualClock, receiver: Receiver
) -> None:
    ids = await publish(storage, clock, *["ledger"] * 300)
    async with publishing(storage, clock, route(receiver.url, clock)):

        async def all_sent() -> bool:
            return (await reader.counts()).messages == {"SENT": 300}

        await wait_until(all_sent, "all messages to be sent")
    assert sorted(request.header("webhook-id") for request in receiver.requests) == sorted(
        typeid(MESSAGE_PREFIX, id) for id in ids
    )
    assert len(await reader.messages(RowFilter(destination="ledger", limit=500))) == 300
