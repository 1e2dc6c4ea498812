"""Handlers' transactions that share one of PostgreSQL: nothing of one reaches another, and one that fails fails alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest

from surehook.clock import Millis
from surehook.errors import CommitUnknown, LeaseLost, TransactionError, TurnLost, Unavailable
from surehook.ids import uuid7
from surehook.model import Claim, RowFilter
from surehook.states import EventState
from surehook.storage.postgres import PostgresDatabase, PostgresOptions, open_postgres
from surehook.storage.postgres.guest import SharedUnit
from surehook.storage.postgres.unit import PostgresUnit
from tests.builders import NOW, arrival, message, settlement
from tests.scenario.waiting import wait_until
from tests.services import Pgbouncer, PostgresServer

LEASE = 60_000

#: ``at`` is when the transaction began: equal for those that shared it. ``place`` is the order in which rows were written.
TABLE = """
CREATE TABLE mine (name text PRIMARY KEY, n integer NOT NULL DEFAULT 0, at timestamptz NOT NULL DEFAULT now(),
    place bigint GENERATED ALWAYS AS IDENTITY)
"""
INSERT = "INSERT INTO mine (name) VALUES (:name)"

Unit = SharedUnit | PostgresUnit
Work = Callable[[Unit], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn lasts as long as somebody comes, however busy the machine is."""
    monkeypatch.setattr("surehook.storage.postgres.turn.LONGEST", 60.0)


@pytest.fixture
def url(server_url: str) -> str:
    execute(server_url, TABLE)
    return server_url


@pytest.fixture
async def narrow(url: str) -> AsyncIterator[PostgresDatabase]:
    """With one connection for handlers, so that there is one turn at a time."""
    database = await open_postgres(url, PostgresOptions(connections=1))
    yield database
    await database.close()


@pytest.fixture
async def wide(url: str) -> AsyncIterator[PostgresDatabase]:
    database = await open_postgres(url)
    yield database
    await database.close()


def unique() -> str:
    return uuid7(NOW).hex()


