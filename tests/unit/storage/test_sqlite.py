"""What is SQLite's own: durability settings, turns, budget, guard, gate, migrations."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import apsw
import pytest

from surehook.clock import ManualClock, Millis
from surehook.errors import (
    CommitUnknown,
    ConfigurationError,
    SurehookError,
    TransactionError,
    TurnLost,
    Unavailable,
)
from surehook.model import Claim, RowFilter
from surehook.storage import UnitOfWork
from surehook.storage.migrate import require_current
from surehook.storage.sqlite import SqliteDatabase, open_sqlite
from surehook.storage.sqlite.connection import connect, parse_location
from surehook.storage.sqlite.gate import Gate
from surehook.storage.sqlite.unit import SqliteUnit
from tests.builders import NOW, arrival, message, settlement

LEASE = Millis(NOW + 60_000)
INSERT = "INSERT INTO effects (name) VALUES (?)"


async def claimed(database: SqliteDatabase, *external_ids: str) -> list[Claim]:
    accepted = await database.storage.accept([arrival(each, each.encode()) for each in external_ids])
    claims = await database.storage.claim(len(external_ids), NOW, LEASE, [each.id for [each] in accepted])
    return sorted(claims, key=lambda claim: external_ids.index(claim.external_id))


@pytest.fixture
async def effects(database: SqliteDatabase) -> None:
    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE effects (name TEXT)")

    await database.run_setup([setup])


def rows(database: SqliteDatabase, sql: str) -> list[tuple[object, ...]]:
    """What another connection sees."""
    connection = apsw.Connection(str(database.path))
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# settings


def test_commits_are_durable_by_default(tmp_path: Path) -> None:
    connection = connect(parse_location(f"sqlite:///{tmp_path}/a.db"), writable=True, create=True)
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("journal_mode") == "wal"
    connection.close()
    assert (tmp_path / "a.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite:///a.db?synchronous=MAYBE",
    ],
)
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database ="):
        parse_location(url)


async def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(SurehookError, match="does not exist; make it first"):
        await open_sqlite(f"sqlite:///{tmp_path}/no/such.db")


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"precious notes" * 100)
    with pytest.raises(Unavailable, match="not a database"):
        await open_sqlite(f"sqlite:///{tmp_path}/a.db")
    assert (tmp_path / "a.db").read_bytes().startswith(b"precious notes")


# turns


@pytest.mark.usefixtures("effects")
async def test_arrivals_and_handlers_share_commits(database: SqliteDatabase) -> None:
    claims = await claimed(database, *(f"e{n}" for n in range(30)))

    async def handle(claim: Claim) -> None:
        unit = database.storage.begin(claim)
        await unit.execute(INSERT, (claim.external_id,))
        await unit.complete(settlement(claim, messages=(message(),)))

    async def arrive(number: int) -> None:
        await database.storage.accept([arrival(f"x{number}", str(number).encode())])

    await asyncio.gather(*map(handle, claims), *map(arrive, range(200)))
    assert rows(database, "SELECT count(*) FROM effects") == [(30,)]
    assert rows(database, "SELECT state, count(*) FROM inbox_events GROUP BY 1 ORDER BY 1") == [
        ("PROCESSED", 30),
        ("RECEIVED", 200),
    ]


@pytest.mark.usefixtures("effects")
async def test_a_failing_statement_undoes_only_itself_and_its_handler_decides(
    database: SqliteDatabase,
) -> None:
    [one, two] = await claimed(database, "a", "b")
    broken, sound = database.storage.begin(one), database.storage.begin(two)
    with pytest.raises(apsw.SQLError, match="no such table"):
        await broken.execute("INSERT INTO nowhere VALUES (1)")
    await broken.rollback()
    await sound.execute(INSERT, ("b",))
    await sound.complete(settlement(two))
    assert rows(database, "SELECT name FROM effects") == [("b",)]


@pytest.mark.usefixtures("effects")
async def test_a_held_transaction_is_rolled_back_at_the_end_of_its_budget(
    tmp_path: Path, clock: ManualClock
) -> None:
    database = await open_sqlite(f"sqlite:///{tmp_path}/b.db", transaction_budget=50)
    await database.migrate(clock)

    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE effects (name TEXT)")

    await database.run_setup([setup])
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    expired = asyncio.Event()
    unit.on_expired(expired.set)
    await unit.execute(INSERT, ("a",))
    waiting = asyncio.create_task(database.storage.accept([arrival("later", b"later")]))
    await expired.wait()
    await waiting  # who waited for the turn got it
    with pytest.raises(TransactionError, match="longer than its budget of 50 ms"):
        await unit.execute(INSERT, ("b",))
    with pytest.raises(TransactionError, match="longer than its budget"):
        await unit.complete(settlement(claim))
    assert rows(database, "SELECT * FROM effects") == []
    await database.close()


async def test_the_budget_interrupts_a_statement_in_a_thread(tmp_path: Path, clock: ManualClock) -> None:
    database = await open_sqlite(f"sqlite:///{tmp_path}/b.db", transaction_budget=50)
    await database.migrate(clock)
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(SurehookError):
        await asyncio.to_thread(unit.fetch_blocking, endless)
    await unit.rollback()
    [[accepted]] = await database.storage.accept([arrival("b", b"b")])
    assert not accepted.duplicate
    await database.close()


@pytest.mark.usefixtures("effects")
async def test_a_cancelled_wait_for_the_turn_leaves_no_trace(database: SqliteDatabase) -> None:
    [one, two] = await claimed(database, "a", "b")
    holder, waiter = database.storage.begin(one), database.storage.begin(two)
    await holder.execute(INSERT, ("a",))
    waiting = asyncio.create_task(waiter.execute(INSERT, ("b",)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await waiter.rollback()
    await holder.complete(settlement(one))
    assert rows(database, "SELECT name FROM effects") == [("a",)]


@pytest.mark.usefixtures("effects")
async def test_a_thread_whose_attempt_has_ended_while_it_waited_gets_nothing(
    database: SqliteDatabase,
) -> None:
    [one, two] = await claimed(database, "a", "b")
    holder, late = database.storage.begin(one), database.storage.begin(two)
    await holder.execute(INSERT, ("a",))
    waiting = asyncio.create_task(asyncio.to_thread(late.execute_blocking, INSERT, ("late",)))
    while not database._turns._guests:
        await asyncio.sleep(0)
    await late.rollback()  # the timeout of its attempt
    await holder.complete(settlement(one))
    with pytest.raises(TransactionError, match="has ended"):
        await waiting
    await database.storage.accept([arrival("c", b"c")])
    assert rows(database, "SELECT name FROM effects") == [("a",)]


@pytest.mark.usefixtures("effects")
async def test_rollback_interrupts_what_a_thread_still_runs(database: SqliteDatabase) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    await unit.execute(INSERT, ("a",))
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    running = asyncio.create_task(asyncio.to_thread(unit.fetch_blocking, endless))
    while not unit._lock.locked():
        await asyncio.sleep(0)
    await unit.rollback()
    with pytest.raises(SurehookError):
        await running
    [[accepted]] = await database.storage.accept([arrival("b", b"b")])
    assert not accepted.duplicate
    assert rows(database, "SELECT * FROM effects") == []


async def test_after_its_end_a_transaction_refuses(database: SqliteDatabase) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    await unit.fetch("SELECT 1")
    await unit.complete(settlement(claim))
    with pytest.raises(TransactionError, match="has ended"):
        await unit.fetch("SELECT 1")


@pytest.mark.usefixtures("effects")
async def test_a_violated_deferred_foreign_key_fails_its_own_event_only(database: SqliteDatabase) -> None:
    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        await unit.execute(
            "CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)"
        )

    await database.run_setup([setup])
    [one, two] = await claimed(database, "a", "b")
    orphan, sound = database.storage.begin(one), database.storage.begin(two)
    await orphan.execute("INSERT INTO children (parent) VALUES (7)")
    with pytest.raises(TransactionError, match="deferred foreign key"):
        await orphan.complete(settlement(one))
    await sound.execute(INSERT, ("b",))
    await sound.complete(settlement(two))
    assert rows(database, "SELECT * FROM children") == []
    assert rows(database, "SELECT name FROM effects") == [("b",)]


# the guard


@pytest.mark.usefixtures("effects")
@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "ROLLBACK",
        "END",
        "BEGIN",
        "SAVEPOINT mine",
        "RELEASE part",
        "ROLLBACK TO part",
        "INSERT INTO effects (name) VALUES ('x'); COMMIT",
        "/* hidden */ commit",
        "ATTACH 'other.db' AS other",
        "PRAGMA synchronous = OFF",
        "VACUUM",
        "DELETE FROM inbox_events",
        "UPDATE outbox_messages SET state = 'SENT'",
        "INSERT INTO audit_log (seq) VALUES (1)",
        "DROP TABLE inbox_payloads",
        "ALTER TABLE inbox_events ADD COLUMN x",
        "CREATE TEMP TRIGGER t AFTER INSERT ON main.inbox_events BEGIN SELECT 1; END",
        "CREATE UNIQUE INDEX i ON inbox_events (provider)",
        "CREATE TEMP TABLE INBOX_EVENTS (x)",
        "CREATE TEMP VIEW outbox_messages AS SELECT 1",
        "CREATE TRIGGER t AFTER INSERT ON inbox_events BEGIN SELECT 1; END",
    ],
)
async def test_a_handler_cannot_end_or_leave_its_transaction(database: SqliteDatabase, sql: str) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    await unit.execute(INSERT, ("kept",))
    with pytest.raises((TransactionError, apsw.SQLError)):
        await unit.execute(sql)
    await unit.rollback()
    assert rows(database, "SELECT * FROM effects") == []
    assert rows(database, "SELECT state FROM inbox_events") == [("PROCESSING",)]


async def test_a_handler_can_read_surehooks_tables(database: SqliteDatabase) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    assert await unit.fetch("SELECT external_id FROM inbox_events") == [{"external_id": "a"}]
    await unit.rollback()


# faults


async def test_a_commit_that_fails_is_unknown_and_the_next_one_works(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit hook makes SQLite turn the commit into a rollback, as a disk that fails does."""
    connection = database._turns._connection
    assert connection is not None
    connection.set_commit_hook(lambda: True)
    with pytest.raises(CommitUnknown, match="did not confirm"):
        await database.storage.accept([arrival("a", b"a")])
    [[accepted]] = await database.storage.accept([arrival("a", b"a")])
    assert not accepted.duplicate
    assert database._turns._connection is not connection


