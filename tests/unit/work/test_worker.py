"""The worker over a real database: outcomes, leases, timeouts, drain."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from surehook.clock import ManualClock, Millis
from surehook.config import ForwardRule, HandlerSettings
from surehook.errors import ConfigurationError, Reject, Retry
from surehook.handlers import Event, Registry, SyncTransaction, Transaction
from surehook.ids import EventId
from surehook.inbox import Inbox
from surehook.model import Claim, EventRow, Failure, RowFilter
from surehook.ops.sweep import Sweep
from surehook.outbox import Outbox
from surehook.queue.database import DatabaseQueue
from surehook.states import EventState, Reason
from surehook.storage import Storage
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from surehook.telemetry import current_context
from surehook.work.worker import Tools, Worker
from tests.builders import action, arrival

SETTINGS = HandlerSettings(retries=(10_000, 60_000), timeout=5_000, concurrency=4, threads=2, poll=10)
BUDGET = 300


class Bench:
    """A worker with everything around it; time stands still unless a test moves it."""

    def __init__(self, database: SqliteDatabase, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.app = Registry()
        self.queue = DatabaseQueue()
        self.inbox = Inbox(database.storage, self.queue, clock)
        self.published: list[frozenset[str]] = []
        self.queue.on_messages(self.published.append)
        self.forwards: tuple[ForwardRule, ...] = ()
        self.worker: Worker | None = None

    async def start(self, settings: HandlerSettings = SETTINGS) -> Worker:
        await self.database.run_setup(self.app.setup_functions)
        tools = Tools(
            storage=self.database.storage,
            reader=self.database.reader,
            queue=self.queue,
            registry=self.app,
            outbox=Outbox(["ledger"], self.clock),
            forwards=self.forwards,
            clock=self.clock,
            settings=settings,
            name="here",
        )
        self.worker = Worker(tools)
        self.worker.start()
        return self.worker

    async def post(self, external_id: str = "a", body: bytes = b'{"n": 1}', **changes: Any) -> EventId:
        [accepted] = await self.inbox.accept(arrival(external_id, body, now=self.clock.now(), **changes))
        return accepted.id

    async def event(self, id: EventId) -> EventRow:
        row = await self.database.reader.event(id)
        assert row is not None
        return row

    async def becomes(self, id: EventId, *states: EventState) -> EventRow:
        """Wait until the event is in one of the states."""

        async def there() -> bool:
            return (await self.event(id)).state in states

        await until(there)
        return await self.event(id)

    async def failures(self, id: EventId) -> list[Failure]:
        return [row.failure for row in await self.database.reader.failures(id)]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def bench(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Bench]:
    database = await open_sqlite(f"sqlite:///{tmp_path}/surehook.db", transaction_budget=BUDGET)
    await database.migrate(clock)
    bench = Bench(database, clock)

    @bench.app.setup
    async def tables(tx: Transaction) -> None:
        await tx.execute("CREATE TABLE effects (name TEXT, attempt INTEGER)")

    yield bench
    if bench.worker is not None:
        await bench.worker.stop(100)
    await database.close()


async def effects(bench: Bench) -> list[tuple[Any, ...]]:
    """What the handlers have left, read from outside."""
    found: list[tuple[Any, ...]] = []

    async def read(unit: Any) -> None:
        rows = await unit.fetch("SELECT name, attempt FROM effects ORDER BY rowid")
        found.extend(tuple(row.values()) for row in rows)

    await bench.database.run_setup([read])
    return found


# what handlers get


async def test_an_async_handler_commits_effects_messages_and_completion(bench: Bench) -> None:
    @bench.app.on("stripe", "invoice.paid")
    async def record(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES (:n, :a)", {"n": event.external_id, "a": event.attempt})
        assert await tx.fetch("SELECT name FROM effects") == [{"name": "a"}]
        assert tx.publish("ledger", type="paid", data=event.data).startswith("msg_")

    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.PROCESSED)
    assert row.attempts == 1
    assert await effects(bench) == [("a", 1)]
    [message] = await bench.database.reader.messages(RowFilter())
    assert (message.destination, message.type, message.event_id) == ("ledger", "paid", row.id)
    assert bench.published == [frozenset({"ledger"})]


async def test_a_def_handler_runs_in_a_thread_with_its_transaction(bench: Bench) -> None:
    threads = []

    @bench.app.on("stripe")
    def record(event: Event, tx: SyncTransaction) -> None:
        threads.append(threading.current_thread())
        tx.execute("INSERT INTO effects VALUES (?, ?)", (event.external_id, event.attempt))
        assert tx.fetch("SELECT count(*) AS n FROM effects") == [{"n": 1}]
        tx.publish("ledger", type="paid", data=1)

    await bench.start()
    await bench.becomes(await bench.post(), EventState.PROCESSED)
    assert threads[0] is not threading.main_thread()
    assert await effects(bench) == [("a", 1)]


async def test_a_handler_without_a_transaction_publishes_with_its_completion(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def pass_on(event: Event) -> None:
        event.publish("ledger", type="seen", data={"id": event.external_id}, subject="s", key="k")

    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.PROCESSED)
    [message] = await bench.database.reader.messages(RowFilter(event_id=row.id))
    assert (message.subject, message.order_key) == ("s", "k")


async def test_the_event_tells_what_arrived(bench: Bench) -> None:
    seen: list[Event] = []

    @bench.app.on("*", "invoice.*")
    async def look(event: Event) -> None:
        seen.append(event)

    await bench.start()
    body = b'{"big": "' + b"x" * 100_000 + b'"}'
    await bench.becomes(await bench.post("large", body), EventState.PROCESSED)
    [event] = seen
    assert event.payload.body == body
    assert event.payload.header("Content-Type") == "application/json"
    assert event.data == {"big": "x" * 100_000}
    assert (event.provider, event.topic, event.type, event.attempt) == (
        "stripe",
        "billing",
        "invoice.paid",
        1,
    )
    assert event.id.startswith("evt_")
    assert event.received_at.timestamp() * 1000 == bench.clock.now()


async def test_all_handlers_of_an_event_are_one_attempt(bench: Bench) -> None:
    calls = []

    @bench.app.on("stripe", "invoice.*")
    async def first(event: Event, tx: Transaction) -> None:
        calls.append("first")
        await tx.execute("INSERT INTO effects VALUES ('first', ?)", (event.attempt,))

    @bench.app.on("stripe", "invoice.paid")
    def second(event: Event, tx: SyncTransaction) -> None:
        calls.append("second")
        tx.execute("INSERT INTO effects VALUES ('second', ?)", (event.attempt,))
        if event.attempt == 1:
            raise ValueError("not yet")

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    assert await effects(bench) == []
    bench.clock.advance(12_000)
    await bench.becomes(id, EventState.PROCESSED)
    assert calls == ["first", "second"] * 2
    assert await effects(bench) == [("first", 2), ("second", 2)]


async def test_logs_of_a_handler_carry_its_event(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    contexts: list[dict[str, Any]] = []

    @bench.app.on("stripe")
    def speak(event: Event) -> None:
        contexts.append(dict(current_context()))
        logging.getLogger("mine").warning("hello")

    await bench.start()
    await bench.becomes(await bench.post(), EventState.PROCESSED)
    assert contexts[0].keys() >= {"event_id", "provider", "external_id", "type", "attempt"}
    assert any(record.message == "hello" for record in caplog.records)


# outcomes


async def test_a_failure_is_retried_by_the_policy_and_then_dead(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def fail(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES ('never', 0)")
        event.publish("ledger", type="never", data=None)
        raise ValueError(f"attempt {event.attempt}")

    await bench.start()
    id = await bench.post()
    row = await bench.becomes(id, EventState.RETRYING)
    assert row.due_at is not None
    assert 8_000 <= row.due_at - bench.clock.now() <= 12_000
    bench.clock.advance(12_000)

    async def second() -> bool:
        row = await bench.event(id)
        return row.attempts == 2 and row.state is EventState.RETRYING

    await until(second)
    row = await bench.event(id)
    assert row.due_at is not None
    assert 48_000 <= row.due_at - bench.clock.now() <= 72_000
    bench.clock.advance(72_000)
    row = await bench.becomes(id, EventState.DEAD)
    assert (row.reason, row.attempts) == (Reason.EXHAUSTED, 3)
    failures = await bench.failures(id)
    assert [failure.message for failure in failures] == ["attempt 1", "attempt 2", "attempt 3"]
    assert {failure.fingerprint for failure in failures} == {failures[0].fingerprint}
    assert "raise ValueError" in failures[0].detail
    assert await effects(bench) == []
    assert await bench.database.reader.messages(RowFilter()) == []


async def test_retry_after_is_obeyed(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def later(event: Event) -> None:
        raise Retry(after=90)

    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.RETRYING)
    assert row.due_at == bench.clock.now() + 90_000


async def test_reject_is_dead_at_once(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def never(event: Event) -> None:
        raise Reject("the account is closed")

    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.DEAD)
    assert (row.reason, row.attempts) == (Reason.REJECTED, 1)
    assert row.last_error == "surehook.errors.Reject: the account is closed"


async def test_options_of_a_handler_replace_the_settings(bench: Bench) -> None:
    @bench.app.on("stripe", retries=["1h"], timeout="50ms")
    async def slow(event: Event) -> None:
        await asyncio.Event().wait()

    await bench.start()
    id = await bench.post()
    row = await bench.becomes(id, EventState.RETRYING)
    assert row.due_at is not None
    assert row.due_at - bench.clock.now() >= 48 * 60_000
    [failure] = await bench.failures(id)
    assert failure.error_type.endswith("HandlerTimeout")
    assert "within 50 ms" in failure.message


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), StopIteration()]
)
@pytest.mark.parametrize("kind", ["async", "def"])
async def test_whatever_a_handler_raises_ends_its_attempt_only(
    bench: Bench, kind: str, error: BaseException
) -> None:
    async def raises(event: Event) -> None:
        raise error

    def raises_in_thread(event: Event) -> None:
        raise error

    bench.app.on("stripe", "invoice.paid")(raises if kind == "async" else raises_in_thread)

    @bench.app.on("stripe", "fine")
    async def fine(event: Event) -> None:
        return

    await bench.start()
    await bench.becomes(await bench.post(), EventState.RETRYING)
    await bench.becomes(await bench.post("b", b"{}", type="fine"), EventState.PROCESSED)


async def test_a_hanging_thread_gives_its_place_away(bench: Bench) -> None:
    release = threading.Event()

    @bench.app.on("stripe", "hanging", timeout="50ms")
    def hang(event: Event) -> None:
        release.wait()

    @bench.app.on("stripe", "fine")
    def finish(event: Event) -> None:
        return

    worker = await bench.start()
    numbers = itertools.count()
    while (
        worker.threads.abandoned <= SETTINGS.threads
    ):  # an attempt that ends before it got a thread abandons none
        number = next(numbers)
        id = await bench.post(f"hang{number}", str(number).encode(), type="hanging")
        await bench.becomes(id, EventState.RETRYING)
    await bench.becomes(await bench.post("fine", type="fine"), EventState.PROCESSED)
    release.set()

    async def ended() -> bool:
        return worker.threads.abandoned == 0

    await until(ended)


async def test_a_held_transaction_fails_the_attempt_and_frees_the_turn(bench: Bench) -> None:
    @bench.app.on("stripe", "invoice.paid")
    async def hold(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES ('held', 0)")
        await asyncio.Event().wait()

    await bench.start()
    held = await bench.post()
    other = await bench.post("b", b"{}", type="ignored")
    await bench.becomes(held, EventState.RETRYING)
    await bench.becomes(other, EventState.IGNORED)
    [failure] = await bench.failures(held)
    assert f"longer than its budget of {BUDGET} ms" in failure.message
    assert await effects(bench) == []


async def test_a_swallowed_budget_error_does_not_complete(bench: Bench) -> None:
    @bench.app.on("stripe")
    def stubborn(event: Event, tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO effects VALUES ('held', 0)")
        blocked.wait(30)

    blocked = threading.Event()
    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    blocked.set()
    assert await effects(bench) == []


async def test_publishing_to_an_unknown_destination_fails_with_a_hint(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def slip(event: Event) -> None:
        event.publish("legder", type="x", data=1)

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    assert "Did you mean 'ledger'?" in (await bench.failures(id))[0].message


async def test_nobodys_event_is_ignored_without_an_attempt(bench: Bench) -> None:
    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.IGNORED)
    assert row.attempts == 0


async def test_a_forward_rule_publishes_without_code(bench: Bench) -> None:
    bench.forwards = (ForwardRule(to=("ledger",), provider="stripe", type="invoice.*"),)
    await bench.start()
    row = await bench.becomes(await bench.post(), EventState.PROCESSED)
    [message] = await bench.database.reader.messages(RowFilter(event_id=row.id))
    assert message.type == "invoice.paid"
    await bench.becomes(await bench.post("b", b"{}", type="charge.failed"), EventState.IGNORED)


async def test_a_body_that_no_rule_asks_for_need_not_be_json(bench: Bench) -> None:
    bench.forwards = (ForwardRule(to=("ledger",), provider="other"),)
    bench.app.on("stripe")(_nothing)
    await bench.start()
    await bench.becomes(await bench.post("a", b"plain text"), EventState.PROCESSED)


# leases


async def test_a_running_attempt_keeps_its_lease(bench: Bench) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @bench.app.on("stripe")
    async def long(event: Event) -> None:
        entered.set()
        await leave.wait()

    worker = await bench.start()
    id = await bench.post()
    await entered.wait()
    for _ in range(5):
        bench.clock.advance(SETTINGS.heartbeat)
        await worker.heartbeat()
        assert (await bench.database.storage.rescue(bench.clock.now(), poison_after=3)).events == 0
    leave.set()
    await bench.becomes(id, EventState.PROCESSED)


async def test_an_attempt_that_lost_its_lease_is_stopped_and_writes_nothing(bench: Bench) -> None:
    entered = asyncio.Event()
    cancelled = asyncio.Event()

    @bench.app.on("stripe")
    async def zombie(event: Event, tx: Transaction) -> None:
        if event.attempt > 1:
            return
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    worker = await bench.start()
    id = await bench.post()
    await entered.wait()
    bench.clock.advance(SETTINGS.lease + 1)
    assert (await bench.database.storage.rescue(bench.clock.now(), poison_after=3)).events == 1
    await worker.heartbeat()
    await cancelled.wait()
    row = await bench.becomes(id, EventState.PROCESSED)
    assert (row.attempts, row.lost_leases) == (2, 1)
    assert await bench.failures(id) == []


async def test_a_zombie_cannot_complete(bench: Bench) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @bench.app.on("stripe")
    async def slow(event: Event, tx: Transaction) -> None:
        if event.attempt == 1:
            entered.set()
            await leave.wait()
        await tx.execute("INSERT INTO effects VALUES (?, ?)", (event.external_id, event.attempt))

    await bench.start()
    id = await bench.post()
    await entered.wait()
    bench.clock.advance(SETTINGS.lease + 1)
    await bench.database.storage.rescue(bench.clock.now(), poison_after=3)
    await bench.becomes(id, EventState.PROCESSED)
    leave.set()

    async def idle() -> bool:
        return not bench.worker._running  # type: ignore[union-attr]

    await until(idle)
    assert await effects(bench) == [("a", 2)]


# stop


async def test_a_stop_lets_the_running_attempt_finish(bench: Bench) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    @bench.app.on("stripe")
    async def long(event: Event, tx: Transaction) -> None:
        entered.set()
        await leave.wait()
        await tx.execute("INSERT INTO effects VALUES ('done', 1)")

    worker = await bench.start()
    id = await bench.post()
    await entered.wait()
    stopping = asyncio.create_task(worker.stop(20_000))
    await asyncio.sleep(0)
    leave.set()
    await stopping
    assert (await bench.event(id)).state is EventState.PROCESSED
    assert await effects(bench) == [("done", 1)]


async def test_a_stop_gives_back_what_does_not_finish_uncounted(bench: Bench) -> None:
    entered = asyncio.Event()

    @bench.app.on("stripe")
    async def endless(event: Event, tx: Transaction) -> None:
        entered.set()
        await asyncio.Event().wait()

    worker = await bench.start()
    id = await bench.post()
    await entered.wait()
    await worker.stop(20)
    row = await bench.event(id)
    assert (row.state, row.attempts, row.lost_leases) == (EventState.RECEIVED, 0, 0)
    assert await bench.failures(id) == []


async def test_a_stop_does_not_wait_for_a_claim_that_waits_for_a_handler(bench: Bench) -> None:
    """On SQLite a claim waits for the transaction of a handler, which the end of the drain has to break off."""
    entered = asyncio.Event()

    @bench.app.on("stripe")
    async def holding(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES ('held', 1)")
        bench.queue.wake()
        for _ in range(100):  # until the worker has woken and waits for its claim
            await asyncio.sleep(0)
        entered.set()
        await asyncio.Event().wait()

    worker = await bench.start()
    id = await bench.post()
    await entered.wait()
    await worker.stop(20)
    row = await bench.event(id)
    assert (row.state, row.attempts, row.lost_leases) == (EventState.RECEIVED, 0, 0)
    assert await bench.failures(id) == []
    assert await effects(bench) == []


async def test_a_stopped_worker_claims_nothing_more(bench: Bench) -> None:
    worker = await bench.start()
    await worker.stop(1_000)
    assert (await bench.event(await bench.post())).state is EventState.RECEIVED


async def test_a_handler_that_swallows_its_cancellation_does_not_stop_the_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surehook.work.worker._PATIENCE", 0.05)
    entered, leave = asyncio.Event(), asyncio.Event()

    @bench.app.on("stripe")
    async def stubborn(event: Event) -> None:
        entered.set()
        while not leave.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await leave.wait()

    worker = await bench.start()
    await bench.post()
    await entered.wait()
    await worker.stop(10)
    leave.set()


# found by review


async def test_a_worker_that_gets_its_own_event_again_keeps_the_newer_attempt(bench: Bench) -> None:
    """A suspended machine wakes up after the lease: the sweep gives the event back, and the same process claims it."""
    attempts: list[int] = []
    go_on = asyncio.Event()

    @bench.app.on("stripe")
    async def slow(event: Event, tx: Transaction) -> None:
        attempts.append(event.attempt)
        await go_on.wait()
        await tx.execute("INSERT INTO effects VALUES (?, ?)", (event.external_id, event.attempt))

    worker = await bench.start()
    id = await bench.post()

    async def running(count: int) -> None:
        async def there() -> bool:
            return len(attempts) == count

        await until(there)

    await running(1)
    bench.clock.advance(SETTINGS.lease + 1)
    await bench.database.storage.rescue(bench.clock.now(), poison_after=3)
    await running(2)
    bench.clock.advance(SETTINGS.lease - 1)
    await worker.heartbeat()
    assert (await bench.database.storage.rescue(bench.clock.now(), poison_after=3)).events == 0
    bench.clock.advance(2)
    assert (await bench.database.storage.rescue(bench.clock.now(), poison_after=3)).events == 0
    go_on.set()
    await bench.becomes(id, EventState.PROCESSED)
    assert attempts == [1, 2]
    assert await effects(bench) == [("a", 2)]


async def test_an_error_text_that_no_database_holds_is_a_failure_like_any(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def undecodable(event: Event) -> None:
        raise ValueError("cannot read " + os.fsdecode(b"\xff\0.pdf"))

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    [failure] = await bench.failures(id)
    assert failure.message == "cannot read \\udcff\\0.pdf"


async def test_a_forgotten_await_fails_the_attempt(bench: Bench) -> None:
    @bench.app.on("stripe")
    async def forgetful(event: Event, tx: Transaction) -> None:
        tx.execute("INSERT INTO effects VALUES ('never', 0)")

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    assert "write 'await tx...'" in (await bench.failures(id))[0].message


async def test_a_statement_in_a_task_that_nobody_awaits_fails_the_attempt(bench: Bench) -> None:
    tasks = []

    @bench.app.on("stripe")
    async def stray(event: Event, tx: Transaction) -> None:
        async def later() -> None:
            await tx.execute("INSERT INTO effects VALUES ('stray', 0)")

        tasks.append(asyncio.create_task(later()))
        await asyncio.sleep(0)

    await bench.start()
    await bench.becomes(await bench.post(), EventState.RETRYING)
    assert await effects(bench) == []
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], Exception)


@pytest.mark.parametrize("kind", ["an exception", "a coroutine"])
async def test_a_result_that_means_something_else_fails_the_attempt(bench: Bench, kind: str) -> None:
    @bench.app.on("stripe")
    def returns(event: Event) -> object:
        return Retry() if kind == "an exception" else _nothing(event)

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.RETRYING)
    assert (
        "raise it" in (await bench.failures(id))[0].message
        or "async def" in (await bench.failures(id))[0].message
    )


async def test_an_attempt_that_lost_its_turn_runs_again_uncounted(bench: Bench) -> None:
    """A neighbour's OR ROLLBACK undid it: not its fault."""

    @bench.app.setup
    async def once(tx: Transaction) -> None:
        await tx.execute("CREATE TABLE once (name TEXT PRIMARY KEY)")
        await tx.execute("INSERT INTO once VALUES ('x')")

    together = asyncio.Barrier(2)

    @bench.app.on("stripe", "guilty", retries=[])
    async def guilty(event: Event, tx: Transaction) -> None:
        await together.wait()
        await tx.execute("INSERT OR ROLLBACK INTO once VALUES ('x')")

    @bench.app.on("stripe", "innocent")
    async def innocent(event: Event, tx: Transaction) -> None:
        if together.n_waiting or not ran:
            ran.append(event.attempt)
            await together.wait()
        await tx.execute("INSERT INTO effects VALUES (?, ?)", (event.external_id, event.attempt))

    ran: list[int] = []
    await bench.start()
    first = await bench.post("innocent", b"1", type="innocent")
    second = await bench.post("guilty", b"2", type="guilty")
    await bench.becomes(second, EventState.DEAD)

    async def settled() -> bool:
        bench.clock.advance(100)
        return (await bench.event(first)).state is EventState.PROCESSED

    await until(settled)
    assert await bench.failures(first) == []
    assert await effects(bench) == [("innocent", 1)]


