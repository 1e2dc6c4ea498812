"""What the PostgreSQL adapter does beside the contract: parameters, values, several processes, round trips."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb

from surehook.clock import ManualClock, Millis
from surehook.errors import ConfigurationError, SchemaMismatch, TransactionError, Unavailable
from surehook.ids import EventId, uuid7
from surehook.model import Claim, Rejection, RowFilter
from surehook.states import EventState, Reason
from surehook.storage.postgres import PostgresDatabase, PostgresOptions, open_postgres
from surehook.storage.postgres.guest import SharedUnit
from surehook.storage.postgres.unit import PostgresUnit
from tests.builders import NOW, action, arrival, failure, message, settlement
from tests.services import Pgbouncer, PostgresServer

LEASE = 60_000


async def claimed(database: PostgresDatabase, external_id: str = "evt_1", **changes: Any) -> Claim:
    [[accepted]] = await database.storage.accept([arrival(external_id, external_id.encode(), **changes)])
    [claim] = await database.storage.claim(1, NOW, Millis(NOW + LEASE), [accepted.id])
    return claim


@asynccontextmanager
async def working(
    database: PostgresDatabase, external_id: str = "evt_1"
) -> AsyncIterator[PostgresUnit | SharedUnit]:
    """A handler's transaction; what it does not commit is rolled back."""
    unit = database.storage.begin(await claimed(database, external_id))
    try:
        yield unit
    finally:
        await unit.rollback()


# handlers' statements


@pytest.mark.parametrize("failing", [0, 1, 2])
async def test_a_failing_statement_undoes_only_itself(
    server_database: PostgresDatabase, failing: int
) -> None:
    claim = await claimed(server_database)
    unit = server_database.storage.begin(claim)
    if failing == 0:
        with pytest.raises(psycopg.errors.UndefinedTable):
            await unit.execute("INSERT INTO nowhere VALUES (1)")
    await unit.execute("CREATE TABLE mine (n integer PRIMARY KEY)")
    assert await unit.execute("INSERT INTO mine VALUES (?)", [1]) == 1
    for _ in range(failing):
        with pytest.raises(psycopg.errors.UniqueViolation):
            await unit.execute("INSERT INTO mine VALUES (?)", [1])
        with pytest.raises(psycopg.ProgrammingError, match="cannot adapt type 'dict'"):
            await unit.execute("INSERT INTO mine VALUES (?)", [{"a": 1}])
        with pytest.raises(UnicodeEncodeError):
            await unit.execute("SELECT ?", ["\ud800"])
    assert await unit.execute("INSERT INTO mine VALUES (?)", [2]) == 1
    await unit.complete(settlement(claim))
    async with working(server_database, "after") as unit:
        assert await unit.fetch("SELECT n FROM mine ORDER BY n") == [{"n": 1}, {"n": 2}]


async def test_a_handler_that_does_not_wait_for_a_lock_is_told_so(
    server_database: PostgresDatabase, server_url: str
) -> None:
    """It has asked for that, and may want to do something else."""
    with psycopg.connect(server_url) as other:
        other.execute("CREATE TABLE mine (n integer)")
        other.execute("INSERT INTO mine VALUES (1)")
        other.commit()
        other.execute("SELECT n FROM mine FOR UPDATE")
        async with working(server_database) as unit:
            for _ in range(2):  # as the first statement and as a later one
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    await unit.fetch("SELECT n FROM mine FOR UPDATE NOWAIT")
            assert await unit.fetch("SELECT n FROM mine") == [{"n": 1}]


async def test_failing_again_and_again_changes_nothing_for_who_comes_after(server_url: str) -> None:
    """psycopg prepares what it sees more than five times, and must not believe what a failed statement has undone."""
    database = await open_postgres(server_url, PostgresOptions(connections=1))
    chance = random.Random(1)
    async with working(database, "table") as unit:
        await unit.execute("CREATE TABLE mine (name text PRIMARY KEY)")
        await unit.commit()
    for number in range(60):
        async with working(database, f"e{number}") as unit:
            for name in chance.choices("abc", k=chance.randint(0, 3)):
                with suppress(psycopg.errors.UniqueViolation):
                    await unit.execute("INSERT INTO mine (name) VALUES (:name)", {"name": name})
            assert len(await unit.fetch("SELECT name FROM mine WHERE name <> ?", ["x"])) <= 3
            if chance.random() < 0.5:
                await unit.commit()
    await database.close()