async def test_a_database_that_a_stranger_locks_is_unavailable_not_lost(database: SqliteDatabase) -> None:
    stranger = apsw.Connection(str(database.path))
    stranger.execute("BEGIN IMMEDIATE")
    refused = asyncio.create_task(database.storage.accept([arrival("a", b"a")]))
    with pytest.raises(Unavailable, match="locked the database for 5 s"):
        await refused
    stranger.execute("ROLLBACK")
    stranger.close()
    [[accepted]] = await database.storage.accept([arrival("a", b"a")])
    assert not accepted.duplicate


async def test_a_full_disk_refuses_and_recovers(database: SqliteDatabase) -> None:
    connection = database._turns._connection
    assert connection is not None
    connection.execute(f"PRAGMA max_page_count = {connection.pragma('page_count') + 2}")
    large = b"x" * 50_000
    with pytest.raises(Unavailable, match="full"):
        await database.storage.accept([arrival("a", large)])
    [[small]] = await database.storage.accept([arrival("b", b"b")])
    assert not small.duplicate
    connection.execute("PRAGMA max_page_count = 100000")
    [[again]] = await database.storage.accept([arrival("a", large)])
    assert not again.duplicate


async def test_a_removed_file_takes_nothing_more(database: SqliteDatabase) -> None:
    await database.storage.accept([arrival("a", b"a")])
    moved = database.path.with_suffix(".moved")
    database.path.rename(moved)
    with pytest.raises(Unavailable, match="is gone"):
        await database.storage.accept([arrival("b", b"b")])
    assert not database.path.exists()
    moved.rename(database.path)
    [[accepted]] = await database.storage.accept([arrival("b", b"b")])
    assert not accepted.duplicate