# the sweep


async def clock_is_right() -> bool:
    return True


def sweep_of(bench: Bench) -> Sweep:
    return Sweep(
        bench.database.storage,
        bench.database.reader,
        bench.queue,
        bench.clock,
        poison_after=3,
        interval=10_000,
        take_back=3_600_000,
        handled=lambda *event: bool(bench.app.handlers_for(*event)),
        keep_rejections=10,
        trusted=clock_is_right,
    )


async def test_the_sweep_gives_back_expired_leases(bench: Bench) -> None:
    id = await bench.post()
    await bench.database.storage.claim(1, bench.clock.now(), Millis(bench.clock.now() + 10))
    bench.clock.advance(11)
    swept = await sweep_of(bench).run_once()
    assert (swept.rescued.events, swept.rescued.due) == (1, (id,))
    assert (await bench.event(id)).state is EventState.RETRYING


async def test_the_sweep_takes_back_what_an_older_version_ignored(bench: Bench) -> None:
    await bench.start()
    ids = [await bench.post(f"e{n}", str(n).encode()) for n in range(3)]
    for id in ids:
        await bench.becomes(id, EventState.IGNORED)

    @bench.app.on("stripe")
    async def new(event: Event) -> None:
        return

    bench.clock.advance(1)
    assert (await sweep_of(bench).run_once()).taken_back == 3
    for id in ids:
        await bench.becomes(id, EventState.PROCESSED)


