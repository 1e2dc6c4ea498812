"""Changing the schema of a PostgreSQL database that is in use: many migrators, locks, and the days' partitions."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from surehook.clock import ManualClock, Millis, isoformat
from surehook.errors import Unavailable
from surehook.ids import PayloadId, uuid7
from surehook.storage.dialect import POSTGRESQL
from surehook.storage.migrate import LEDGER, load_migrations, require_current, split_script
from surehook.storage.postgres import PostgresDatabase, open_postgres
from surehook.storage.postgres.schema import DAYS_AHEAD, LOCK_TIMEOUT, MOVED
from tests.builders import NOW, arrival
from tests.scenario.waiting import wait_until
from tests.services import PostgresServer

DAY = 86_400_000
LEASE = 60_000
#: Seconds that a busy machine may take for what should take none.
SLACK = 1.0
MIGRATE = [sys.executable, "-m", "surehook", "migrate", "up", "--json"]


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    """A database without a table."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def old_url(empty_url: str) -> str:
    """A database with schema 1, as a version left it that knew no other."""
    [first, *_] = load_migrations(POSTGRESQL.name)
    with psycopg.connect(empty_url) as connection:
        connection.execute(LEDGER)
        for statement in split_script(POSTGRESQL.render(first.sql)):
            connection.execute(statement.encode())
        connection.execute(
            "INSERT INTO schema_migrations VALUES (1, %s, %s, 1)", (first.name, first.checksum)
        )
    return empty_url


