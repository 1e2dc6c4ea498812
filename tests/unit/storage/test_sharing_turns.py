"""Who shares a commit on SQLite, and who makes a slice of handlers' transactions end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from surehook.clock import Millis
from surehook.errors import TurnLost
from surehook.model import Claim
from surehook.storage import UnitOfWork
from surehook.storage.dialect import SQLITE, load_statements
from surehook.storage.sqlite import SqliteDatabase
from surehook.storage.sqlite.connection import connect, parse_location
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.habits import FORGIVEN, SLOW_STATEMENT, Habits
from tests.builders import NOW, arrival, settlement

LEASE = Millis(NOW + 60_000)
HANDLERS = 30


@pytest.fixture
async def effects(database: SqliteDatabase) -> None:
    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE effects (name TEXT)")

    await database.run_setup([setup])


def written(path: Path) -> int:
    """How many effects another connection sees."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        [[count]] = connection.execute("SELECT count(*) FROM effects").fetchall()
        return int(str(count))
    finally:
        connection.close()


async def claimed(database: SqliteDatabase) -> list[Claim]:
    await database.storage.accept([arrival(f"e{n}", str(n).encode()) for n in range(HANDLERS)])
    return await database.storage.claim(HANDLERS, NOW, LEASE)


async def handle_all(
    database: SqliteDatabase, claims: list[Claim], first: Callable[[], Awaitable[None]]
) -> None:
    """Handlers that all want to enter; the first of them does something more while it is inside."""

    async def handle(claim: Claim) -> None:
        unit = database.storage.begin(claim)
        await unit.execute("INSERT INTO effects VALUES (?)", (claim.external_id,))
        if claim is claims[0]:
            await first()
        await unit.complete(settlement(claim))

    await asyncio.gather(*map(handle, claims))


@pytest.mark.usefixtures("effects")
@pytest.mark.parametrize("urgent", [True, False])
async def test_an_arrival_ends_a_slice_and_a_claim_does_not(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch, urgent: bool
) -> None:
    claims = await claimed(database)
    monkeypatch.setattr("surehook.storage.sqlite.turns.SLICE", 0)
    monkeypatch.setattr("surehook.storage.sqlite.turns.LONGEST_SLICE", 60)
    seen: list[int] = []
    tasks: list[asyncio.Task[None]] = []

    async def job() -> None:
        if urgent:
            await database.storage.accept([arrival("late", b"late")])
        else:
            await database.storage.claim(1, NOW, LEASE)
        seen.append(written(database.path))

    async def first() -> None:
        tasks.append(asyncio.create_task(job()))
        await asyncio.sleep(0)  # it waits for its turn now

    await handle_all(database, claims, first)
    await tasks[0]
    [count] = seen
    assert (count < HANDLERS) is urgent
    assert written(database.path) == HANDLERS


@pytest.mark.usefixtures("effects")
@pytest.mark.parametrize("undone", [True, False])
async def test_who_has_failed_hears_whether_what_it_saw_came_to_be(
    database: SqliteDatabase, undone: bool
) -> None:
    """The first writes, the second sees it and fails, the third makes SQLite roll all of it back, or does not."""
    [first, second, third, *_] = await claimed(database)
    seen: list[int] = []

    async def write() -> None:
        unit = database.storage.begin(first)
        await unit.execute("INSERT INTO effects VALUES ('first')")
        await unit.complete(settlement(first))

    async def fail() -> bool:
        unit = database.storage.begin(second)
        [row] = await unit.fetch("SELECT count(*) AS n FROM effects")
        seen.append(row["n"])
        return await unit.rollback()

    async def end() -> bool:
        unit = database.storage.begin(third)
        await unit.execute("CREATE TABLE IF NOT EXISTS one (n INTEGER PRIMARY KEY)")
        await unit.execute("INSERT INTO one VALUES (1)")
        if undone:
            with pytest.raises(apsw.ConstraintError):
                await unit.execute("INSERT OR ROLLBACK INTO one VALUES (1)")
        return await unit.rollback()

    wrote, sound, culprit = await asyncio.gather(write(), fail(), end(), return_exceptions=True)
    assert seen == [1]
    assert isinstance(wrote, TurnLost) is undone
    assert sound is not undone
    assert culprit is True


@pytest.mark.usefixtures("effects")
async def test_another_process_that_waits_ends_a_slice(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = await claimed(database)
    monkeypatch.setattr("surehook.storage.sqlite.turns.SLICE", 0)
    monkeypatch.setattr("surehook.storage.sqlite.turns.LONGEST_SLICE", 60)
    other, look = Gate(database.path), Gate(database.path)
    seen: list[int] = []

    def enter() -> None:
        other.enter()
        seen.append(written(database.path))
        other.leave()

    thread = threading.Thread(target=enter)

    async def first() -> None:
        thread.start()
        async with asyncio.timeout(20):
            while not look.wanted():
                await asyncio.sleep(0.001)

    await handle_all(database, claims, first)
    await asyncio.to_thread(thread.join, 20)
    [count] = seen
    assert count < HANDLERS
    other.close()
    look.close()


async def test_a_claim_is_prepared_once_whatever_its_values_and_what_runs_between(
    database: SqliteDatabase,
) -> None:
    connection = connect(parse_location(f"sqlite:///{database.path}"), writable=True)
    asked: list[int] = []

    def judge(action: int, *_: str | None) -> int:
        asked.append(action)
        return apsw.SQLITE_OK

    connection.authorizer = judge
    claim = load_statements(SQLITE)["claim_events"]
    values = {"since": 0, "inline_body": 1}
    connection.execute(claim, {"now": 1, "limit": 1, "lease_until": 2, **values}).fetchall()
    for _ in range(300):  # what the handlers of a batch execute
        connection.execute("SELECT 1").fetchall()
    asked.clear()
    connection.execute(claim, {"now": 7, "limit": 60, "lease_until": 8, **values}).fetchall()
    assert asked == []
    connection.close()


def test_a_long_statement_is_forgiven_after_many_short_ones(caplog: pytest.LogCaptureFixture) -> None:
    habits = Habits()
    with caplog.at_level(logging.WARNING):
        habits.saw_statement("kind", 2 * SLOW_STATEMENT, "SELECT long")
        habits.saw_statement("kind", 2 * SLOW_STATEMENT, "SELECT long")
    assert len(caplog.records) == 1
    for _ in range(FORGIVEN - 1):
        habits.saw_statement("kind", 0, "SELECT 1")
    habits.saw_statement("kind", 2 * SLOW_STATEMENT, "SELECT long")
    for _ in range(FORGIVEN - 1):
        habits.saw_statement("kind", 0, "SELECT 1")
    assert habits.is_heavy("kind")
    habits.saw_statement("kind", 0, "SELECT 1")
    assert not habits.is_heavy("kind")