@pytest.mark.parametrize(
    ("sql", "parameters", "row"),
    [
        (
            "SELECT :a::text AS a, :b + 1 AS b, :a::text AS c",
            {"a": "x", "b": 2},
            {"a": "x", "b": 3, "c": "x"},
        ),
        ("SELECT ?::int AS a, ? || 'z' AS b", [1, "y"], {"a": 1, "b": "yz"}),
        ("SELECT '{\"k\": 1}'::jsonb ? 'k' AS a, :b::int AS b", {"b": 1}, {"a": True, "b": 1}),
        ("SELECT '{\"k\": 1}'::jsonb ? 'k' AS a", (), {"a": True}),
        (
            "SELECT $$:a ?$$ AS a, ':b ?' AS b -- :c ?\n, :d::int AS \":e\"",
            {"d": 1},
            {"a": ":a ?", "b": ":b ?", ":e": 1},
        ),
        (
            "SELECT (ARRAY[1, 2, 3])[1:2] AS a, 7 % 4 AS b, '100%' AS c",
            (),
            {"a": [1, 2], "b": 3, "c": "100%"},
        ),
        ("SELECT E'it\\'s :a' AS a, /* :b /* ? */ */ :c::int AS c", {"c": 1}, {"a": "it's :a", "c": 1}),
        ("SELECT x FROM unnest(:xs::text[]) AS x", {"xs": ["one"]}, {"x": "one"}),
    ],
)
async def test_parameters_are_found_where_they_are(
    server_database: PostgresDatabase, sql: str, parameters: Any, row: dict[str, Any]
) -> None:
    async with working(server_database) as unit:
        for _ in range(2):  # as the first statement and as a later one
            assert await unit.fetch(sql, parameters) == [row]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("integer", 2**31 - 1),
        ("bigint", -(2**63)),
        ("numeric", Decimal("1.10")),
        ("double precision", 1.5),
        ("boolean", True),
        ("text", "é\U0001f980"),
        ("bytea", b"\0\xff"),
        ("uuid", UUID(int=7)),
        ("timestamptz", datetime(2026, 11, 22, tzinfo=UTC)),
        ("date", date(2026, 11, 22)),
        ("interval", timedelta(seconds=5)),
        ("integer[]", [1, 2]),
        ("text", None),
    ],
)
async def test_values_come_back_as_they_were(
    server_database: PostgresDatabase, kind: str, value: Any
) -> None:
    async with working(server_database) as unit:
        assert await unit.fetch(f"SELECT ?::{kind} AS value", [value]) == [{"value": value}]
        assert await unit.fetch(f"SELECT :v::{kind} AS value", {"v": value}) == [{"value": value}]


async def test_json_is_given_with_the_drivers_wrapper(server_database: PostgresDatabase) -> None:
    async with working(server_database) as unit:
        assert await unit.fetch("SELECT :v AS v", {"v": Jsonb({"a": [1]})}) == [{"v": {"a": [1]}}]


async def test_several_statements_in_one_text_are_refused(server_database: PostgresDatabase) -> None:
    async with working(server_database) as unit:
        await unit.execute("CREATE TABLE mine (n integer)")
        for sql in (
            "INSERT INTO mine VALUES (1); COMMIT",
            "INSERT INTO mine VALUES (1); INSERT INTO mine VALUES (2)",
        ):
            with pytest.raises(psycopg.errors.SyntaxError, match="multiple commands"):
                await unit.execute(sql)
        assert await unit.fetch("SELECT n FROM mine") == []


