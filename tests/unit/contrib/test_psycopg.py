"""Handlers on the connection of their event: ``tx.connection()``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from surehook.errors import TransactionError
from surehook.handlers import Event, SyncTransaction, Transaction
from surehook.states import EventState
from surehook.storage.sqlite import SqliteDatabase
from tests.builders import arrival
from tests.unit.contrib.workshop import Workshop, until

EFFECT = "INSERT INTO effects (name, tool) VALUES (%s, 'psycopg')"


async def test_effect_message_and_completion_commit_together(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection: psycopg.AsyncConnection = await tx.connection()
        await connection.execute(EFFECT, [event.external_id])
        tx.publish("ledger", type="paid", data={})
        assert await shop.effects() == []  # nobody sees it yet

    await shop.start()
    await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 1)
    await shop.resting()


async def test_thread_has_a_connection_that_blocks(shop: Workshop) -> None:
    @shop.app.on("stripe")
    def paid(event: Event, tx: SyncTransaction) -> None:
        connection: psycopg.Connection = tx.connection()
        assert tx.connection() is connection
        with connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(EFFECT, [event.external_id])
            assert cursor.execute("SELECT name FROM effects").fetchall() == [{"name": "a"}]
        tx.publish("ledger", type="paid", data={})

    await shop.start()
    await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 1)
    await shop.resting()


async def test_two_handlers_share_one_transaction(shop: Workshop) -> None:
    """One on the loop and one in a thread, with Surehook's statements in between."""

    @shop.app.on("stripe")
    async def first(event: Event, tx: Transaction) -> None:
        await (await tx.connection()).execute(EFFECT, ["first"])
        await tx.execute("INSERT INTO effects (name) VALUES ('second')")

    @shop.app.on("stripe")
    def second(event: Event, tx: SyncTransaction) -> None:
        assert tx.execute("UPDATE effects SET tool = 'both'") == 2
        tx.connection().execute(EFFECT, ["third"])
        if event.external_id == "bad":
            raise RuntimeError("nothing of it stays")

    await shop.start()
    await shop.fails("bad")
    assert await shop.effects() == []
    await shop.processed("good")
    assert await shop.effects() == ["first", "second", "third"]
    await shop.resting()


async def test_thirty_events_at_once(shop: Workshop) -> None:
    @shop.app.on("stripe", "async")
    async def on_the_loop(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        async with connection.transaction():
            await connection.execute(EFFECT, [event.external_id])
        event.publish("ledger", type="paid", data={})

    @shop.app.on("stripe", "sync")
    def in_a_thread(event: Event, tx: SyncTransaction) -> None:
        connection = tx.connection()
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(EFFECT, [event.external_id])
        event.publish("ledger", type="paid", data={})

    await shop.start()
    names = [f"{number:02}" for number in range(30)]
    ids = await asyncio.gather(*(shop.post(n, type=["async", "sync"][int(n) % 2]) for n in names))
    for id in ids:
        await shop.becomes(id, EventState.PROCESSED)
    assert (await shop.effects(), await shop.messages()) == (names, 30)
    await shop.resting()


Misuse = Callable[[psycopg.AsyncConnection], Awaitable[Any]]


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda connection: connection.commit(), "leave the commit to Surehook"),
        (lambda connection: connection.rollback(), "leave the rollback to Surehook"),
        (lambda connection: connection.close(), "the connection belongs to Surehook"),
        (lambda connection: connection.__aexit__(None, None, None), "leave the commit to Surehook"),
        (lambda connection: connection.set_autocommit(False), "can't change 'autocommit' now"),
        (lambda connection: connection.execute("COMMIT"), "the handler has ended its transaction"),
        (lambda connection: connection.execute("ROLLBACK"), "the handler has ended its transaction"),
    ],
    ids=["commit", "rollback", "close", "with", "autocommit", "COMMIT", "ROLLBACK"],
)
@pytest.mark.parametrize("more", [False, True], ids=["last", "more"])
async def test_end_of_the_transaction_is_not_the_handlers(
    shop: Workshop, misuse: Misuse, message: str, more: bool
) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        await misuse(connection)
        if more:
            await connection.execute("SELECT 1")

    await shop.start()
    failure = await shop.fails()
    assert message in failure.message
    await shop.resting()


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda connection: connection.commit(), "leave the commit to Surehook"),
        (lambda connection: connection.rollback(), "leave the rollback to Surehook"),
        (lambda connection: connection.close(), "the connection belongs to Surehook"),
        (lambda connection: connection.__exit__(None, None, None), "leave the commit to Surehook"),
        (lambda connection: connection.execute("COMMIT"), "the handler has ended its transaction"),
    ],
    ids=["commit", "rollback", "close", "with", "COMMIT"],
)
async def test_end_is_not_the_threads_either(
    shop: Workshop, misuse: Callable[[psycopg.Connection], Any], message: str
) -> None:
    @shop.app.on("stripe")
    def paid(event: Event, tx: SyncTransaction) -> None:
        connection = tx.connection()
        misuse(connection)
        connection.execute("SELECT 1")

    await shop.start()
    failure = await shop.fails()
    assert message in failure.message
    await shop.resting()


