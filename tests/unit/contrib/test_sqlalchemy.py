"""Handlers on SQLAlchemy's session inside their event's transaction: ``tx.session()``."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from surehook.errors import TransactionError
from surehook.handlers import Event, SyncTransaction, Transaction
from surehook.states import EventState
from surehook.storage.sqlite import SqliteDatabase
from tests.unit.contrib.workshop import Workshop, until


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"
    name: Mapped[str] = mapped_column(primary_key=True)
    tool: Mapped[str | None]


async def test_what_was_added_is_flushed_and_committed(shop: Workshop) -> None:
    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        session: AsyncSession = await tx.session()
        assert await tx.session() is session
        session.add(Effect(name=event.external_id, tool="orm"))
        tx.publish("ledger", type="paid", data={})

    await shop.start()
    await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 1)
    await shop.resting()


async def test_session_in_a_thread(shop: Workshop) -> None:
    @shop.app.on("stripe")
    def paid(event: Event, tx: SyncTransaction) -> None:
        session: Session = tx.session()
        assert tx.session() is session
        session.add(Effect(name=event.external_id))
        tx.publish("ledger", type="paid", data={})

    await shop.start()
    await shop.processed()
    assert (await shop.effects(), await shop.messages()) == (["a"], 1)
    await shop.resting()


async def test_two_handlers_share_one_transaction(shop: Workshop) -> None:
    """Each with a session of its own, and with Surehook's and the driver's statements in between."""

    @shop.app.on("stripe")
    async def first(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="orm"))
        await session.flush()
        assert await tx.fetch("SELECT name FROM effects") == [{"name": "orm"}]
        await tx.execute("INSERT INTO effects (name) VALUES ('tx')")
        await (await tx.connection()).execute("INSERT INTO effects (name) VALUES ('driver')")
        assert len((await session.scalars(sqlalchemy.select(Effect))).all()) == 3

    @shop.app.on("stripe")
    def second(event: Event, tx: SyncTransaction) -> None:
        session = tx.session()
        assert session.get_one(Effect, "orm").tool is None
        session.execute(sqlalchemy.update(Effect).values(tool="both"))
        if event.external_id == "bad":
            raise RuntimeError("nothing of it stays")

    await shop.start()
    await shop.fails("bad")
    assert await shop.effects() == []
    await shop.processed("good")
    assert await shop.rows("SELECT name FROM effects WHERE tool = 'both' ORDER BY name") == [
        {"name": "driver"},
        {"name": "orm"},
        {"name": "tx"},
    ]
    await shop.resting()


async def test_core_works_as_well(shop: Workshop) -> None:
    @shop.app.setup
    async def tables(tx: Transaction) -> None:
        session = await tx.session()
        await (await session.connection()).run_sync(Base.metadata.create_all)

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        connection = await (await tx.session()).connection()
        await connection.execute(sqlalchemy.insert(Effect), [{"name": "a"}, {"name": "b"}])
        stream = await connection.stream(sqlalchemy.select(Effect.name).order_by(Effect.name))
        assert [row.name async for row in stream] == ["a", "b"]

    await shop.start()
    await shop.processed()
    assert await shop.effects() == ["a", "b"]
    await shop.resting()


async def test_thirty_events_at_once(shop: Workshop) -> None:
    @shop.app.on("stripe", "async")
    async def on_the_loop(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name=event.external_id))
        await session.commit()
        tx.publish("ledger", type="paid", data={})

    @shop.app.on("stripe", "sync")
    def in_a_thread(event: Event, tx: SyncTransaction) -> None:
        with tx.session().begin():
            tx.session().add(Effect(name=event.external_id))
        tx.publish("ledger", type="paid", data={})

    await shop.start()
    names = [f"{number:02}" for number in range(30)]
    ids = await asyncio.gather(*(shop.post(n, type=["async", "sync"][int(n) % 2]) for n in names))
    for id in ids:
        await shop.becomes(id, EventState.PROCESSED)
    assert (await shop.effects(), await shop.messages()) == (names, 30)
    await shop.resting()


async def test_commit_and_rollback_end_a_savepoint(shop: Workshop) -> None:
    """A commit keeps what stands before it from a later rollback, and nothing of it is committed before the event is."""

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="kept"))
        await session.commit()
        assert await shop.effects() == []
        session.add(Effect(name="undone"))
        await session.flush()
        await session.rollback()
        session.add(Effect(name="kept"))
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()
        session.add(Effect(name="kept, too"))
        if event.external_id == "bad":
            await session.commit()
            raise RuntimeError("nothing of it stays")

    await shop.start()
    await shop.fails("bad")
    assert await shop.effects() == []
    await shop.processed("good")
    assert await shop.effects() == ["kept", "kept, too"]
    await shop.resting()


async def test_error_of_the_last_flush_fails_the_attempt(shop: Workshop) -> None:
    @shop.app.on("stripe", "async")
    async def on_the_loop(event: Event, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effects (name) VALUES ('a')")
        (await tx.session()).add(Effect(name="a"))

    @shop.app.on("stripe", "sync")
    def in_a_thread(event: Event, tx: SyncTransaction) -> None:
        tx.execute("INSERT INTO effects (name) VALUES ('a')")
        tx.session().add(Effect(name="a"))

    await shop.start()
    for kind in ("async", "sync"):
        id = await shop.post(kind, type=kind)
        await shop.becomes(id, EventState.RETRYING)
        [row] = await shop.database.reader.failures(id)
        assert row.failure.error_type == "sqlalchemy.exc.IntegrityError"
        assert await shop.effects() == []
    await shop.resting()


async def test_flush_that_failed_and_was_caught_fails_the_attempt(shop: Workshop) -> None:
    """Everything in the session's savepoint is gone then, so the event must not count as done."""

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="a"))
        await session.flush()
        await session.execute(text("INSERT INTO effects (name) VALUES ('b')"))
        session.add(Effect(name="b"))
        with contextlib.suppress(SQLAlchemyError):
            await session.flush()

    await shop.start()
    failure = await shop.fails()
    assert failure.error_type == "sqlalchemy.exc.PendingRollbackError"
    await shop.resting()