async def test_what_a_handler_must_not_do_is_refused_before_it_is_sent(
    server_database: PostgresDatabase,
) -> None:
    async with working(server_database) as unit:
        for sql in ("; COMMIT", "UPDATE inbox_payloads_default SET body = ''", "SET search_path = nowhere"):
            with pytest.raises(TransactionError):
                await unit.execute(sql)
        assert not unit.opened


async def test_the_planner_works_for_handlers_as_everywhere_else(server_database: PostgresDatabase) -> None:
    async with working(server_database) as unit:
        for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):
            assert await unit.fetch(f"SHOW {setting}") == [{setting: "on"}]


async def test_ten_thousand_messages_of_one_handler(server_url: str) -> None:
    database = await open_postgres(server_url, PostgresOptions(timeout=60_000))
    claim = await claimed(database)
    unit = database.storage.begin(claim)
    await unit.execute("CREATE TABLE mine (n integer)")
    written = tuple(message(now=NOW + n) for n in range(10_000))
    await unit.complete(settlement(claim, messages=written))
    stored = await database.reader.messages(RowFilter(limit=20_000))
    assert [row.id for row in reversed(stored)] == [each.id for each in written]
    await database.close()


# values that PostgreSQL cannot hold


async def test_texts_that_postgresql_cannot_hold_are_stored_as_it_can(
    server_database: PostgresDatabase,
) -> None:
    """A sender can write NUL and lone surrogates into JSON; that must not keep an event from being accepted."""
    storage, reader = server_database.storage, server_database.reader
    odd = "a\0b\ud800"
    first = arrival(odd, type=odd)
    [event] = first.events
    first = msgspec.structs.replace(first, events=(msgspec.structs.replace(event, subject=odd, error=odd),))
    [[accepted]] = await storage.accept([first])
    [[again]] = await storage.accept([arrival(odd, type=odd)])
    assert (again.id, again.duplicate) == (accepted.id, True)
    row = await reader.event(accepted.id)
    assert row is not None
    assert (row.external_id, row.type, row.subject) == ("a\ufffdb\\ud800",) * 3
    [claim] = await storage.claim(1, NOW, Millis(NOW + LEASE))
    failed = failure(message=odd, detail=odd, error_type=odd, worker=odd)
    await storage.settle([settlement(claim, EventState.DEAD, failure=failed, reason=Reason.REJECTED)])
    [stored] = await reader.failures(claim.id)
    assert stored.failure.message == "a\ufffdb\\ud800"
    await storage.reject(
        [Rejection(odd, odd, Reason.BAD_SIGNATURE, odd, (("a", "\0"),), b"", 0, NOW)], keep=9
    )
    [refused] = await reader.rejections(RowFilter())
    rejection = refused.rejection
    assert (rejection.detail, rejection.headers) == ("a\ufffdb\\ud800", (("a", "\0"),))


async def test_large_bodies_come_back_byte_exact(server_database: PostgresDatabase) -> None:
    body = bytes(range(256)) * 16_384  # 4 MiB
    batch = [arrival(f"e{n}", b"%d" % n + body) for n in range(3)]
    accepted = await server_database.storage.accept(batch)
    assert len({each.id for [each] in accepted}) == 3
    for sent in batch:
        stored = await server_database.reader.payload(sent.payload.id)
        assert stored is not None
        assert stored.body == sent.payload.body


# several processes


@pytest.fixture
async def second(server_url: str) -> AsyncIterator[PostgresDatabase]:
    """Another process on the same database."""
    database = await open_postgres(server_url)
    yield database
    await database.close()


async def test_of_one_body_under_many_unsigned_ids_at_many_places_one_is_run(
    server_database: PostgresDatabase, second: PostgresDatabase
) -> None:
    for turn in range(10):
        body = b"%d" % turn
        answers = await asyncio.gather(
            *(
                each.storage.accept([arrival(f"{turn}-{number}-{index}", body, id_is_signed=False)])
                for number in range(4)
                for index, each in enumerate((server_database, second))
            )
        )
        states = [accepted.state for [[accepted]] in answers]
        assert sorted(states) == [EventState.DEAD] * 7 + [EventState.RECEIVED]


