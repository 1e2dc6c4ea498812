"""Attempts that others undo again and again: not the handler's fault, but not to go on for ever, nor unseen."""

from __future__ import annotations

import logging

import pytest

from surehook.clock import ManualClock
from surehook.config import HandlerSettings
from surehook.handlers import Event, Registry, Transaction
from surehook.ids import EventId, uuid7
from surehook.outbox import Outbox
from surehook.queue.database import DatabaseQueue
from surehook.states import EventState
from surehook.storage.postgres import PostgresDatabase, open_postgres
from surehook.work.turns import PATIENCE, LostTurns
from surehook.work.worker import Tools, Worker
from tests.builders import NOW, arrival
from tests.scenario.waiting import wait_until
from tests.services import PostgresServer


def test_turns_are_counted_in_a_row() -> None:
    turns, id, other = LostTurns(), EventId(uuid7(NOW)), EventId(uuid7(NOW))
    assert all(turns.lose(id) for _ in range(PATIENCE))
    assert turns.lose(other)
    assert not turns.lose(id)
    assert turns.lose(id), "it was counted, and the next row begins"
    turns.end(id)
    assert all(turns.lose(id) for _ in range(PATIENCE))


def worker_of(database: PostgresDatabase, app: Registry, clock: ManualClock) -> Worker:
    tools = Tools(
        storage=database.storage,
        reader=database.reader,
        queue=DatabaseQueue(),
        registry=app,
        outbox=Outbox([], clock),
        forwards=(),
        clock=clock,
        settings=HandlerSettings(retries=(10_000,), poll=10),
        name="here",
    )
    return Worker(tools)


async def test_what_is_never_its_turn_becomes_a_failure_that_one_can_see(
    postgres: PostgresServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """In REPEATABLE READ a transaction that outlasts a heartbeat cannot complete: the event's row is a newer one."""
    app = Registry()
    attempts: list[int] = []

    @app.on("stripe")
    async def outlast(event: Event, tx: Transaction) -> None:
        attempts.append(event.attempt)
        await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await tx.fetch("SELECT 1 FROM inbox_events")
        await worker.heartbeat()

    with postgres.database() as url:
        database = await open_postgres(url)
        await database.migrate(clock)
        [[accepted]] = await database.storage.accept([arrival(now=clock.now())])
        worker = worker_of(database, app, clock)
        worker.start()

        async def counted() -> bool:
            clock.advance(100)
            row = await database.reader.event(accepted.id)
            return row is not None and (row.state, row.attempts) == (EventState.RETRYING, 1)

        await wait_until(counted, "an attempt has failed")
        [failed] = await database.reader.failures(accepted.id)
        await worker.stop(0)
        await database.close()
    assert "could not serialize access" in failed.failure.message
    assert attempts == [1] * (PATIENCE + 1)
    told = [
        each for each in caplog.records if each.levelno == logging.WARNING and "runs again" in each.message
    ]
    assert len(told) == PATIENCE
