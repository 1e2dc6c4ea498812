"""PostgreSQL that hangs, crashes, refuses or is full: every call ends in time, and everything goes on by itself."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest

from surehook.clock import ManualClock, Millis
from surehook.errors import CommitUnknown, ConfigurationError, LeaseLost, TurnLost, Unavailable
from surehook.grouping import GroupCommit
from surehook.ids import EventId, MessageId, PayloadId, uuid7
from surehook.model import Claim, MessageClaim, MessageSettlement, Rejection, RowFilter, Settlement
from surehook.states import EventState, MessageState, Reason
from surehook.storage.postgres import PostgresDatabase, PostgresOptions, open_postgres
from tests.builders import NOW, action, arrival, message, settlement
from tests.scenario.waiting import wait_until
from tests.services import PostgresServer

LEASE = 60_000
#: Seconds that a verb may take longer than its timeout, on a busy machine.
SLACK = 8.0
MAX_CONNECTIONS = 40
OPTIONS = PostgresOptions(connections=3, timeout=2_000, connect_timeout=2_000, read_timeout=2_000)
#: For what must succeed, however busy the machine is.
PATIENT = PostgresOptions(timeout=60_000)

Call = Callable[[], Awaitable[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that these tests may hurt."""
    with PostgresServer({"max_connections": MAX_CONNECTIONS}, in_memory=True) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    with server.database() as url:
        yield url


@pytest.fixture
async def opened(url: str, clock: ManualClock) -> AsyncIterator[PostgresDatabase]:
    database = await open_postgres(url, OPTIONS)
    await database.migrate(clock)
    yield database
    await database.close()


def execute(url: str, sql: str) -> list[tuple[Any, ...]]:
    """What an administrator does meanwhile."""
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


async def claimed(database: PostgresDatabase, count: int) -> list[Claim]:
    await database.storage.accept([arrival(f"held_{uuid7(n).hex()}", b"held") for n in range(count)])
    return await database.storage.claim(count, NOW, Millis(NOW + LEASE))


async def sending(database: PostgresDatabase) -> MessageClaim:
    [claim] = await claimed(database, 1)
    await database.storage.settle([settlement(claim, messages=(message(),))])
    [sent] = await database.storage.claim_messages("ledger", 1, NOW, Millis(NOW + LEASE))
    return sent


def every_verb(database: PostgresDatabase, claims: list[Claim], sent: MessageClaim) -> dict[str, Call]:
    """Each verb of the seam, called so that it has something to do."""
    storage, reader = database.storage, database.reader
    end = MessageSettlement(id=sent.id, token=sent.token, state=MessageState.SENT, at=NOW)
    refused = Rejection("stripe", "billing", Reason.BAD_SIGNATURE, "", (), b"\0" * 32, 5, NOW)
    nobody, nothing = EventId(uuid7(NOW)), MessageId(uuid7(NOW))
    return {
        "accept": lambda: storage.accept([arrival("new")]),
        "accept suspects": lambda: storage.accept([arrival("new", id_is_signed=False)]),
        "reject": lambda: storage.reject([refused], keep=10),
        "claim": lambda: storage.claim(1, NOW, Millis(NOW + LEASE)),
        "claim named": lambda: storage.claim(1, NOW, Millis(NOW + LEASE), [nobody]),
        "extend": lambda: storage.extend(claims, Millis(NOW + LEASE)),
        "settle": lambda: storage.settle([settlement(claims[0])]),
        "claim messages": lambda: storage.claim_messages("ledger", 1, NOW, Millis(NOW + LEASE)),
        "extend messages": lambda: storage.extend_messages([sent], Millis(NOW + LEASE)),
        "settle messages": lambda: storage.settle_messages([end]),
        "rescue": lambda: storage.rescue(NOW, poison_after=3),
        "take back": lambda: storage.take_back([nobody], NOW),
        "replay events": lambda: storage.replay_events([nobody], action()),
        "discard events": lambda: storage.discard_events([nobody], action()),
        "replay messages": lambda: storage.replay_messages([nothing], action()),
        "discard messages": lambda: storage.discard_messages([nothing], action()),
        "statement": lambda: one_statement(database, claims[1]),
        "complete": lambda: storage.begin(claims[1]).complete(settlement(claims[1])),
        "event": lambda: reader.event(nobody),
        "events": lambda: reader.events(RowFilter()),
        "payload": lambda: reader.payload(PayloadId(nobody)),
        "message": lambda: reader.message(nothing),
        "message body": lambda: reader.message_body(nothing),
        "messages": lambda: reader.messages(RowFilter()),
        "failures": lambda: reader.failures(nobody),
        "rejections": lambda: reader.rejections(RowFilter()),
        "audit": lambda: reader.audit(1),
        "counts": reader.counts,
        "ignored since": lambda: reader.ignored_since(NOW, None, 1),
        "due": lambda: reader.due(NOW, 1),
        "database time": reader.database_time,
        "check": database.check,
        "migrations": database.migrations,
        "maintain": lambda: database.maintain(Millis(NOW + 86_400_000)),
        "warnings": database.warnings,
    }