async def test_events_of_one_request_are_answered_in_their_order(server_database: PostgresDatabase) -> None:
    def request(*names: str) -> Any:
        made = arrival(names[0], " ".join(names).encode())
        [event] = made.events
        events = [
            msgspec.structs.replace(event, id=EventId(uuid7(NOW)), external_id=name, item=item)
            for item, name in enumerate(names)
        ]
        return msgspec.structs.replace(made, events=tuple(events))

    first, second = request("c", "a", "c", "b"), request("b", "d")
    [one, two] = await server_database.storage.accept([first, second])
    assert [each.duplicate for each in one] == [False, False, True, False]
    assert [each.duplicate for each in two] == [True, False]
    assert one[0].id == one[2].id == first.events[0].id
    assert two[0].id == one[3].id
    assert await server_database.reader.payload(second.payload.id) is not None


async def test_another_default_isolation_changes_nothing(
    server_database: PostgresDatabase, server_url: str
) -> None:
    """In SERIALIZABLE, who waits for a lock by name would not see what its holder has written."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode()
        )
    database = await open_postgres(server_url)
    claims = [await claimed(database, f"e{n}") for n in range(8)]
    await database.storage.settle([settlement(claim) for claim in claims])
    results = await asyncio.gather(
        *(database.storage.replay_events([claim.id], action()) for claim in claims)
    )
    assert all(result.done for [result] in results)
    assert [entry.seq for entry in await database.reader.audit(99)] == list(range(8, 0, -1))
    await database.close()


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_under_another_default_isolation_a_handler_completes_what_a_heartbeat_has_prolonged(
    server_url: str, level: str
) -> None:
    """It would be undone, uncounted and unseen, at every try that a heartbeat falls into."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'".encode())
    database = await open_postgres(server_url)
    claim = await claimed(database)
    unit = database.storage.begin(claim)
    with pytest.raises(psycopg.errors.UndefinedTable):
        await unit.execute("SELECT * FROM nowhere")  # it begins anew
    await unit.execute("SELECT 1")
    assert await database.storage.extend([claim], Millis(NOW + 2 * LEASE)) == []
    await unit.complete(settlement(claim))
    other = await claimed(database, "evt_2")
    unit = database.storage.begin(other)
    await unit.execute("SELECT 1")
    assert await database.storage.extend([other], Millis(NOW + 2 * LEASE)) == []
    await unit.complete(settlement(other))
    await database.close()


async def test_tables_in_another_schema_than_the_first_are_refused(
    server_url: str, server_database: PostgresDatabase
) -> None:
    """Two installations would share them, and the days' partitions would be made in the other schema."""
    del server_database
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA hooks")
    for path, complaint in (("hooks,public", "'public'.*'hooks'"), ("nowhere", "no schema")):
        database = await open_postgres(f"{server_url}?options=-csearch_path%3D{path}")
        with pytest.raises(SchemaMismatch, match=complaint):
            await database.migrate(ManualClock(NOW))
        await database.close()


async def test_the_tables_are_where_the_search_path_leads(
    postgres: PostgresServer, clock: ManualClock
) -> None:
    with postgres.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA hooks")
        database = await open_postgres(f"{url}?options=-csearch_path%3Dhooks")
        await database.migrate(clock)
        claim = await claimed(database)
        assert await database.storage.settle([settlement(claim)]) == [True]
        await database.close()
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'inbox%'"
            )
            assert found.fetchall() == [("hooks",)]


# a pooler in between


@pytest.fixture
async def pooled(postgres: PostgresServer, server_url: str) -> AsyncIterator[PostgresDatabase]:
    """By way of a pooler that has two connections for all of ours."""
    with Pgbouncer(postgres, {"default_pool_size": 2}) as pooler:
        database = await open_postgres(pooler.url(server_url.rpartition("/")[2]))
        yield database
        await database.close()