@pytest.mark.usefixtures("effects")
async def test_what_makes_sqlite_roll_back_hurts_others_once_at_most(database: SqliteDatabase) -> None:
    """An arrival that shares the turn is stored, a neighbour is told to run again, and the next time they are apart."""

    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE once (name TEXT PRIMARY KEY ON CONFLICT ROLLBACK)")
        await unit.execute("INSERT INTO once VALUES ('x')")

    await database.run_setup([setup])
    for attempt in ("first", "second"):
        [neighbour] = await claimed(database, f"n-{attempt}")
        good = database.storage.begin(neighbour)
        bad = SqliteUnit(database.storage._shared, "guilty", budget=2_000)

        async def succeed(good: SqliteUnit = good, claim: Claim = neighbour) -> None:
            await good.execute(INSERT, (claim.external_id,))
            await good.complete(settlement(claim))

        async def fail(bad: SqliteUnit = bad) -> None:
            with pytest.raises(apsw.ConstraintError):
                await bad.execute("INSERT INTO once VALUES ('x')")
            await bad.rollback()

        results = await asyncio.gather(
            database.storage.accept([arrival(f"a-{attempt}", attempt.encode())]),
            succeed(),
            fail(),
            return_exceptions=True,
        )
        assert isinstance(results[0], list)
        assert isinstance(results[1], TurnLost) == (attempt == "first")
    assert rows(database, "SELECT name FROM effects") == [("n-second",)]
    stored = rows(database, "SELECT external_id FROM inbox_events WHERE external_id LIKE 'a-%'")
    assert stored == [("a-first",), ("a-second",)]