async def one_statement(database: PostgresDatabase, claim: Claim) -> None:
    unit = database.storage.begin(claim)
    try:
        await unit.execute("SELECT 1")
    finally:
        await unit.rollback()


async def outcome(call: Call) -> tuple[float, object]:
    """How many seconds it took, and what came of it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        result: object = await call()
    except Exception as error:  # noqa: BLE001 - it is what the tests ask for
        result = error
    return loop.time() - begun, result


@pytest.fixture(autouse=True)
def _no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A task whose error nobody has looked at is told to this logger, not to the test."""
    yield
    complaints = [each.getMessage() for each in caplog.records if each.name == "asyncio"]
    assert not [text for text in complaints if "never retrieved" in text or "destroyed" in text]


# a server that answers nobody (PGX-04)


async def test_every_verb_ends_in_time_when_the_server_hangs_and_works_when_it_goes_on(
    server: PostgresServer, opened: PostgresDatabase
) -> None:
    sent = await sending(opened)
    verbs = every_verb(opened, await claimed(opened, 2), sent)
    for name in ("extend", "claim", "check", "event"):  # so that some have a connection and others need one
        await verbs[name]()
    with server.paused():
        results = await asyncio.gather(*(outcome(call) for call in verbs.values()))
    for name, (seconds, result) in zip(verbs, results, strict=True):
        assert isinstance(result, Unavailable), f"{name}: {result!r}"
        assert seconds < OPTIONS.timeout / 1000 + SLACK, f"{name} took {seconds} s"
    for name, call in verbs.items():
        seconds, result = await outcome(call)
        assert not isinstance(result, Exception), f"{name} after the pause: {result!r}"
        assert seconds < SLACK, f"{name} took {seconds} s after the pause"


async def test_a_close_ends_in_time_while_the_server_hangs(
    server: PostgresServer, url: str, clock: ManualClock
) -> None:
    database = await open_postgres(url, msgspec.structs.replace(OPTIONS, read_timeout=30_000))
    await database.migrate(clock)
    await database.reader.counts()
    with server.paused():
        begun = asyncio.create_task(outcome(lambda: database.storage.accept([arrival()])))
        reading = asyncio.create_task(outcome(database.reader.counts))
        await asyncio.sleep(0)
        seconds, result = await outcome(database.close)
        assert result is None
        assert seconds < (OPTIONS.timeout + 2 * OPTIONS.connect_timeout) / 1000 + SLACK
        assert isinstance((await begun)[1], Unavailable)
        assert isinstance((await reading)[1], Unavailable)
    await wait_until(lambda: not sessions(url), "the server has seen them go")
    for late in (database.storage.accept([arrival()]), database.reader.counts(), database.check()):
        with pytest.raises(Unavailable, match="closed"):
            await late


async def test_opening_ends_in_time_while_the_server_hangs(server: PostgresServer, url: str) -> None:
    with server.paused():
        seconds, result = await outcome(lambda: open_postgres(url, OPTIONS))
    assert isinstance(result, Unavailable)
    assert seconds < OPTIONS.connect_timeout / 1000 + SLACK


def sessions(url: str, state: str = "%") -> int:
    """How many connections of Surehook the server knows of."""
    [(count,)] = execute(
        url,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        f"AND state LIKE '{state}'",
    )
    return int(count)