def execute(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What somebody else does or sees."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def names(url: str) -> list[str]:
    """The rows that are committed."""
    return [name for (name,) in execute(url, "SELECT name FROM mine ORDER BY name")]


def turns(url: str) -> int:
    """How many transactions they were written in."""
    [(count,)] = execute(url, "SELECT count(DISTINCT at) FROM mine")
    return int(count)


def states(url: str) -> dict[str, str]:
    return dict(execute(url, "SELECT external_id, state FROM inbox_events"))


async def claimed(database: PostgresDatabase, *ids: str, **changes: Any) -> list[Claim]:
    """Events, claimed; in the order of their names."""
    await database.storage.accept([arrival(id, id.encode(), **changes) for id in ids])
    claims = await database.storage.claim(len(ids), NOW, Millis(NOW + LEASE))
    return sorted(claims, key=lambda each: each.external_id)


async def attempt(database: PostgresDatabase, claim: Claim, work: Work | None = None) -> None:
    """What a worker does: the handler's work, its row if it has none, the completion."""
    unit = database.storage.begin(claim)
    try:
        if work is None:
            await unit.execute(INSERT, {"name": claim.external_id})
        else:
            await work(unit)
        await unit.complete(settlement(claim, messages=(message(),)))
    finally:
        await unit.rollback()


async def attempts(
    database: PostgresDatabase, claims: Sequence[Claim], works: Mapping[str, Work] | None = None
) -> dict[str, BaseException | None]:
    """Many at once; what came of each."""
    works = works or {}
    tasks = [attempt(database, claim, works.get(claim.external_id)) for claim in claims]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    return {claim.external_id: result for claim, result in zip(claims, results, strict=True)}


@asynccontextmanager
async def inside(database: PostgresDatabase, claim: Claim, first: Claim) -> AsyncIterator[SharedUnit]:
    """A unit that has written its row in a turn in which ``first`` waits for its commit; both as tasks would."""
    other, unit = database.storage.begin(first), database.storage.begin(claim)
    assert isinstance(unit, SharedUnit)

    async def serve() -> None:
        await other.execute(INSERT, {"name": first.external_id})
        await other.complete(settlement(first, messages=(message(),)))

    served = asyncio.create_task(serve())
    await asyncio.sleep(0)  # it waits for its turn
    await unit.execute(INSERT, {"name": claim.external_id})
    try:
        assert not served.done()
        yield unit
    finally:
        await unit.rollback()
        with suppress(Unavailable):
            await served


# isolation


async def test_many_share_few_transactions(url: str, narrow: PostgresDatabase) -> None:
    claims = await claimed(narrow, *(f"e{n:02}" for n in range(40)))
    assert set((await attempts(narrow, claims)).values()) == {None}
    assert names(url) == [claim.external_id for claim in claims]
    assert turns(url) < 20
    assert set(states(url).values()) == {"PROCESSED"}
    assert len(await narrow.reader.messages(RowFilter(limit=99))) == 40


async def test_one_after_another_never_in_between(url: str, narrow: PostgresDatabase) -> None:
    async def work(unit: Unit) -> None:
        for _ in range(4):
            await unit.execute("INSERT INTO steps (at) VALUES (now())")
            await asyncio.sleep(0)
        await unit.execute("UPDATE steps SET name = :name WHERE name IS NULL", {"name": unique()})

    execute(url, "CREATE TABLE steps (place bigint GENERATED ALWAYS AS IDENTITY, name text, at timestamptz)")
    claims = await claimed(narrow, *(f"e{n:02}" for n in range(12)))
    done = await attempts(narrow, claims, dict.fromkeys([each.external_id for each in claims], work))
    assert set(done.values()) == {None}
    rows = execute(url, "SELECT name, count(*), max(place) - min(place) FROM steps GROUP BY name")
    assert sorted(count for _, count, _ in rows) == [4] * 12
    assert {distance for _, _, distance in rows} == {3}
    [(shared,)] = execute(url, "SELECT count(DISTINCT at) FROM steps")
    assert shared < 12


async def test_one_that_fails_leaves_nothing_and_the_others_stay(url: str, narrow: PostgresDatabase) -> None:
    async def fail(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": "never"})
        raise ValueError("no such customer")

    async def be_cancelled(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": "never either"})
        raise asyncio.CancelledError

    async def be_wrong(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": "nor this"})
        await unit.execute("INSERT INTO nowhere (n) VALUES (1)")

    claims = await claimed(narrow, *"abcdefg")
    works: dict[str, Work] = {"b": fail, "d": be_cancelled, "f": be_wrong}
    done = await attempts(narrow, claims, works)
    assert names(url) == ["a", "c", "e", "g"]
    assert turns(url) < 4
    assert {name for name, state in states(url).items() if state == "PROCESSED"} == set("aceg")
    assert isinstance(done["b"], ValueError)
    assert isinstance(done["d"], asyncio.CancelledError)
    assert isinstance(done["f"], psycopg.errors.UndefinedTable)


async def test_a_statement_that_fails_undoes_nothing_but_itself(url: str, narrow: PostgresDatabase) -> None:
    async def work(unit: Unit) -> None:
        for round_ in range(3):
            with pytest.raises(psycopg.errors.UniqueViolation):
                await unit.execute(INSERT, {"name": "taken"})
            with pytest.raises(psycopg.ProgrammingError, match="cannot adapt type 'dict'"):
                await unit.execute(INSERT, {"name": {"a": 1}})
            assert await unit.execute(INSERT, {"name": f"{unique()}-{round_}"}) == 1
        with pytest.raises(psycopg.errors.UniqueViolation):
            await unit.execute(INSERT, {"name": "taken"})

    execute(url, "INSERT INTO mine (name) VALUES ('taken')")
    claims = await claimed(narrow, *"abcdefgh")
    done = await attempts(narrow, claims, dict.fromkeys("abcdefgh", work))
    assert set(done.values()) == {None}
    assert len(names(url)) == 1 + 8 * 3
    assert turns(url) < 1 + 8


async def test_what_one_has_undone_the_next_does_not_see(narrow: PostgresDatabase) -> None:
    async def fail(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": "gone"})
        raise ValueError

    async def look(unit: Unit) -> None:
        assert await unit.fetch("SELECT name FROM mine WHERE name = 'gone'") == []
        assert await unit.execute(INSERT, {"name": "gone"}) == 1

    claims = await claimed(narrow, *"abc")
    done = await attempts(narrow, claims, {"b": fail, "c": look})
    assert isinstance(done.pop("b"), ValueError)
    assert set(done.values()) == {None}


async def test_a_handler_that_is_cancelled_while_it_waits_for_its_turn(
    url: str, narrow: PostgresDatabase
) -> None:
    first, waiting, third = await claimed(narrow, *"abc")
    async with inside(narrow, first, third):
        unit = narrow.storage.begin(waiting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await unit.execute(INSERT, {"name": "b"})
        await unit.rollback()
    await attempt(narrow, waiting)
    assert names(url) == ["b", "c"]


async def test_a_handler_may_give_up_a_statement_and_go_on(url: str, wide: PostgresDatabase) -> None:
    """It is undone, whatever became of it."""
    claim, other = await claimed(wide, *"ab")
    execute(url, "INSERT INTO mine (name) VALUES ('row')")
    with psycopg.connect(url) as blocker:
        blocker.execute("UPDATE mine SET n = 1")
        unit = wide.storage.begin(claim)
        await unit.execute(INSERT, {"name": "before"})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await unit.execute("UPDATE mine SET n = 2 WHERE name = 'row'")
        await attempt(wide, other)  # nobody waits for it
    await unit.execute(INSERT, {"name": "after"})
    await unit.complete(settlement(claim))
    assert names(url) == ["after", "b", "before", "row"]
    assert execute(url, "SELECT n FROM mine WHERE name = 'row'") == [(1,)]


# misuse: the same errors as in a transaction of its own, and the others go on


async def test_a_handler_that_returns_while_its_statement_runs(url: str, narrow: PostgresDatabase) -> None:
    left: list[asyncio.Task[int]] = []

    async def forget(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": "never"})
        left.append(asyncio.create_task(unit.execute(INSERT, {"name": "never either"})))
        await asyncio.sleep(0)

    claims = await claimed(narrow, *"abc")
    done = await attempts(narrow, claims, {"b": forget})
    with pytest.raises(TransactionError, match="still runs"):
        raise done["b"] or AssertionError
    await asyncio.wait(left)
    assert names(url) == ["a", "c"]


async def test_a_handler_that_goes_on_after_it_has_returned(url: str, narrow: PostgresDatabase) -> None:
    [claim] = await claimed(narrow, "a")
    unit = narrow.storage.begin(claim)
    await unit.execute(INSERT, {"name": "a"})
    await unit.complete(settlement(claim))
    for late in (unit.execute(INSERT, {"name": "late"}), unit.connection(), unit.complete(settlement(claim))):
        with pytest.raises(TransactionError, match="has ended"):
            await late
    assert names(url) == ["a"]


async def test_statements_that_a_handler_gathers_run_one_after_another(
    url: str, narrow: PostgresDatabase
) -> None:
    async def work(unit: Unit) -> None:
        await asyncio.gather(*(unit.execute(INSERT, {"name": f"{unique()}-{n}"}) for n in range(5)))

    claims = await claimed(narrow, *"abc")
    assert set((await attempts(narrow, claims, dict.fromkeys("abc", work))).values()) == {None}
    assert len(names(url)) == 15


# a turn that fails is undone as a whole, and its guests run again, alone


async def rerun(database: PostgresDatabase, claims: Sequence[Claim]) -> dict[str, BaseException | None]:
    """The next attempts; each has a transaction of its own."""
    units = [database.storage.begin(claim) for claim in claims]
    assert all(isinstance(unit, PostgresUnit) for unit in units)
    done: dict[str, BaseException | None] = {}
    for claim, unit in zip(claims, units, strict=True):
        name = claim.external_id
        try:
            sql = "INSERT INTO children (parent) VALUES ('nobody')" if name == "guilty" else INSERT
            await unit.execute(sql, {"name": name} if sql is INSERT else ())
            await unit.complete(settlement(claim, messages=(message(),)))
            done[name] = None
        except Exception as error:  # noqa: BLE001 - it is what the tests ask for
            done[name] = error
            await unit.rollback()
    return done


async def test_a_commit_that_fails_because_of_one_fails_for_that_one_only(
    url: str, narrow: PostgresDatabase
) -> None:
    execute(
        url,
        "CREATE TABLE children (parent text NOT NULL REFERENCES mine (name) DEFERRABLE INITIALLY DEFERRED)",
    )

    async def break_it(unit: Unit) -> None:
        await unit.execute("INSERT INTO children (parent) VALUES ('nobody')")

    claims = await claimed(narrow, "a", "b", "guilty", "z")
    done = await attempts(narrow, claims, {"guilty": break_it})
    assert isinstance(done["guilty"], TurnLost)
    lost = [claim for claim in claims if done[claim.external_id] is not None]
    assert len(lost) > 1
    assert all(isinstance(done[claim.external_id], TurnLost) for claim in lost)
    again = await rerun(narrow, lost)
    assert isinstance(again.pop("guilty"), psycopg.errors.ForeignKeyViolation)
    assert set(again.values()) == {None}
    assert names(url) == ["a", "b", "z"]
    assert len(await narrow.reader.messages(RowFilter())) == 3


async def test_a_lost_lease_undoes_what_shared_its_turn(url: str, narrow: PostgresDatabase) -> None:
    claims = await claimed(narrow, *"abc")
    execute(url, "UPDATE inbox_events SET lease_token = lease_token + 1 WHERE external_id = 'b'")
    done = await attempts(narrow, claims)
    assert isinstance(done["b"], LeaseLost)
    again = [claim for claim in claims if isinstance(done[claim.external_id], TurnLost)]
    assert again
    assert set((await rerun(narrow, again)).values()) == {None}
    assert names(url) == ["a", "c"]
    assert len(await narrow.reader.messages(RowFilter())) == 2


@pytest.mark.parametrize("lost", [True, False])
async def test_who_has_failed_hears_whether_what_it_saw_came_to_be(
    url: str, narrow: PostgresDatabase, lost: bool
) -> None:
    first, second = await claimed(narrow, *"ab")
    served = narrow.storage.begin(first)

    async def serve() -> None:
        await served.execute(INSERT, {"name": "a"})
        await served.complete(settlement(first))

    async def fail() -> bool:
        unit = narrow.storage.begin(second)
        assert await unit.fetch("SELECT name FROM mine") == [{"name": "a"}]
        if lost:
            execute(url, "UPDATE inbox_events SET lease_token = lease_token + 1 WHERE external_id = 'a'")
        return await unit.rollback()

    serving, sound = await asyncio.gather(serve(), fail(), return_exceptions=True)
    assert isinstance(serving, LeaseLost) is lost
    assert sound is not lost
    assert names(url) == ([] if lost else ["a"])


def terminate(url: str, whom: str) -> int:
    """End connections; how many."""
    found = execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name = 'surehook' AND {whom}",
    )
    return len(found)


async def test_a_connection_that_ends_in_the_middle_of_a_turn(url: str, narrow: PostgresDatabase) -> None:
    first, second = await claimed(narrow, *"ab")
    async with inside(narrow, second, first) as unit:
        assert terminate(url, "state LIKE 'idle in transaction%'") == 1
        with pytest.raises(TurnLost):
            await unit.execute(INSERT, {"name": "more"})
    assert names(url) == []
    assert set((await rerun(narrow, [first, second])).values()) == {None}
    assert names(url) == ["a", "b"]


#: A commit that waits for whoever holds the lock 7.
SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()
"""


async def test_a_connection_that_ends_in_the_commit_leaves_it_unknown(
    url: str, narrow: PostgresDatabase
) -> None:
    execute(url, SLOW_COMMIT)
    claims = await claimed(narrow, *"ab")
    with psycopg.connect(url) as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(7)")
        running = asyncio.create_task(attempts(narrow, claims))
        await wait_until(lambda: terminate(url, "wait_event = 'advisory'"), "the commit waits, and is ended")
        done = await running
    assert [type(error) for error in done.values()] == [CommitUnknown, CommitUnknown]


async def test_the_limits_of_a_shared_statement_are_not_those_of_the_commit(
    url: str, narrow: PostgresDatabase
) -> None:
    """Broken off there, a commit would not wait for a synchronous standby."""
    execute(
        url,
        """
        CREATE TABLE seen (lock_timeout text, statement_timeout text);
        CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (current_setting('lock_timeout'), current_setting('statement_timeout'));
            RETURN NULL; END $$;
        CREATE TRIGGER early AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION look();
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON mine DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION look()
        """,
    )
    claims = await claimed(narrow, *"abc")
    assert set((await attempts(narrow, claims)).values()) == {None}
    seen = execute(url, "SELECT * FROM seen")
    assert set(seen) == {("0", "0"), ("100ms", "1s")}
    assert seen.count(("0", "0")) > 3


# who costs the others their time


async def test_a_guest_that_does_something_else_loses_its_place_when_others_wait(
    url: str, narrow: PostgresDatabase
) -> None:
    first, slow = await claimed(narrow, *"ab")
    async with inside(narrow, slow, first) as unit:
        told = asyncio.Event()
        unit.on_expired(told.set)
        await told.wait()
        with pytest.raises(TurnLost, match="something else"):
            await unit.execute(INSERT, {"name": "more"})
        with pytest.raises(TurnLost, match="something else"):
            await unit.complete(settlement(slow))
    assert names(url) == ["a"]
    assert states(url) == {"a": "PROCESSED", "b": "PROCESSING"}
    await attempt(narrow, slow)
    assert isinstance(narrow.storage.begin(slow), PostgresUnit)
    assert names(url) == ["a", "b"]


async def test_a_guest_that_is_alone_may_take_its_time(url: str, wide: PostgresDatabase) -> None:
    slow, *others = await claimed(wide, *"abcdef")
    unit = wide.storage.begin(slow)
    await unit.execute(INSERT, {"name": "a"})
    assert set((await attempts(wide, others)).values()) == {None}
    await wait_until(lambda: isinstance(wide.storage.begin(slow), PostgresUnit), "it is known as slow")
    assert set((await attempts(wide, await claimed(wide, "g", type="other"))).values()) == {None}
    await unit.execute(INSERT, {"name": "more"})
    await unit.complete(settlement(slow))
    assert names(url) == [*"abcdefg", "more"]


async def test_a_lock_that_others_hold_is_not_waited_for_in_a_shared_turn(
    url: str, narrow: PostgresDatabase
) -> None:
    """It has locks itself: two turns could wait for each other for ever."""
    execute(url, "INSERT INTO mine (name) VALUES ('row')")
    update = "UPDATE mine SET n = n + 1 WHERE name = 'row'"
    first, second = await claimed(narrow, *"ab")
    with psycopg.connect(url) as blocker:
        blocker.execute(update.encode())
        async with inside(narrow, second, first) as unit:
            with pytest.raises(psycopg.errors.LockNotAvailable):  # what it asks for is its own affair
                await unit.fetch("SELECT n FROM mine WHERE name = 'row' FOR UPDATE NOWAIT")
            with pytest.raises(TurnLost, match="lock timeout"):
                await unit.execute(update)
            with pytest.raises(TurnLost, match="lock timeout"):
                await unit.complete(settlement(second))
        assert names(url) == ["a", "row"]
        alone = narrow.storage.begin(second)
        assert isinstance(alone, PostgresUnit)
        waiting = asyncio.create_task(alone.execute(update))
        await wait_until(lambda: terminate(url, "wait_event_type = 'Lock' AND false") == 0, "it waits")
        blocker.commit()
        assert await waiting == 1
        await alone.complete(settlement(second))
    assert execute(url, "SELECT n FROM mine WHERE name = 'row'") == [(2,)]


async def test_two_turns_that_want_each_others_rows(url: str, wide: PostgresDatabase) -> None:
    """Each holds what the other needs; whoever gives way runs again."""
    execute(url, "INSERT INTO mine (name) SELECT 'row' || n FROM generate_series(1, 4) AS n")
    claims = await claimed(wide, *(f"e{n:02}" for n in range(6)))
    order = {claim.external_id: (1, 2, 3, 4) if n % 2 else (4, 3, 2, 1) for n, claim in enumerate(claims)}

    async def run(claim: Claim) -> None:
        while True:
            unit = wide.storage.begin(claim)
            try:
                for n in order[claim.external_id]:
                    await unit.execute("UPDATE mine SET n = n + 1 WHERE name = :name", {"name": f"row{n}"})
                await unit.complete(settlement(claim))
                return
            except TurnLost:
                await unit.rollback()

    await asyncio.gather(*map(run, claims))
    assert execute(url, "SELECT DISTINCT n FROM mine") == [(6,)]


async def test_a_statement_that_is_too_slow_to_be_waited_for(url: str, narrow: PostgresDatabase) -> None:
    execute(
        url,
        """
        CREATE TABLE slow (n integer);
        CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_sleep(2); RETURN NEW; END $$;
        CREATE TRIGGER sleep BEFORE INSERT ON slow FOR EACH ROW EXECUTE FUNCTION sleep()
        """,
    )
    first, second = await claimed(narrow, *"ab")
    async with inside(narrow, second, first) as unit:
        with pytest.raises(TurnLost, match="statement timeout"):
            await unit.execute("INSERT INTO slow (n) VALUES (1)")
    assert names(url) == ["a"]
    alone = narrow.storage.begin(second)
    assert await alone.execute("INSERT INTO slow (n) VALUES (1)") == 1
    await alone.complete(settlement(second))


# what must not reach the next event

LEAKS = [
    "SET LOCAL app.tenant = 'a'",
    "SELECT set_config('app.tenant', 'a', true)",
    "SELECT mine_config('a')",
    "WITH x AS (SELECT public . set_tenant('a')) SELECT 1 FROM x",
]
FUNCTIONS = """
CREATE FUNCTION set_tenant(text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.tenant', $1, true) $$;
CREATE FUNCTION mine_config(text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.tenant', $1, true) $$
"""


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("when", ["at first", "later", "later, beside others"])
async def test_a_setting_of_one_event_never_reaches_another(
    url: str, narrow: PostgresDatabase, leak: str, when: str
) -> None:
    """It could be the tenant whose rows may be seen."""
    execute(url, FUNCTIONS)
    execute(url, "CREATE VIEW tenant AS SELECT current_setting('app.tenant', true) AS name")

    async def set_it(unit: Unit) -> None:
        if when != "at first":
            await unit.execute(INSERT, {"name": "own"})
        await unit.execute(leak)
        assert await unit.fetch("SELECT name FROM tenant") == [{"name": "a"}]

    async def look(unit: Unit) -> None:
        [row] = await unit.fetch("SELECT name FROM tenant")
        assert not row["name"]

    others = {} if when == "later" else dict.fromkeys("cd", look)
    if when == "later, beside others":
        others |= {"a": look}
    claims = await claimed(narrow, *sorted({"b", *others}))
    done = await attempts(narrow, claims, {"b": set_it, **others})
    result = done.pop("b")
    assert set(done.values()) <= {None}
    if when == "later, beside others":
        assert isinstance(result, TurnLost)
        [claim] = [each for each in claims if each.external_id == "b"]
        await attempt(narrow, claim, set_it)
    else:
        assert result is None
    await attempt(narrow, (await claimed(narrow, "z", type="other"))[0], look)


async def test_a_connection_is_lent_from_the_middle_of_a_turn(url: str, narrow: PostgresDatabase) -> None:
    first, second = await claimed(narrow, *"ab")
    unit = narrow.storage.begin(first)
    await unit.execute(INSERT, {"name": "a"})
    with pytest.raises(psycopg.errors.UniqueViolation):
        await unit.execute(INSERT, {"name": "a"})
    connection = await unit.connection()
    await connection.execute("INSERT INTO mine (name) VALUES ('lent')")
    assert await unit.execute(INSERT, {"name": "after"}) == 1
    await unit.complete(settlement(first, messages=(message(),)))
    assert names(url) == ["a", "after", "lent"]
    assert turns(url) == 1
    assert isinstance(narrow.storage.begin(second), PostgresUnit)


async def test_a_connection_is_not_lent_where_others_wait_for_their_commit(
    url: str, narrow: PostgresDatabase
) -> None:
    first, second = await claimed(narrow, *"ab")
    async with inside(narrow, second, first) as unit:
        with pytest.raises(TurnLost, match=r"tx\.connection"):
            await unit.connection()
    assert names(url) == ["a"]


async def test_handlers_in_threads_have_a_transaction_of_their_own(url: str, wide: PostgresDatabase) -> None:
    claims = await claimed(wide, *"abcd")

    def work(unit: Unit, claim: Claim) -> None:
        assert unit.execute_blocking(INSERT, {"name": claim.external_id}) == 1
        name = {"name": claim.external_id}
        assert unit.fetch_blocking("SELECT name FROM mine WHERE name = :name", name) == [name]

    async def run(claim: Claim) -> None:
        unit = wide.storage.begin(claim)
        await asyncio.to_thread(work, unit, claim)
        await unit.complete(settlement(claim))

    await asyncio.gather(*map(run, claims))
    assert turns(url) == 4


# how it is told


async def test_it_can_be_turned_off(url: str) -> None:
    database = await open_postgres(url, PostgresOptions(shared_turns=False))
    claims = await claimed(database, *"abcdef")
    assert all(isinstance(database.storage.begin(claim), PostgresUnit) for claim in claims)
    assert set((await attempts(database, claims)).values()) == {None}
    assert turns(url) == 6
    await database.close()


async def test_behind_a_pooler(postgres: PostgresServer, url: str) -> None:
    """Nothing is prepared by name, and the settings are the transaction's."""

    async def work(unit: Unit) -> None:
        await unit.execute(INSERT, {"name": unique()})
        shown = await unit.fetch(
            "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
        )
        assert shown == [{"setting": "60000"}]

    with Pgbouncer(postgres, {"default_pool_size": 3}) as pooler:
        database = await open_postgres(pooler.url(url.rpartition("/")[2]), PostgresOptions(connections=1))
        for round_ in range(4):
            claims = await claimed(database, *(f"{round_}-{n}" for n in range(10)))
            works = dict.fromkeys([claim.external_id for claim in claims], work)
            assert set((await attempts(database, claims, works)).values()) == {None}
        prepared = await database.storage.begin(claims[0]).fetch("SELECT name FROM pg_prepared_statements")
        assert prepared == []
        await database.close()
    assert len(names(url)) == 40
    assert turns(url) < 20


async def test_statements_come_back_as_from_a_connection_of_ones_own(
    url: str, narrow: PostgresDatabase
) -> None:
    """Large ones, many, with every kind of row; as often as it takes to prepare them."""
    text = "é\U0001f980" * 100_000

    async def work(unit: Unit) -> None:
        for n in range(8):
            name = f"{unique()}-{n}"
            assert await unit.execute(INSERT, {"name": name}) == 1
            assert (
                await unit.execute("UPDATE mine SET n = :n WHERE name = :name", {"n": n, "name": name}) == 1
            )
        rows = await unit.fetch(
            "SELECT :text::text AS text, at, NULL AS nothing FROM mine LIMIT 1", {"text": text}
        )
        assert rows[0]["text"] == text
        assert rows[0]["at"].tzinfo is not None
        assert rows[0]["nothing"] is None
        assert await unit.fetch("DELETE FROM mine WHERE name = 'nobody'") == []
        assert await unit.execute("SELECT name FROM mine") == 0

    claims = await claimed(narrow, *"abcdef")
    done = await attempts(narrow, claims, dict.fromkeys("abcdef", work))
    assert set(done.values()) <= {None} or {type(each) for each in done.values() if each} == {TurnLost}
    assert done["a"] is None


async def test_ten_thousand_messages_in_a_turn(url: str) -> None:
    database = await open_postgres(url, PostgresOptions(timeout=60_000))
    [claim] = await claimed(database, "a")
    unit = database.storage.begin(claim)
    await unit.execute(INSERT, {"name": "a"})
    written = tuple(message(now=NOW + n) for n in range(10_000))
    await unit.complete(settlement(claim, messages=written))
    stored = await database.reader.messages(RowFilter(limit=20_000))
    assert [row.id for row in reversed(stored)] == [each.id for each in written]
    assert await database.reader.event(claim.id) is not None
    await database.close()


async def test_the_database_is_closed_while_turns_are_open(url: str) -> None:
    database = await open_postgres(url, PostgresOptions(connections=1))
    first, second, third = await claimed(database, *"abc")
    async with inside(database, second, first) as unit:
        waiting = asyncio.create_task(attempt(database, third))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(Unavailable, match="closed"):
            await waiting
        with pytest.raises(Unavailable, match="closed"):
            await unit.execute(INSERT, {"name": "more"})
    assert names(url) == []
    assert states(url)["a"] == EventState.PROCESSING