async def test_the_sweep_leaves_what_was_ignored_long_ago(bench: Bench) -> None:
    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.IGNORED)
    bench.app.on("stripe")(_nothing)
    bench.clock.advance(3_600_001)
    assert (await sweep_of(bench).run_once()).taken_back == 0


async def _nothing(event: Event) -> None:
    return


async def test_the_sweep_announces_what_nobody_claimed(bench: Bench) -> None:
    await bench.post()
    bench.clock.advance(10_001)
    assert (await sweep_of(bench).run_once()).announced == 1


async def test_a_replayed_event_runs_again_and_anew(bench: Bench) -> None:
    attempts = []

    @bench.app.on("stripe")
    async def reject_once(event: Event) -> None:
        attempts.append(event.attempt)
        if len(attempts) == 1:
            raise Reject("not yet")

    await bench.start()
    id = await bench.post()
    await bench.becomes(id, EventState.DEAD)
    await bench.database.storage.replay_events([id], action(bench.clock.now()))
    await bench.becomes(id, EventState.PROCESSED)
    assert attempts == [1, 1]


# registration


def test_a_handler_with_other_parameters_is_refused() -> None:
    app = Registry()
    with pytest.raises(ConfigurationError, match=r"\(event\) or \(event, tx\)"):

        @app.on("stripe")
        async def wrong(request: object, db: object) -> None: ...