async def test_a_caller_who_gives_up_leaves_nothing_behind(
    two: tuple[PostgresDatabase, PostgresDatabase], url: str
) -> None:
    """Cancelled at every moment of a verb: no connection is lost and no transaction stays open."""
    opened, _ = two
    verbs = every_verb(opened, await claimed(opened, 2), await sending(opened))
    chance = random.Random(3)
    for call in verbs.values():
        for _ in range(6):
            task = asyncio.ensure_future(call())
            await asyncio.sleep(chance.uniform(0, 0.006))
            task.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await task
    storage, reader = opened.storage, opened.reader
    calls = [lambda: storage.rescue(NOW, poison_after=3), reader.counts, lambda: storage.extend([], NOW)]
    results = await asyncio.gather(*(outcome(call) for call in calls * 10))
    assert [result for _, result in results if isinstance(result, Exception)] == []
    await wait_until(lambda: not sessions(url, "idle in transaction%"), "no transaction is open")
    await wait_until(lambda: not sessions(url, "active"), "no statement runs")


@pytest.mark.parametrize("steps", range(6))
async def test_a_rollback_that_is_cancelled_gives_its_connection_back(
    opened: PostgresDatabase, steps: int
) -> None:
    """A worker cancels an attempt whose lease is lost, and the handler may just have failed by itself."""
    claims = await claimed(opened, OPTIONS.connections)
    units = [opened.storage.begin(claim) for claim in claims]
    for unit in units:
        await unit.execute("SELECT 1")
    for unit in units:
        ending = asyncio.create_task(unit.rollback())
        for _ in range(steps):
            await asyncio.sleep(0)
        ending.cancel()
        with suppress(asyncio.CancelledError):
            await ending
        await unit.rollback()  # as its worker does at last
    for claim in claims:
        await one_statement(opened, claim)


async def test_a_cancelled_reader_does_not_wait_for_the_server(
    opened: PostgresDatabase, server: PostgresServer
) -> None:
    await opened.reader.counts()
    with server.paused():
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await opened.reader.counts()
        assert asyncio.get_running_loop().time() - begun < 0.5
    await opened.reader.counts()


# a server that ends (PGX-01, PGX-03)


async def test_a_restart_is_not_noticed_by_who_comes_after_it(
    server: PostgresServer, opened: PostgresDatabase
) -> None:
    verbs = every_verb(opened, await claimed(opened, 2), await sending(opened))
    await asyncio.gather(*(call() for call in verbs.values() for _ in range(3)), return_exceptions=True)
    verbs = every_verb(opened, await claimed(opened, 2), await sending(opened))
    server.stop("immediate")
    server.start()
    for name, call in verbs.items():
        _, result = await outcome(call)
        assert not isinstance(result, Exception), f"{name}: {result!r}"


async def test_a_crash_between_two_statements_of_a_verb_is_repaired(
    opened: PostgresDatabase, url: str
) -> None:
    """The connection ends before the COMMIT was sent: nothing was written, and the verb is tried again."""
    await opened.storage.accept([arrival()])
    with psycopg.connect(url) as blocker:
        blocker.execute("SELECT 1 FROM inbox_events FOR UPDATE")
        task = asyncio.create_task(opened.storage.accept([arrival()]))
        await wait_until(lambda: terminate(url, "wait_event_type = 'Lock'"), "the accept waits, and is ended")
    [[accepted]] = await task
    assert accepted.duplicate
    [event] = await opened.reader.events(RowFilter())
    assert event.duplicates == 1


def terminate(url: str, whom: str = "true") -> int:
    """End connections of Surehook; how many."""
    found = execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        f"AND application_name = 'surehook' AND {whom}",
    )
    return len(found)