async def test_error_that_is_caught_undoes_the_attempt(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        await connection.execute(EFFECT, ["a"])
        with contextlib.suppress(psycopg.Error):
            await connection.execute("SELECT 1 / 0")

    await shop.start()
    failure = await shop.fails()
    assert "its error was caught" in failure.message
    assert "connection.transaction()" in failure.message
    assert await shop.effects() == []
    await shop.resting()


async def test_error_in_a_savepoint_undoes_only_that(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        await connection.execute(EFFECT, ["kept"])
        with contextlib.suppress(psycopg.Error):
            async with connection.transaction():
                await connection.execute(EFFECT, ["undone"])
                await connection.execute("SELECT 1 / 0")

    await shop.start()
    await shop.processed()
    assert await shop.effects() == ["kept"]


async def test_deferred_constraint_fails_the_attempt(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        await (await tx.connection()).execute("INSERT INTO children VALUES (1)")

    await shop.start()
    failure = await shop.fails()
    assert "ForeignKeyViolation" in failure.error_type
    await shop.resting()


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", None], ids=["in a statement", "between statements"]
)
async def test_timeout_on_the_loop(shop: Workshop, statement: str | None) -> None:
    @shop.app.on("stripe", timeout="300ms")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        await connection.execute(EFFECT, ["a"])
        await (connection.execute(statement) if statement else asyncio.sleep(60))

    await shop.start()
    failure = await shop.fails()
    assert "did not return within 300 ms" in failure.message
    assert await shop.effects() == []
    await shop.resting()


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", None], ids=["in a statement", "between statements"]
)
async def test_timeout_in_a_thread(shop: Workshop, statement: str | None) -> None:
    """The thread goes on; nothing that it does counts any more."""
    ends: list[BaseException] = []

    @shop.app.on("stripe", timeout="300ms")
    def paid(event: Event, tx: SyncTransaction) -> None:
        connection = tx.connection()
        connection.execute(EFFECT, ["a"])
        try:
            if statement is None:
                shop.gate.wait()
            connection.execute(statement or EFFECT, None if statement else ["b"])
        except BaseException as error:
            ends.append(error)
            raise

    worker = await shop.start()
    failure = await shop.fails()
    assert "did not return within 300 ms" in failure.message
    await shop.resting()
    shop.gate.set()
    await until(lambda: asyncio.sleep(0, worker.threads.abandoned == 0))
    [error] = ends
    assert isinstance(error, psycopg.OperationalError if statement else TransactionError)
    assert await shop.effects() == []


async def test_connection_is_of_no_use_when_the_attempt_has_ended(shop: Workshop) -> None:
    """A task that a handler leaves behind cannot write into somebody else's transaction."""
    kept: list[Any] = []

    @shop.app.on("stripe", "async")
    async def on_the_loop(event: Event, tx: Transaction) -> None:
        kept.append(await tx.connection())

    @shop.app.on("stripe", "sync")
    def in_a_thread(event: Event, tx: SyncTransaction) -> None:
        kept.append(tx.connection())

    await shop.start()
    for kind in ("async", "sync"):
        await shop.becomes(await shop.post(kind, type=kind), EventState.PROCESSED)
    with pytest.raises(TransactionError, match="the transaction has ended"):
        await kept[0].execute(EFFECT, ["late"])
    with pytest.raises(TransactionError, match="the transaction has ended"):
        kept[1].execute(EFFECT, ["late"])
    assert await shop.effects() == []


async def test_statement_that_still_runs_at_the_end_fails_the_attempt(shop: Workshop) -> None:
    left: list[asyncio.Task[Any]] = []

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        left.append(asyncio.create_task(connection.execute("SELECT pg_sleep(60)")))
        await until(lambda: asyncio.sleep(0, connection.lock.locked()))

    await shop.start()
    failure = await shop.fails()
    assert "a statement of this handler still runs" in failure.message
    await shop.resting()
    with pytest.raises(psycopg.OperationalError):
        await left[0]


async def test_what_a_handler_sets_on_its_connection_ends_with_it(shop: Workshop) -> None:
    seen: list[Any] = []

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await tx.connection()
        seen.append(await (await connection.execute("SELECT 1 AS one")).fetchone())
        connection.row_factory = dict_row

    await shop.start()
    await shop.processed("a")
    await shop.processed("b")
    assert seen == [(1,), (1,)]


async def test_connection_that_is_never_awaited_is_noticed(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        tx.connection()

    await shop.start()
    failure = await shop.fails()
    assert "write 'await tx...' for 'tx.connection()'" in failure.message


async def test_set_up_function_has_a_connection(shop: Workshop) -> None:
    @shop.app.setup
    async def tables(tx: Transaction) -> None:
        connection = await tx.connection()
        await connection.execute("CREATE TABLE own (id int)")

    await shop.start()
    assert await shop.rows("SELECT * FROM own") == []


async def test_sqlite_has_none_to_lend(database: SqliteDatabase) -> None:
    await database.storage.accept([arrival()])
    [claim] = await database.storage.claim(1, arrival().payload.received_at, arrival().payload.received_at)
    unit = database.storage.begin(claim)
    with pytest.raises(TransactionError, match=r"tx.execute and tx.fetch only.*postgresql://"):
        await unit.connection()
    with pytest.raises(TransactionError, match=r"tx.execute and tx.fetch only"):
        unit.connection_blocking()
    with pytest.raises(TransactionError, match=r"tx.execute and tx.fetch only"):
        unit.complete_on(None, None)  # type: ignore[arg-type]  # it looks at neither