async def test_between_two_slow_transactions_everyone_else_has_a_turn(
    tmp_path: Path, clock: ManualClock
) -> None:
    database = await open_sqlite(f"sqlite:///{tmp_path}/b.db", transaction_budget=60)
    await database.migrate(clock)
    ended: list[str] = []

    async def hold(claim: Claim) -> None:
        unit = database.storage.begin(claim)
        over = asyncio.Event()
        unit.on_expired(over.set)
        await unit.fetch("SELECT 1")
        await over.wait()
        ended.append(claim.external_id)

    holders = [asyncio.create_task(hold(claim)) for claim in await claimed(database, *map(str, range(8)))]
    while len(ended) < 1:  # from then on they are known to be slow
        await asyncio.sleep(0)
    for number in range(20):
        before = len(ended)
        await database.storage.accept([arrival(f"a{number}", f"a{number}".encode())])
        assert len(ended) - before <= 1
    await asyncio.gather(*holders)
    await database.close()


@pytest.mark.usefixtures("effects")
async def test_two_statements_at_once_are_refused_at_once(database: SqliteDatabase) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    results = await asyncio.gather(
        unit.execute(INSERT, ("a",)), unit.execute(INSERT, ("b",)), return_exceptions=True
    )
    assert results[0] == 1
    assert "one statement at a time" in str(results[1])
    await unit.rollback()


async def test_a_set_up_may_take_longer_than_the_budget(tmp_path: Path, clock: ManualClock) -> None:
    database = await open_sqlite(f"sqlite:///{tmp_path}/b.db", transaction_budget=10)
    await database.migrate(clock)
    long = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) INSERT INTO t SELECT i FROM n"

    async def setup(unit: UnitOfWork) -> None:
        await unit.execute("CREATE TABLE t (i)")
        for _ in range(2):  # the second one knows that the first was long
            await unit.execute(long)

    await database.run_setup([setup])
    assert rows(database, "SELECT count(*) FROM t") == [(600_000,)]
    await database.close()