#: A commit that waits for whoever holds the lock 7.
SLOW_COMMIT = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON inbox_events DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait()
"""


@pytest.mark.parametrize("end", ["ended by the server", "not answered in time"])
async def test_a_connection_that_ends_in_its_commit_leaves_it_unknown(
    opened: PostgresDatabase, url: str, end: str
) -> None:
    execute(url, SLOW_COMMIT)
    with psycopg.connect(url) as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(7)")
        task = asyncio.create_task(opened.storage.accept([arrival()]))
        if end == "ended by the server":
            await wait_until(
                lambda: terminate(url, "wait_event = 'advisory'"), "the commit waits, and is ended"
            )
        with pytest.raises(CommitUnknown):
            await task
    [[accepted]] = await opened.storage.accept([arrival()])
    stored = await opened.reader.events(RowFilter())
    assert [event.id for event in stored] == [accepted.id]


class Traffic:
    """Senders and workers on one database, of whom each goes on whatever the database answers."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._now = int(NOW)
        self.storage = database.storage
        #: What was answered as stored, by its external id.
        self.accepted: dict[str, EventId] = {}
        self.ended = 0
        self.done = asyncio.Event()

    async def send(self, sender: int, harms: int) -> None:
        """Events until so many connections have been ended; each again and again until it is accepted."""
        numbers = itertools.count()
        while self.ended < harms:
            name = f"{sender}-{next(numbers)}"
            while name not in self.accepted:
                with suppress(Unavailable):
                    [[answer]] = await self.storage.accept([arrival(name, name.encode())])
                    self.accepted[name] = answer.id

    async def work(self) -> None:
        while not self.done.is_set():
            with suppress(
                Unavailable, LeaseLost
            ):  # the other worker takes back what this one has just claimed
                await self.work_once(NOW)
            await asyncio.sleep(0)

    async def work_once(self, now: int) -> None:
        """Finish what can be claimed, and take back what was left."""
        for claim in await self.storage.claim(5, Millis(now), Millis(now + LEASE)):
            unit = self.storage.begin(claim)
            try:
                await unit.execute("INSERT INTO effects VALUES (?)", [claim.external_id])
                await unit.complete(settlement(claim, messages=(message(),)))
            finally:
                await unit.rollback()
        await self.storage.rescue(Millis(now + LEASE + 1), poison_after=1_000)

    async def harm(self, url: str) -> None:
        """End the connections, at every moment of whatever they do."""
        chance = random.Random(7)
        while not self.done.is_set():
            self.ended += await asyncio.to_thread(terminate, url)
            await asyncio.sleep(chance.uniform(0, 0.1))

    async def finished(self) -> bool:
        self._now += 2 * LEASE  # what was taken back is due then
        await self.work_once(self._now)
        return set((await self._database.reader.counts()).events) == {"PROCESSED"}


async def test_connections_ended_at_random_lose_nothing_and_double_nothing(
    opened: PostgresDatabase, url: str
) -> None:
    """Accepted is stored, and a completed event has its effect and its message once, whenever the connection ends."""
    execute(url, "CREATE TABLE effects (event text)")
    traffic = Traffic(opened)
    others = [asyncio.create_task(each) for each in (traffic.work(), traffic.work(), traffic.harm(url))]
    await asyncio.gather(*(traffic.send(sender, 40) for sender in range(4)))
    traffic.done.set()
    await asyncio.gather(*others)
    await wait_until(traffic.finished, "every event is processed")
    names = sorted(traffic.accepted)
    stored = execute(url, "SELECT external_id, id FROM inbox_events")
    assert {name: id.bytes for name, id in stored} == traffic.accepted
    assert len(stored) == len(names) > 20
    assert sorted(event for (event,) in execute(url, "SELECT event FROM effects")) == names
    sent = execute(url, "SELECT count(DISTINCT event_id), count(*) FROM outbox_messages")
    assert sent == [(len(names), len(names))]


# a server that refuses (PGX-05, PGX-13)


async def test_a_read_only_server_is_unavailable_for_writing_until_it_is_no_longer(
    opened: PostgresDatabase, url: str
) -> None:
    await opened.storage.accept([arrival("before")])
    execute(url, "ALTER SYSTEM SET default_transaction_read_only = on")
    execute(url, "SELECT pg_reload_conf()")
    try:
        await wait_until(
            lambda: execute(url, "SHOW default_transaction_read_only") == [("on",)], "it is read only"
        )
        for call in (lambda: opened.storage.accept([arrival("during")]), opened.check):
            with pytest.raises(Unavailable, match=r"read-only|no connection"):
                await call()
    finally:
        execute(url, "ALTER SYSTEM RESET default_transaction_read_only")
        execute(url, "SELECT pg_reload_conf()")

    await wait_until(lambda: accepts(opened), "it accepts again", within=5.0)


async def accepts(database: PostgresDatabase) -> bool:
    """Whether an arrival can be stored now."""
    with suppress(Unavailable):
        return bool(await database.storage.accept([arrival(uuid7(NOW).hex())]))
    return False