async def test_behind_a_pooler_nothing_is_left_on_its_connections(
    pooled: PostgresDatabase, server_url: str
) -> None:
    assert pooled.pooled
    claims = [await claimed(pooled, f"e{n}") for n in range(12)]

    async def run(claim: Claim) -> list[dict[str, Any]]:
        unit = pooled.storage.begin(claim)
        seen = await unit.fetch("SHOW idle_in_transaction_session_timeout")
        for number in range(8):  # psycopg prepares by name what it sees more than five times
            await unit.execute("SELECT ?::int", [number])
        await unit.complete(settlement(claim))
        return seen

    seen = await asyncio.gather(*(run(claim) for claim in claims))
    assert seen == [[{"idle_in_transaction_session_timeout": "1min"}]] * 12
    with psycopg.connect(server_url) as connection:
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
    async with working(pooled, "after") as unit:
        assert await unit.fetch("SELECT name FROM pg_prepared_statements") == []


#: Writes down what the session is told while an event is stored.
WATCH = """
CREATE TABLE told (name text, value text);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO told SELECT name, setting FROM pg_settings
    WHERE name IN ('idle_in_transaction_session_timeout', 'enable_sort', 'plan_cache_mode');
    RETURN NEW;
END $$;
CREATE TRIGGER watch BEFORE INSERT ON inbox_events FOR EACH ROW EXECUTE FUNCTION watch();
"""


async def test_behind_a_pooler_each_of_our_own_transactions_says_how_it_is_to_be_treated(
    pooled: PostgresDatabase, server_url: str
) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(WATCH.encode())
        await pooled.storage.accept([arrival()])
        told: dict[str, str] = dict(connection.execute("SELECT name, value FROM told").fetchall())
    assert told == {
        "idle_in_transaction_session_timeout": str(PostgresOptions().timeout),
        "enable_sort": "off",
        "plan_cache_mode": "force_generic_plan",
    }


async def test_behind_a_pooler_who_has_given_up_waiting_is_not_waited_for(
    postgres: PostgresServer, server_url: str
) -> None:
    """Somebody has forgotten a row lock; each try again would leave a session of the server behind, until it has no more."""
    tries = 8
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with Pgbouncer(postgres) as pooler, psycopg.connect(server_url) as forgotten:
        database = await open_postgres(
            pooler.url(server_url.rpartition("/")[2]), PostgresOptions(timeout=1_000)
        )
        claim = await claimed(database)
        forgotten.execute("SELECT 1 FROM inbox_events FOR UPDATE")
        for _ in range(tries):
            with pytest.raises(Unavailable):
                await database.storage.settle([settlement(claim)])
        with psycopg.connect(server_url, autocommit=True) as connection:
            left = len(connection.execute(waiting.encode()).fetchall())
        forgotten.rollback()
        await database.storage.settle([settlement(claim)])
        await database.close()
    assert left <= tries / 2


async def test_a_handler_may_take_longer_than_the_server_counts(server_url: str) -> None:
    month = 30 * 86_400_000
    database = await open_postgres(server_url, PostgresOptions(idle_timeout=month))
    async with working(database) as unit:
        assert await unit.fetch("SELECT 1 AS one") == [{"one": 1}]
    await database.close()


# how often the server is asked