async def test_error_that_is_caught_undoes_the_attempt(shop: Workshop) -> None:
    @shop.app.on("stripe", "async")
    async def on_the_loop(event: Event, tx: Transaction) -> None:
        with contextlib.suppress(SQLAlchemyError):
            await (await tx.session()).execute(text("SELECT 1 / 0"))

    @shop.app.on("stripe", "sync")
    def in_a_thread(event: Event, tx: SyncTransaction) -> None:
        with contextlib.suppress(SQLAlchemyError):
            tx.session().execute(text("SELECT 1 / 0"))

    await shop.start()
    for kind in ("async", "sync"):
        id = await shop.post(kind, type=kind)
        await shop.becomes(id, EventState.RETRYING)
        [row] = await shop.database.reader.failures(id)
        assert "its error was caught" in row.failure.message
    await shop.resting()


@pytest.mark.parametrize("verb", ["commit", "rollback", "close"])
async def test_end_of_the_transaction_is_not_the_handlers(shop: Workshop, verb: str) -> None:
    """session.commit() is a savepoint's; the commit of the connection beneath would be the transaction's."""

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="a"))
        connection = await session.connection()
        await getattr(connection, verb)()

    await shop.start()
    failure = await shop.fails()
    assert "to Surehook" in failure.message
    assert await shop.effects() == []
    await shop.resting()


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", None], ids=["in a statement", "between statements"]
)
async def test_timeout_on_the_loop(shop: Workshop, statement: str | None) -> None:
    @shop.app.on("stripe", timeout="300ms")
    async def paid(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="a"))
        await session.flush()
        await (session.execute(text(statement)) if statement else asyncio.sleep(60))

    await shop.start()
    failure = await shop.fails()
    assert "did not return within 300 ms" in failure.message
    assert await shop.effects() == []
    await shop.resting()


@pytest.mark.parametrize(
    "statement", ["SELECT pg_sleep(60)", None], ids=["in a statement", "between statements"]
)
async def test_timeout_in_a_thread(shop: Workshop, statement: str | None) -> None:
    ends: list[BaseException] = []

    @shop.app.on("stripe", timeout="300ms")
    def paid(event: Event, tx: SyncTransaction) -> None:
        session = tx.session()
        session.add(Effect(name="a"))
        session.flush()
        try:
            if statement is None:
                shop.gate.wait()
            session.execute(text(statement or "SELECT 1"))
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
    assert isinstance(error, SQLAlchemyError if statement else TransactionError)
    assert await shop.effects() == []


async def test_session_that_was_left_open_in_a_thread_flushes_nothing(shop: Workshop) -> None:
    """Its handler returns after the timeout, so the flush at its end comes too late."""

    @shop.app.on("stripe", timeout="300ms")
    def paid(event: Event, tx: SyncTransaction) -> None:
        tx.session().add(Effect(name="a"))
        shop.gate.wait()

    worker = await shop.start()
    await shop.fails()
    shop.gate.set()
    await until(lambda: asyncio.sleep(0, worker.threads.abandoned == 0))
    assert await shop.effects() == []
    await shop.resting()


async def test_session_is_of_no_use_when_the_attempt_has_ended(shop: Workshop) -> None:
    kept: list[Any] = []

    @shop.app.on("stripe")
    async def paid(event: Event, tx: Transaction) -> None:
        session = await tx.session()
        session.add(Effect(name="a"))
        kept.append(session)

    await shop.start()
    await shop.processed()
    with pytest.raises(SQLAlchemyError):
        await kept[0].execute(text("INSERT INTO effects (name) VALUES ('late')"))
    assert await shop.effects() == ["a"]


async def test_sqlite_has_no_session(database: SqliteDatabase) -> None:
    async def setup(unit: Any) -> None:
        tx = Transaction(unit, None)
        with pytest.raises(TransactionError, match=r"tx.execute and tx.fetch only.*postgresql://"):
            await tx.session()

    await database.run_setup([setup])


@pytest.mark.parametrize("missing", ["sqlalchemy", "greenlet"])
def test_missing_extra_is_named(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
from surehook.handlers import transaction
try:
    transaction._sessions()
except transaction.TransactionError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'surehook[sqlalchemy]'" in run.stdout