async def test_a_server_without_a_free_connection_is_unavailable_until_it_has_one(
    server: PostgresServer, opened: PostgresDatabase, url: str
) -> None:
    await opened.close()
    with ExitStack() as others:
        for _ in range(MAX_CONNECTIONS):
            with suppress(psycopg.OperationalError):
                others.enter_context(psycopg.connect(url))
        with pytest.raises(Unavailable, match=r"cannot connect to PostgreSQL: .*too many clients"):
            await open_postgres(url, OPTIONS)
    await wait_until(lambda: not sessions(url), "the others are gone")
    async with AsyncExitStack() as stack:
        database = await open_postgres(url, OPTIONS)
        stack.push_async_callback(database.close)
        with ExitStack() as others:
            for _ in range(MAX_CONNECTIONS):
                with suppress(psycopg.OperationalError):
                    others.enter_context(psycopg.connect(url))
            seconds, result = await outcome(lambda: database.storage.accept([arrival()]))
            assert isinstance(result, Unavailable)
            assert seconds < OPTIONS.timeout / 1000 + SLACK
        await wait_until(lambda: accepts(database), "it accepts again", within=3.0)


async def test_after_an_outage_it_goes_on_within_two_seconds(
    server: PostgresServer, opened: PostgresDatabase
) -> None:
    """A pool that waits longer after each failure would lengthen the outage by as much again."""
    loop = asyncio.get_running_loop()
    server.stop("immediate")
    until = loop.time() + 5.0
    while loop.time() < until:
        assert not await accepts(opened)
    await asyncio.to_thread(server.start)
    begun = loop.time()
    await wait_until(lambda: accepts(opened), "it accepts again")
    assert loop.time() - begun < 2.0


async def test_a_server_that_does_not_flush_is_refused(server: PostgresServer, url: str) -> None:
    execute(url, "ALTER SYSTEM SET fsync = off")
    execute(url, "SELECT pg_reload_conf()")
    try:
        await wait_until(lambda: execute(url, "SHOW fsync") == [("off",)], "fsync is off")
        with pytest.raises(ConfigurationError, match="fsync=off"):
            await open_postgres(url)
    finally:
        execute(url, "ALTER SYSTEM RESET fsync")
        execute(url, "SELECT pg_reload_conf()")
    await wait_until(lambda: execute(url, "SHOW fsync") == [("on",)], "fsync is on")