def test_what_would_never_run_is_refused() -> None:
    app = Registry()
    with pytest.raises(ConfigurationError, match="contains 'yield'"):

        @app.on("stripe")
        async def generator(event: Event):  # type: ignore[no-untyped-def] # what is refused
            yield event

    with pytest.raises(ConfigurationError, match="lacks its provider"):

        @app.on  # type: ignore[arg-type] # what is refused
        async def bare(event: Event) -> None: ...


def test_bad_options_are_refused() -> None:
    app = Registry()
    with pytest.raises(ConfigurationError, match="write a list of waits"):
        app.on("stripe", retries="10s")(_nothing)
    with pytest.raises(ConfigurationError, match="no duration"):
        app.on("stripe", timeout=5)(_nothing)  # type: ignore[arg-type] # what is refused
    with pytest.raises(ConfigurationError, match="no duration"):
        app.on("stripe", timeout="soon")(_nothing)
    with pytest.raises(ConfigurationError, match="no pattern"):
        app.on("stripe", "invoice.*.paid")


def test_setup_must_be_async() -> None:
    app = Registry()
    with pytest.raises(ConfigurationError, match="async def"):
        app.setup(lambda tx: None)  # type: ignore[arg-type, return-value] # what is refused


# claims behind a backlog


class CountingStorage:
    """The storage itself; it also notes how much each claim asked for."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.asked: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def claim(self, limit: int, *rest: Any) -> list[Claim]:
        self.asked.append(limit)
        return await self._storage.claim(limit, *rest)


async def test_behind_a_backlog_it_claims_half_of_its_slots_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surehook.work.worker._GATHER", 60)
    storage = CountingStorage(bench.database.storage)
    monkeypatch.setattr(bench.database, "storage", storage)

    @bench.app.on("stripe")
    async def handle(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects VALUES (?, 1)", (event.external_id,))

    ids = [await bench.post(f"e{number}", str(number).encode()) for number in range(40)]
    await bench.start()
    for id in ids:
        await bench.becomes(id, EventState.PROCESSED)
    assert min(storage.asked) >= SETTINGS.concurrency // 2


async def test_slots_that_hang_do_not_keep_the_others_waiting(bench: Bench) -> None:
    hanging = asyncio.Event()

    @bench.app.on("stripe")
    async def handle(event: Event) -> None:
        if event.external_id.startswith("hang"):
            await hanging.wait()

    for number in range(SETTINGS.concurrency - 1):
        await bench.post(f"hang{number}", b"{}")
    ids = [await bench.post(f"e{number}", str(number).encode()) for number in range(10)]
    await bench.start()
    for id in ids:
        await bench.becomes(id, EventState.PROCESSED)
    hanging.set()