async def test_migrators_at_once_under_another_default_isolation(empty_url: str, clock: ManualClock) -> None:
    """Who waits for the lock must see what its holder has made."""
    name = empty_url.rpartition("/")[2]
    execute(empty_url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    databases = [await open_postgres(empty_url) for _ in range(4)]
    applied = await asyncio.gather(*(database.migrate(clock) for database in databases))
    assert sorted(map(len, applied)) == [0, 0, 0, len(load_migrations(POSTGRESQL.name))]
    for database in databases:
        await database.close()


def execute(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def migrator(url: str, folder: os.PathLike[str]) -> subprocess.Popen[str]:
    """A process of its own that migrates."""
    environment = {**os.environ, "SUREHOOK_DATABASE": url}
    return subprocess.Popen(
        MIGRATE, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def waits_for_lock(url: str) -> bool:
    return bool(
        execute(
            url,
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() "
            "AND application_name = 'surehook'",
        )
    )


# migrators


def test_of_four_processes_at_once_one_migrates(empty_url: str, tmp_path: os.PathLike[str]) -> None:
    processes = [migrator(empty_url, tmp_path) for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], answers
    applied = [json.loads(output) for output, _ in answers]
    assert sorted(map(len, applied)) == [0, 0, 0, len(load_migrations(POSTGRESQL.name))]


async def test_a_migrator_that_is_killed_leaves_nothing_half_done(
    old_url: str, tmp_path: os.PathLike[str], clock: ManualClock
) -> None:
    before = execute(
        old_url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    with psycopg.connect(old_url) as reader:
        reader.execute("SELECT 1 FROM inbox_payloads")  # the migration cannot rename it now
        process = migrator(old_url, tmp_path)
        await wait_until(lambda: waits_for_lock(old_url), "it is in the middle")
        process.kill()
        process.communicate()
    assert before == execute(
        old_url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    database = await open_postgres(old_url)
    assert [each.version for each in await database.migrate(clock)] == [2, 3, 4]
    require_current(await database.migrations())
    await database.close()


async def test_a_migration_keeps_nobody_waiting_behind_a_long_transaction(
    old_url: str, clock: ManualClock
) -> None:
    """It waits for its lock in short turns, because whoever comes after it must wait as long."""
    database = await open_postgres(old_url)
    loop = asyncio.get_running_loop()
    longest = 0.0
    async with await psycopg.AsyncConnection.connect(old_url, autocommit=True) as passer_by:
        with psycopg.connect(old_url) as long:
            long.execute("SELECT 1 FROM inbox_payloads")
            migration = asyncio.create_task(database.migrate(clock))
            turns = 0
            until = loop.time() + 3.0
            while loop.time() < until:
                begun = loop.time()
                await passer_by.execute("SELECT 1 FROM inbox_payloads")
                longest = max(longest, loop.time() - begun)
                turns += 1
                await asyncio.sleep(0.01)
            assert not migration.done()
        assert [each.version for each in await asyncio.wait_for(migration, 10)] == [2, 3, 4]
    await database.close()
    assert LOCK_TIMEOUT / 1000 / 2 < longest < LOCK_TIMEOUT / 1000 + SLACK
    assert turns > 20


async def test_payloads_from_before_are_kept(old_url: str, clock: ManualClock) -> None:
    """They are found, and leave the default partition when their day gets its own."""
    [old, new] = [arrival("a", now=Millis(NOW - 30 * DAY)), arrival("b", now=NOW)]
    with psycopg.connect(old_url) as connection:
        for each in (old, new):
            payload = each.payload
            connection.execute(
                "INSERT INTO inbox_payloads VALUES (%s, 'p', 't', %b, '[]', '', %b, %s, '')",
                (payload.id.hex(), payload.body, payload.sha256, payload.received_at),
            )
    database = await open_postgres(old_url)
    await database.migrate(clock)
    for each in (old, new):
        stored = await database.reader.payload(each.payload.id)
        assert stored is not None
        assert stored.body == each.payload.body
    await database.close()
    assert where(old_url, old.payload.id) == "inbox_payloads_default"
    assert where(old_url, new.payload.id) == partition(NOW)


async def test_without_the_right_to_make_tables_it_is_said_so(
    postgres: PostgresServer, empty_url: str, clock: ManualClock
) -> None:
    execute(empty_url, "CREATE ROLE guest LOGIN")
    try:
        database = await open_postgres(empty_url.replace("surehook@", "guest@"))
        with pytest.raises(Unavailable, match="permission denied for schema public"):
            await database.migrate(clock)
        await database.close()
    finally:
        execute(empty_url, "DROP ROLE guest")


# partitions


def where(url: str, id: PayloadId) -> str:
    """The partition that a payload is in."""
    [(name,)] = execute(url, f"SELECT tableoid::regclass::text FROM inbox_payloads WHERE id = '{id.hex()}'")
    return str(name)


def partition(now: int) -> str:
    return f"inbox_payloads_{isoformat(now)[:10].replace('-', '')}"


def partitions(url: str) -> list[str]:
    found = execute(
        url, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'inbox_payloads'::regclass"
    )
    return sorted(str(name) for (name,) in found)


def days(first: int, last: int) -> list[str]:
    """The partitions from so many days before (or after) today to so many after."""
    return [partition(NOW + day * DAY) for day in range(first, last + 1)]


async def test_partitions_are_made_ahead_and_only_once(
    server_database: PostgresDatabase, server_url: str
) -> None:
    assert partitions(server_url) == [*days(-1, DAYS_AHEAD), "inbox_payloads_default"]
    await server_database.maintain(NOW)
    assert partitions(server_url) == [*days(-1, DAYS_AHEAD), "inbox_payloads_default"]
    await server_database.maintain(Millis(NOW + 2 * DAY))
    assert partitions(server_url) == [*days(-1, DAYS_AHEAD + 2), "inbox_payloads_default"]


@pytest.mark.parametrize("moment", ["first", "last"])
async def test_a_day_ends_where_the_next_one_begins(
    server_database: PostgresDatabase, server_url: str, moment: str
) -> None:
    midnight = NOW // DAY * DAY
    now = Millis(midnight if moment == "first" else midnight + DAY - 1)
    sent = arrival(now=now)
    await server_database.storage.accept([sent])
    assert where(server_url, sent.payload.id) == partition(NOW)


async def test_what_has_no_partition_is_kept_and_moves_when_it_gets_one(
    server_database: PostgresDatabase, server_url: str
) -> None:
    """From a sender whose request came when a clock was far ahead, or when nobody had made partitions for a week."""
    early, late = (
        arrival("early", b"1", now=Millis(NOW - 9 * DAY)),
        arrival("late", b"2", now=Millis(NOW + 20 * DAY)),
    )
    await server_database.storage.accept([early, late])
    assert where(server_url, late.payload.id) == "inbox_payloads_default"
    await server_database.maintain(Millis(NOW + 15 * DAY))
    assert where(server_url, late.payload.id) == partition(NOW + 20 * DAY)
    assert where(server_url, early.payload.id) == "inbox_payloads_default"
    for sent in (early, late):
        stored = await server_database.reader.payload(sent.payload.id)
        assert stored is not None
        assert stored.body == sent.payload.body


async def test_a_day_with_too_many_payloads_to_move_holds_up_no_other_day(
    server_database: PostgresDatabase, server_url: str, clock: ManualClock
) -> None:
    later = Millis(clock.now() + 30 * DAY)
    execute(
        server_url,
        "INSERT INTO inbox_payloads SELECT "
        f"CAST(lpad(to_hex({later}), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid), "
        f"'stripe', 'billing', '', '[]', '', '', {later}, '' FROM generate_series(0, {MOVED}) AS n",
    )
    await server_database.maintain(later)
    assert {partition(later), partition(later + DAY)} & set(partitions(server_url)) == {
        partition(later + DAY)
    }
    assert execute(server_url, "SELECT count(*) FROM inbox_payloads_default") == [(MOVED + 1,)]


async def test_many_processes_make_each_partition_once(server_url: str) -> None:
    databases = [await open_postgres(server_url) for _ in range(4)]
    later = Millis(NOW + 30 * DAY)
    await asyncio.gather(*(database.maintain(later) for database in databases for _ in range(3)))
    for database in databases:
        await database.maintain(later)
        await database.close()
    made = days(29, 30 + DAYS_AHEAD)
    assert partitions(server_url) == [*days(-1, DAYS_AHEAD), *made, "inbox_payloads_default"]


async def test_events_that_arrive_meanwhile_are_neither_lost_nor_refused(
    server_database: PostgresDatabase, server_url: str
) -> None:
    """For the day whose partition is being made: they go to the default one until it is there."""
    then = Millis(NOW + 40 * DAY)
    sent = [arrival(f"e{n}", b"%d" % n, now=then) for n in range(60)]

    async def send() -> None:
        for each in sent:
            await server_database.storage.accept([each])

    async def make() -> None:
        while partition(then) not in partitions(server_url):
            await server_database.maintain(then)

    await asyncio.gather(send(), make())
    for each in sent:
        assert await server_database.reader.payload(each.payload.id) is not None
    stored = await server_database.storage.claim(99, then, Millis(then + LEASE))
    assert {claim.body for claim in stored} == {each.payload.body for each in sent}


async def test_a_lock_that_is_not_free_puts_partitions_off_and_stops_nobody(
    server_database: PostgresDatabase, server_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody reads all payloads for long (a backup): no partition can be attached, and arrivals go on."""
    loop = asyncio.get_running_loop()
    longest = 0.0
    with psycopg.connect(server_url) as backup:
        backup.execute("LOCK TABLE inbox_payloads IN ACCESS SHARE MODE")
        with caplog.at_level(logging.WARNING, "surehook"):
            making = asyncio.create_task(server_database.maintain(Millis(NOW + 3 * DAY)))
            number = 0
            while not making.done():
                number += 1
                begun = loop.time()
                await server_database.storage.accept([arrival(f"e{number}", b"%d" % number)])
                [claim] = await server_database.storage.claim(1, NOW, Millis(NOW + LEASE))
                assert claim.body is not None
                longest = max(longest, loop.time() - begun)
            await making
    assert longest < LOCK_TIMEOUT / 1000 + SLACK
    late = [record for record in caplog.records if "is made later" in record.getMessage()]
    assert len(late) == 3
    assert partition(NOW + 10 * DAY) not in partitions(server_url)
    await server_database.maintain(Millis(NOW + 3 * DAY))
    assert partition(NOW + 10 * DAY) in partitions(server_url)


async def test_a_dropped_partition_takes_the_payloads_and_nothing_else(
    server_database: PostgresDatabase, server_url: str
) -> None:
    sent = arrival()
    [[accepted]] = await server_database.storage.accept([sent])
    execute(server_url, f"DROP TABLE {partition(NOW)}")
    assert await server_database.reader.payload(sent.payload.id) is None
    event = await server_database.reader.event(accepted.id)
    assert event is not None
    [claim] = await server_database.storage.claim(1, NOW, Millis(NOW + LEASE))
    assert claim.body is None
    [[again]] = await server_database.storage.accept([sent])
    assert again.duplicate


async def test_a_payload_is_looked_for_in_one_partition(server_url: str) -> None:
    id = PayloadId(uuid7(NOW)).hex()
    for mode in ("force_custom_plan", "force_generic_plan"):
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"SET plan_cache_mode = {mode}".encode())
            connection.execute("PREPARE look AS SELECT body FROM inbox_payloads WHERE id = $1")
            plan = connection.execute(f"EXPLAIN EXECUTE look ('{id}')".encode()).fetchall()
        scanned = [line for (line,) in plan if " on inbox_payloads_" in line]
        assert len(scanned) == 1, plan
        assert partition(NOW) in scanned[0]