async def test_what_weakens_a_promise_is_told(
    server: PostgresServer, opened: PostgresDatabase, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await opened.warnings() == []
    [(name,)] = execute(url, "SELECT current_database()")
    execute(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    weak = await open_postgres(url)
    [warning] = await weak.warnings()
    await weak.close()
    assert "synchronous_commit=off" in warning
    assert warning in [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_a_database_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    execute(server.url(), "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
        await open_postgres(server.url("latin"))


# transactions that are in each other's way (PGX-09)


@pytest.fixture
async def two(url: str, clock: ManualClock) -> AsyncIterator[tuple[PostgresDatabase, PostgresDatabase]]:
    """Two processes on one database."""
    first, second = await open_postgres(url, PATIENT), await open_postgres(url, PATIENT)
    await first.migrate(clock)
    yield first, second
    await first.close()
    await second.close()


def deadlocks(url: str) -> int:
    """How many the server has counted."""
    [(count,)] = execute(url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


async def test_duplicates_in_opposite_orders_never_wait_in_a_circle(
    two: tuple[PostgresDatabase, PostgresDatabase], url: str
) -> None:
    first, _ = two
    batch = [arrival(f"e{n}", b"%d" % (n % 7), id_is_signed=n % 2 == 0) for n in range(20)]
    await first.storage.accept(batch)
    orders = [batch, batch[::-1]]
    answers = await asyncio.gather(*(each.storage.accept(orders[n % 2]) for n in range(20) for each in two))
    assert all(accepted.duplicate for answer in answers for [accepted] in answer)
    rows = execute(url, "SELECT duplicates FROM inbox_events")
    assert rows == [(40,)] * len(batch)
    assert deadlocks(url) == 0


async def test_new_ones_in_opposite_orders_surface_no_deadlock(
    two: tuple[PostgresDatabase, PostgresDatabase], url: str
) -> None:
    first, second = two
    for turn in range(10):
        batch = [arrival(f"e{turn}-{n}", b"%d-%d" % (turn, n)) for n in range(20)]
        answers = await asyncio.gather(first.storage.accept(batch), second.storage.accept(batch[::-1]))
        fresh = [accepted.id for answer in answers for [accepted] in answer if not accepted.duplicate]
        assert len(fresh) == len(set(fresh)) == 20
        forth, back = ([accepted.id for [accepted] in answer] for answer in answers)
        assert forth == back[::-1]
    assert deadlocks(url) == 0


async def test_arrivals_against_settlements_of_the_same_events(
    two: tuple[PostgresDatabase, PostgresDatabase], url: str
) -> None:
    first, second = two
    batch = [arrival(f"e{n}", b"%d" % n) for n in range(30)]
    await first.storage.accept(batch)
    claims = await first.storage.claim(30, NOW, Millis(NOW + LEASE))
    backwards = [settlement(claim, EventState.RECEIVED) for claim in reversed(claims)]
    settled, *_ = await asyncio.gather(
        first.storage.settle(backwards),
        *(second.storage.accept(batch) for _ in range(5)),
        *(second.storage.extend(claims[::-1], Millis(NOW + LEASE)) for _ in range(3)),
    )
    assert settled == [True] * 30
    assert deadlocks(url) == 0


@pytest.mark.parametrize("kind", ["events", "messages"])
async def test_a_row_that_somebody_has_locked_keeps_no_other_lease_from_being_prolonged(
    opened: PostgresDatabase, url: str, kind: str
) -> None:
    """One forgotten SELECT ... FOR UPDATE would end all leases of a worker, again and again, until they are POISON."""
    storage, later = opened.storage, Millis(NOW + 2 * LEASE)
    claims = await claimed(opened, 3)
    table = "inbox_events"
    extend: Call = partial(storage.extend, claims, later)
    if kind == "messages":
        table = "outbox_messages"
        await storage.settle([settlement(claim, messages=(message(),)) for claim in claims])
        sent = await storage.claim_messages("ledger", 3, NOW, Millis(NOW + LEASE))
        await storage.settle_messages([MessageSettlement(sent[0].id, sent[0].token, MessageState.SENT, NOW)])
        extend = partial(storage.extend_messages, sent, later)
    else:
        await storage.settle([settlement(claims[0])])
    with psycopg.connect(url) as forgotten:
        forgotten.execute(
            f"SELECT 1 FROM {table} WHERE lease_until > 0 ORDER BY id DESC LIMIT 1 FOR UPDATE".encode()
        )
        assert len(await extend()) == 1, "who is done has no lease; who is locked has"
        rows = execute(url, f"SELECT lease_until FROM {table} WHERE lease_until > 0 ORDER BY id")
        assert rows == [(later,), (NOW + LEASE,)]
    assert len(await extend()) == 1
    assert execute(url, f"SELECT DISTINCT lease_until FROM {table} WHERE lease_until > 0") == [(later,)]


async def test_a_row_that_somebody_has_locked_keeps_no_other_attempt_from_its_end(
    opened: PostgresDatabase, url: str
) -> None:
    """They share a commit. Only the one whose row it is has to wait."""
    claims = await claimed(opened, 6)
    group: GroupCommit[Settlement, bool] = GroupCommit(opened.storage.settle)
    with psycopg.connect(url) as forgotten:
        forgotten.execute("SELECT 1 FROM inbox_events WHERE id = %s FOR UPDATE", [claims[2].id.hex()])
        results = await asyncio.gather(
            *(group.put(settlement(claim)) for claim in claims), return_exceptions=True
        )
        assert isinstance(results.pop(2), TurnLost)
        assert results == [True] * 5
    assert await group.put(settlement(claims[2])) is True


async def test_replays_that_cross_are_both_done(
    two: tuple[PostgresDatabase, PostgresDatabase], url: str
) -> None:
    first, second = two
    claims = await claimed(second, 10)
    ids = [claim.id for claim in claims]
    for _ in range(2):
        await second.storage.settle([settlement(claim) for claim in claims])
        results = await asyncio.gather(
            second.storage.replay_events(ids, action()), first.storage.replay_events(ids[::-1], action())
        )
        assert sorted(result.done for answer in results for result in answer) == [False] * 10 + [True] * 10
        claims = await second.storage.claim(10, NOW, Millis(NOW + LEASE))
    assert [entry.seq for entry in await second.reader.audit(99)] == list(range(20, 0, -1))
    assert deadlocks(url) == 0