@pytest.mark.usefixtures("effects")
async def test_a_process_that_keeps_the_room_makes_us_unavailable_not_hang(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surehook.storage.sqlite.entrance.PATIENCE", 0.2)
    with other_process(database.path, "0", "stay") as other:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == "inside\n"
        for number in range(2):
            with pytest.raises(Unavailable, match="another process has kept"):
                await database.storage.accept([arrival(f"{number}", b"a")])
        other.kill()
    monkeypatch.undo()
    [[accepted]] = await database.storage.accept([arrival("a", b"a")])
    assert not accepted.duplicate


@pytest.mark.usefixtures("effects")
async def test_the_room_that_comes_too_late_is_given_back(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surehook.storage.sqlite.entrance.PATIENCE", 0.1)
    other = Gate(database.path)
    other.enter()
    with pytest.raises(Unavailable, match="another process has kept"):
        await database.storage.accept([arrival("a", b"a")])
    other.leave()

    async def free_again() -> None:
        while not other.try_enter():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(free_again(), 20)
    other.leave()
    other.close()


async def test_a_replaced_file_is_noticed(database: SqliteDatabase) -> None:
    await database.check()
    database.path.rename(database.path.with_suffix(".moved"))
    with pytest.raises(Unavailable, match="is gone"):
        await database.check()
    database.path.write_bytes(b"")
    with pytest.raises(Unavailable, match="was replaced"):
        await database.check()


# other processes


WRITER = """
    import sys, apsw
    from pathlib import Path
    from surehook.storage.sqlite.gate import Gate
    path = Path(sys.argv[1])
    gate = Gate(path)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(60_000)
    for number in range(int(sys.argv[2])):
        gate.enter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO effects (name) VALUES ('other')")
        connection.execute("COMMIT")
        gate.leave()
        print(number, flush=True)
    if len(sys.argv) > 3:
        gate.enter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO effects (name) VALUES ('unfinished')")
        print("inside", flush=True)
        sys.stdin.read()
"""


def other_process(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.usefixtures("effects")
async def test_another_process_is_never_starved(database: SqliteDatabase) -> None:
    done = threading.Event()
    accepted = 0

    async def hammer(lane: int) -> None:
        nonlocal accepted
        number = 0
        while not done.is_set():
            number += 1
            await database.storage.accept([arrival(f"{lane}-{number}", f"{lane}-{number}".encode())])
            accepted += 1

    lanes = [asyncio.create_task(hammer(lane)) for lane in range(8)]
    with other_process(database.path, "50") as other:
        out, _ = await asyncio.to_thread(other.communicate)
        done.set()
        await asyncio.gather(*lanes)
    assert out.split() == [str(number) for number in range(50)]
    assert rows(database, "SELECT count(*) FROM effects") == [(50,)]
    assert rows(database, "SELECT count(*) FROM inbox_events") == [(accepted,)]


@pytest.mark.usefixtures("effects")
async def test_a_process_that_dies_inside_lets_the_others_in(database: SqliteDatabase) -> None:
    with other_process(database.path, "0", "stay") as other:
        assert other.stdout is not None
        assert await asyncio.to_thread(other.stdout.readline) == "inside\n"
        waiting = asyncio.create_task(database.storage.accept([arrival("a", b"a")]))
        await asyncio.sleep(0)
        assert not waiting.done()
        other.kill()
        [[accepted]] = await waiting
    assert not accepted.duplicate
    assert rows(database, "SELECT * FROM effects") == []


def test_the_gate_lets_one_in_at_a_time(tmp_path: Path) -> None:
    first, second = Gate(tmp_path / "a.db"), Gate(tmp_path / "a.db")
    assert first.try_enter()
    assert not second.try_enter()
    first.leave()
    assert second.try_enter()
    second.leave()
    first.close()
    second.close()


# migrations


async def test_an_unmigrated_database_is_refused(tmp_path: Path) -> None:
    database = await open_sqlite(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(match="surehook migrate up"):
        require_current(await database.migrations())
    await database.close()


async def test_migrating_twice_does_nothing_more(database: SqliteDatabase, clock: ManualClock) -> None:
    assert await database.migrate(clock) == []
    require_current(await database.migrations())


# plans


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("claim_events", "inbox_events_due_index"),
        ("rescue_events", "inbox_events_lease_index"),
        ("claim_messages", "outbox_messages_due_index"),
        ("rescue_messages", "outbox_messages_lease_index"),
        ("find_ignored", "inbox_events_ignored_index"),
        ("find_suspect", "inbox_events_suspect_index"),
        ("find_due", "inbox_events_due_index"),
        ("find_known", "sqlite_autoindex_inbox_events_2"),
    ],
)
async def test_hot_statements_use_their_index(database: SqliteDatabase, statement: str, index: str) -> None:
    sql = database.storage._texts[statement].sql
    connection = apsw.Connection(str(database.path))
    plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", _Anything()).fetchall()
    connection.close()
    details = " | ".join(str(row[3]) for row in plan)
    assert index in details
    assert "SCAN inbox_events" not in details.replace("SCAN inbox_events USING", "")
    assert "TEMP B-TREE" not in details


class _Anything(dict[str, object]):
    """A value for every parameter; the plan does not depend on it."""

    def __missing__(self, key: str) -> int:
        return 1


async def test_pages_are_read_while_a_transaction_is_open(database: SqliteDatabase) -> None:
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    await unit.fetch("SELECT 1")
    assert [event.external_id for event in await database.reader.events(RowFilter())] == ["a"]
    await unit.rollback()


async def test_quick_transactions_are_not_starved_by_slow_ones_and_arrivals(database: SqliteDatabase) -> None:
    shared = database.storage._shared
    shared.habits.saw_harm("slow")
    over = False

    async def arrivals() -> None:
        number = 0
        while not over:
            number += 1
            await database.storage.accept([arrival(f"a{number}", str(number).encode())])

    async def guests(kind: str, hold: float) -> None:
        while not over:
            unit = SqliteUnit(shared, kind, budget=2_000)
            await unit.fetch("SELECT 1")
            await asyncio.sleep(hold)
            await unit.commit()

    others = [asyncio.create_task(arrivals()), *(asyncio.create_task(guests("slow", 0.02)) for _ in range(4))]
    async with asyncio.timeout(60):  # for ever, when they are starved
        for _ in range(20):
            unit = SqliteUnit(shared, "quick", budget=2_000)
            await unit.fetch("SELECT 1")
            await unit.commit()
    over = True
    await asyncio.gather(*others)
