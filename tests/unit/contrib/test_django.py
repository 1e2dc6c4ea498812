"""Handlers on Django's ORM: the event completes inside ``transaction.atomic()``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable

import psycopg
import pytest
from django.db import DatabaseError, IntegrityError, connection, connections, transaction

from surehook.clock import Millis
from surehook.config import ForwardRule
from surehook.contrib.django import atomic
from surehook.errors import ConfigurationError, Reject, TransactionError
from surehook.handlers import Event, Registry, Transaction
from surehook.outbox import Outbox
from surehook.states import EventState, Reason
from tests.builders import NOW, settlement
from tests.services import PostgresServer
from tests.unit.contrib.django_models import Child, Effect, use_database
from tests.unit.contrib.workshop import SETTINGS, Workshop, until


@pytest.fixture(autouse=True)
def database_of_django(postgres_url: str) -> None:
    use_database(postgres_url)


async def test_effect_message_and_completion_commit_together(shop: Workshop) -> None:
    shop.forwards = (ForwardRule(to=("ledger",), type="invoice.*"),)
    order: list[str] = []

    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        transaction.on_commit(lambda: order.append(f"committed {Effect.objects.count()}"))
        Effect.objects.create(name=event.external_id, tool="orm")
        event.publish("ledger", type="paid", data={})
        order.append("returned")

    await shop.start()
    event = await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 2)
    assert order == ["returned", "committed 1"]
    assert shop.announced == [frozenset({"ledger"})]
    assert event.attempts == 1


async def test_error_undoes_everything(shop: Workshop) -> None:
    runs: list[str] = []

    @shop.app.on("stripe")
    @atomic(using="default")
    def paid(event: Event) -> None:
        runs.append(event.external_id)
        Effect.objects.create(name=event.external_id)
        event.publish("ledger", type="paid", data={})
        if event.external_id == "bad":
            raise Reject("not ours")
        Effect.objects.create(name=event.external_id)

    await shop.start()
    dead = await shop.becomes(await shop.post("bad"), EventState.DEAD)
    assert dead.reason is Reason.REJECTED
    failure = await shop.fails("twice")
    assert failure.error_type == "django.db.utils.IntegrityError"
    assert (await shop.effects(), await shop.messages(), runs) == ([], 0, ["bad", "twice"])


async def test_thirty_events_at_once(shop: Workshop) -> None:
    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name=event.external_id)
        event.publish("ledger", type="paid", data={})

    await shop.start()
    names = [f"{number:02}" for number in range(30)]
    for id in await asyncio.gather(*(shop.post(name) for name in names)):
        await shop.becomes(id, EventState.PROCESSED)
    assert (await shop.effects(), await shop.messages()) == (names, 30)


async def test_handlers_before_it_may_do_what_needs_no_transaction(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def first(event: Event) -> None:
        event.publish("ledger", type="seen", data={})

    @shop.app.on("stripe")
    @atomic
    def second(event: Event) -> None:
        Effect.objects.create(name=event.external_id)

    await shop.start()
    await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 1)


async def test_only_the_last_handler_can_complete_the_event(shop: Workshop) -> None:
    @shop.app.on("stripe")
    @atomic
    def first(event: Event) -> None:
        Effect.objects.create(name="first")

    @shop.app.on("stripe")
    async def second(event: Event) -> None:
        pass

    await shop.start()
    failure = await shop.fails()
    assert "first completes the event" in failure.message
    assert "define it after" in failure.message
    assert await shop.effects() == []


async def test_not_beside_a_transaction_of_the_event(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def first(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects (name) VALUES ('first')")

    @shop.app.on("stripe")
    @atomic
    def second(event: Event) -> None:
        Effect.objects.create(name="second")

    await shop.start()
    failure = await shop.fails()
    assert "a handler before it has written through tx" in failure.message
    assert await shop.effects() == []
    await shop.resting()


async def test_lost_lease_rolls_everything_back(shop: Workshop) -> None:
    """As if another worker had claimed the event while the handler was at work: nothing is written, nothing has failed."""
    begun = threading.Event()

    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name=event.external_id)
        begun.set()
        shop.gate.wait()

    worker = await shop.start()
    id = await shop.post()
    await asyncio.to_thread(begun.wait)
    await shop.rows("UPDATE inbox_events SET lease_token = lease_token + 1 RETURNING id")
    shop.gate.set()
    await until(lambda: asyncio.sleep(0, not worker._running))
    assert await shop.effects() == []
    assert await shop.database.reader.failures(id) == []
    await shop.becomes(id, EventState.PROCESSING)


@pytest.mark.parametrize("moment", ["in a statement", "between statements"])
async def test_timeout_completes_nothing_afterwards(shop: Workshop, moment: str) -> None:
    """The thread goes on, and finds at its end that it has come too late."""
    ends: list[str] = []

    @shop.app.on("stripe", timeout="300ms")
    @atomic
    def paid(event: Event) -> None:
        transaction.on_commit(lambda: ends.append("committed"))
        Effect.objects.create(name=event.external_id)
        event.publish("ledger", type="paid", data={})
        if moment == "in a statement":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(1)")
        else:
            shop.gate.wait()
        ends.append("returned")

    worker = await shop.start()
    failure = await shop.fails()
    assert "did not return within 300 ms" in failure.message
    shop.gate.set()
    await until(lambda: asyncio.sleep(0, worker.threads.abandoned == 0))
    assert ends == ["returned"]
    assert (await shop.effects(), await shop.messages()) == ([], 0)


async def test_what_is_late_is_refused_before_the_failure_is_written(shop: Workshop) -> None:
    """The end of the attempt and the completion exclude each other also where the database has nothing to say yet."""
    await shop.post()
    [claim] = await shop.database.storage.claim(1, NOW, Millis(NOW + 60_000))
    unit = shop.database.storage.begin(claim)
    await unit.rollback()
    with (
        psycopg.connect(shop.url) as late,
        pytest.raises(TransactionError, match=r"cannot be completed on another connection.*has ended"),
    ):
        unit.complete_on(late, settlement(claim))


def caught(event: Event) -> None:
    Effect.objects.create(name="a")
    with contextlib.suppress(IntegrityError):
        Effect.objects.create(name="a")


def marked(event: Event) -> None:
    Effect.objects.create(name="a")
    transaction.set_rollback(True)


@pytest.mark.parametrize("function", [caught, marked], ids=["an error was caught", "set_rollback"])
async def test_silent_rollback_of_django_fails_the_attempt(
    shop: Workshop, function: Callable[[Event], None]
) -> None:
    shop.app.on("stripe")(atomic(function))
    await shop.start()
    failure = await shop.fails()
    assert "Django undoes the whole transaction" in failure.message
    assert await shop.effects() == []


async def test_error_in_a_savepoint_undoes_only_that(shop: Workshop) -> None:
    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name="a")
        with contextlib.suppress(IntegrityError), transaction.atomic():
            Effect.objects.create(name="b")
            Effect.objects.create(name="a")

    await shop.start()
    await shop.processed()
    assert await shop.effects() == ["a"]


async def test_hook_that_fails_after_the_commit_fails_no_attempt(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name=event.external_id)
        transaction.on_commit(lambda: 1 / 0)

    await shop.start()
    event = await shop.processed()
    assert await shop.database.reader.failures(event.id) == []
    assert await shop.effects() == ["a"]
    assert "a hook of transaction.on_commit failed" in caplog.text


async def test_commit_that_fails_fails_the_attempt(shop: Workshop) -> None:
    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Child.objects.create(parent=1)

    await shop.start()
    failure = await shop.fails()
    assert failure.error_type == "django.db.utils.IntegrityError"


#: A commit that waits for whoever holds the lock 7.
SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()
"""
WAITING = "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