class Wire:
    """A way to the server that counts how often the client waits for an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.trips = 0
        self._asking = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port to connect to instead."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as listener:
            yield int(listener.sockets[0].getsockname()[1])
        await asyncio.wait_for(asyncio.gather(*self._tasks), 10)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self._port)
        await asyncio.gather(
            self._pass(reader, before, asking=True), self._pass(behind, writer, asking=False)
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asking: bool
    ) -> None:
        while chunk := await reader.read(1 << 16):
            self.trips += asking and not self._asking
            self._asking = asking
            writer.write(chunk)
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[PostgresDatabase, Wire]]:
    place = psycopg.conninfo.conninfo_to_dict(url)
    wire = Wire(int(str(place["port"])))
    async with wire.open() as port:
        target = psycopg.conninfo.make_conninfo(url, port=port)
        database = await open_postgres(target, PostgresOptions(connections=1))
        yield database, wire
        await database.close()


async def test_round_trips_do_not_grow_with_the_number_of_rows(server_url: str) -> None:
    async with counted(server_url) as (database, wire):
        storage = database.storage

        async def trips(verb: Any) -> int:
            before = wire.trips
            await verb
            return wire.trips - before

        def batch(name: str, count: int, **changes: Any) -> Any:
            return [arrival(f"{name}{n}", f"{name}{n}".encode(), **changes) for n in range(count)]

        await storage.accept(batch("warm", 1))
        assert await trips(storage.accept(batch("e", 50))) == 3  # events, payloads, commit
        assert await trips(storage.accept(batch("e", 50))) == 4  # events, which are known, counted, commit
        assert await trips(storage.accept(batch("s", 50, id_is_signed=False))) == 4  # suspects, and as above
        claims = await storage.claim(60, NOW, Millis(NOW + LEASE))
        await storage.extend(claims, Millis(NOW + LEASE))
        assert await trips(storage.extend(claims, Millis(NOW + LEASE))) == 2
        states = [EventState.PROCESSED, EventState.RETRYING]
        ends = [
            settlement(
                claim,
                states[n % 2],
                due_at=Millis(NOW) if n % 2 else None,
                messages=(message(),),
                failure=failure(),
            )
            for n, claim in enumerate(claims)
        ]
        # processed events, others, messages, failures, commit
        assert await trips(storage.settle(ends)) == 5
        assert await trips(storage.claim(60, NOW, Millis(NOW + LEASE))) == 2
        assert await trips(storage.rescue(Millis(NOW + 2 * LEASE), poison_after=3)) == 2
        ids = [claim.id for claim in claims]
        assert await trips(storage.claim(60, NOW, Millis(NOW + LEASE), ids)) == 2
        # look, move, end of the chain, entries, commit
        assert await trips(storage.replay_events(ids, action())) == 5


async def test_round_trips_of_a_handlers_transaction(server_url: str) -> None:
    async with counted(server_url) as (database, wire):
        for name in ("warm", "counted"):
            claim = await claimed(database, name)
            unit = database.storage.begin(claim)
            before = wire.trips
            await unit.execute("SELECT ?::int", [1])
            first = wire.trips
            await unit.execute("SELECT ?::int", [2])
            second = wire.trips
            await unit.complete(settlement(claim, messages=(message(),)))
            seen = (first - before, second - first, wire.trips - second)
        assert seen == (1, 1, 2)  # with BEGIN; in a savepoint; state; message and commit


async def test_round_trips_of_a_reader(server_url: str) -> None:
    async with counted(server_url) as (database, wire):
        [[accepted]] = await database.storage.accept([arrival()])
        await database.reader.event(accepted.id)
        before = wire.trips
        assert await database.reader.event(accepted.id) is not None
        assert wire.trips - before == 1


# URLs


@pytest.mark.parametrize("url", ["postgresql://u:secret@[::1/x", "postgresql://h/x?nothing=1"])
async def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        await open_postgres(url)
    assert "postgresql://user@host:5432/name" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_of_several_servers_the_one_that_answers_is_found(
    postgres: PostgresServer, server_url: str
) -> None:
    """The machines before it are gone, and nothing says so: each takes as long as connecting may take."""
    name = server_url.rpartition("/")[2]
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [*(each.getsockname()[1] for each in silent), postgres.port]
        url = f"postgresql://surehook@{','.join(f'127.0.0.1:{port}' for port in ports)}/{name}"
        database = await open_postgres(url, PostgresOptions(connect_timeout=2_000, timeout=10_000))
        await database.storage.accept([arrival()])
        await database.close()


async def test_an_unknown_database_or_user_is_unavailable(postgres: PostgresServer) -> None:
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        await open_postgres(postgres.url("nowhere"))