@pytest.mark.parametrize("committed", [False, True], ids=["ended by the server", "done, but not confirmed"])
async def test_commit_that_is_not_confirmed_is_decided_by_the_database(
    shop: Workshop, committed: bool
) -> None:
    drivers: list[psycopg.Connection] = []

    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        drivers.append(connections["default"].connection)
        Effect.objects.create(name=event.external_id)

    async def waits() -> bool:
        return bool(await shop.rows(f"SELECT pid {WAITING}"))

    async with await psycopg.AsyncConnection.connect(shop.url, autocommit=True) as blocker:
        await blocker.execute(SLOW_COMMIT)
        await blocker.execute("SELECT pg_advisory_lock(7)")
        worker = await shop.start()
        id = await shop.post()
        await until(waits)
        if committed:
            with socket.socket(fileno=os.dup(drivers[0].fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
        else:
            await shop.rows(f"SELECT pg_terminate_backend(pid) {WAITING}")
        await until(lambda: asyncio.sleep(0, drivers[0].closed))
    await until(lambda: asyncio.sleep(0, not worker._running))
    await shop.becomes(id, EventState.PROCESSED if committed else EventState.RETRYING)
    assert await shop.effects() == (["a"] if committed else [])
    assert len(await shop.database.reader.failures(id)) == (0 if committed else 1)


async def test_connection_that_breaks_is_replaced(shop: Workshop) -> None:
    """Django keeps connections open here, and two of them die: one between events, one inside of a transaction."""
    connections.settings["default"]["CONN_MAX_AGE"] = None

    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name=event.external_id)
        if event.external_id == "cut":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    @shop.app.on("acme")
    def close(event: Event) -> None:
        connections.close_all()

    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE 'COMMIT%'"""
    await shop.start(SETTINGS_OF_ONE_THREAD)
    try:
        await shop.processed("first")
        await shop.rows(cut)
        await shop.fails("second")
        await shop.processed("third")
        failure = await shop.fails("cut")
        assert failure.error_type == "django.db.utils.OperationalError"
        await shop.processed("fourth")
        assert await shop.effects() == ["first", "fourth", "third"]
        await shop.becomes(await shop.post("end", provider="acme"), EventState.PROCESSED)
    finally:
        connections.settings["default"]["CONN_MAX_AGE"] = 0


async def test_wrong_database_is_named(shop: Workshop, postgres: PostgresServer) -> None:
    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> None:
        pass

    use_database(postgres.url("postgres"))
    await shop.start()
    failure = await shop.fails()
    assert failure.error_type == "surehook.errors.TransactionError"
    assert "the database 'postgres' on 127.0.0.1" in failure.message
    assert "must name the same database" in failure.message


async def test_other_engine_is_named(shop: Workshop) -> None:
    connections.settings["other"] = {**connections.settings["default"], "ENGINE": "django.db.backends.dummy"}

    @shop.app.on("stripe")
    @atomic(using="other")
    def paid(event: Event) -> None:
        pass

    await shop.start()
    failure = await shop.fails()
    assert "DATABASES['other'] has the ENGINE 'django.db.backends.dummy'" in failure.message


async def test_handler_can_be_called_in_a_test(shop: Workshop) -> None:
    """Outside of Surehook it is the function in an atomic block."""

    @atomic
    def paid(event: Event) -> None:
        Effect.objects.create(name=event.external_id)
        if event.external_id == "bad":
            raise DatabaseError

    async def event(external_id: str) -> Event:
        id = await shop.post(external_id)
        [claim] = await shop.database.storage.claim(1, NOW, Millis(NOW + 60_000), [id])
        return Event(claim, b"{}", Outbox(["ledger"], shop.clock).collect())

    def call(good: Event, bad: Event) -> None:
        paid(good)
        with pytest.raises(DatabaseError):
            paid(bad)
        connections.close_all()

    await asyncio.to_thread(call, await event("good"), await event("bad"))
    assert await shop.effects() == ["good"]


async def test_returned_coroutine_fails_the_attempt_with_nothing_committed(shop: Workshop) -> None:
    async def work(event: Event) -> None:
        pass

    @shop.app.on("stripe")
    @atomic
    def paid(event: Event) -> object:
        Effect.objects.create(name=event.external_id)
        return work(event)

    await shop.start()
    failure = await shop.fails()
    assert "returned something to be awaited" in failure.message
    assert await shop.effects() == []


def test_async_handler_is_refused() -> None:
    async def paid(event: Event) -> None: ...

    with pytest.raises(ConfigurationError, match=r"paid is 'async def'.*write 'def'"):
        atomic(paid)


def test_handler_with_tx_is_refused() -> None:
    def paid(event: Event, tx: object) -> None: ...

    with pytest.raises(ConfigurationError, match=r"there is no tx.*event.publish"):
        atomic(paid)  # type: ignore[arg-type]  # what a user without a type checker writes


def test_wrong_order_of_the_decorators_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"@atomic stands above @app.on"):

        @atomic
        @Registry().on("stripe")
        def paid(event: Event) -> None: ...


def test_generator_is_refused() -> None:
    def paid(event: Event) -> object:
        yield

    with pytest.raises(ConfigurationError, match="contains 'yield'"):
        Registry().on("stripe")(atomic(paid))


SETTINGS_OF_ONE_THREAD = SETTINGS.__class__(
    retries=(10_000, 60_000), timeout=10_000, concurrency=4, threads=1, poll=10
)
