"""A long backlog and a long history cost no statement more: how each finds its rows, and how many pages it touches.

On a server of its own, with a small and a large database of the same shape; statements run as the adapter runs them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from surehook.clock import ManualClock, Millis
from surehook.model import MessageSettlement
from surehook.states import MessageState
from surehook.storage.postgres import open_postgres
from surehook.storage.postgres.floors import MARGIN
from surehook.storage.postgres.session import PLANS_FOR_VALUES, SIMPLE_PLANS, for_session
from surehook.storage.postgres.sharedcommit import PLANS
from surehook.storage.postgres.statements import load_texts
from tests.builders import NOW, arrival, message, settlement
from tests.services import PostgresServer

LEASE = 60_000
FEW, MANY = 9_000, 300_000
LATER = Millis(NOW + 10_000_000)
TEXTS = load_texts()

#: Events of which three in ten wait and some are in each other state, with a message each.
FILL = """
INSERT INTO inbox_events (id, provider, topic, external_id, type, payload_id, body_sha256, suspect_key, received_at, state,
    due_at, lease_until, lease_token, updated_at, finished_at)
SELECT id, 'stripe', 'billing', 'evt_' || n, 'invoice.paid', id, sha, CASE WHEN n % 3 = 0 THEN sha END, at, state,
    CASE WHEN state IN ('RECEIVED', 'RETRYING') THEN at END, CASE WHEN state = 'PROCESSING' THEN at END, 1, at,
    CASE WHEN state IN ('PROCESSED', 'DEAD', 'IGNORED', 'DISCARDED') THEN at END
FROM (
    SELECT n, {now} + n AS at, decode(md5(n::text) || md5(n::text), 'hex') AS sha,
        CAST(lpad(to_hex({now} + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid) AS id,
        CASE WHEN n <= {count} * 7 / 10
            THEN coalesce((ARRAY['DEAD', 'IGNORED', 'DISCARDED'])[1 + n % 100], 'PROCESSED')
            ELSE coalesce((ARRAY['PROCESSING', 'RETRYING'])[1 + n % 10], 'RECEIVED') END AS state
    FROM generate_series(1, {count}) AS n
) AS made;
INSERT INTO inbox_payloads SELECT id, provider, topic, 'x', '[]', 'text/plain', body_sha256, received_at, ''
    FROM inbox_events WHERE state <> 'PROCESSED';
INSERT INTO outbox_messages (id, event_id, destination, type, body, state, due_at, lease_until, lease_token, created_at,
    updated_at, finished_at)
SELECT id, id, CASE WHEN received_at % 2 = 0 THEN 'ledger' ELSE 'search' END, type, 'x',
    CASE state WHEN 'RECEIVED' THEN 'PENDING' WHEN 'PROCESSING' THEN 'SENDING' WHEN 'PROCESSED' THEN 'SENT'
        WHEN 'IGNORED' THEN 'SENT' ELSE state END,
    due_at, lease_until, lease_token, received_at, received_at, finished_at
FROM inbox_events
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    settings = {"shared_preload_libraries": "pg_stat_statements", "max_wal_size": "4GB", "autovacuum": "off"}
    with PostgresServer(settings) as server:
        yield server


async def migrate(url: str) -> None:
    database = await open_postgres(url)
    await database.migrate(ManualClock())
    await database.close()


@pytest.fixture(scope="module")
def empty(server: PostgresServer) -> str:
    """A database that was analyzed before anything was in it."""
    url = server.url(server.create_database("empty"))
    asyncio.run(migrate(url))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return url


def filled(server: PostgresServer, template: str, count: int, *, analyzed: bool) -> str:
    """A copy of an empty database with so many events."""
    url = server.url(server.create_database(template=template.rpartition("/")[2]))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(FILL.format(now=NOW, count=count).encode())
        if analyzed:
            connection.execute("VACUUM ANALYZE")
    return url


@pytest.fixture(scope="module")
def few(server: PostgresServer, empty: str) -> str:
    return filled(server, empty, FEW, analyzed=True)


@pytest.fixture(scope="module")
def many(server: PostgresServer, empty: str) -> str:
    return filled(server, empty, MANY, analyzed=True)


@pytest.fixture(scope="module")
def stale(server: PostgresServer, empty: str) -> str:
    """Filled since it was analyzed, as in the first minutes of a flood."""
    return filled(server, empty, FEW, analyzed=False)


#: A row in the state that each statement is for; the others are given no row.
ROWS = {
    "RECEIVED": ("claim_named_events", "get_event", "lock_event", "count_duplicate", "get_payload", "insert_event_failure",
        "reread_event"),
    "RETRYING": ("hurry_event",),
    "PROCESSING": (
        "extend_event", "held_event", "process_event", "process_events", "retry_event", "bury_event", "ignore_event",
        "release_event",
    ),
    "IGNORED": ("take_back_event",),
    "DEAD": ("replay_event", "discard_event", "revive_event"),
    "message PENDING": ("get_message", "get_message_body", "lock_message", "insert_message_failure"),
    "message RETRYING": ("hurry_message",),
    "message SENDING": (
        "extend_message", "held_message", "send_message", "retry_message", "bury_message", "release_message",
    ),
    "message DEAD": ("replay_message", "discard_message"),
}  # fmt: skip
OF_ROW = {name: state for state, names in ROWS.items() for name in names}
WRITING = (
    "claim_events", "claim_messages", "rescue_events", "rescue_messages", "find_suspect", "find_known", "trim_rejections",
    "last_audit_entry", "find_siblings", "lock_rejection", "delete_rejection",
)  # fmt: skip
READING = (
    "find_due",
    "find_ignored",
    "find_failures",
    "find_rejections",
    "get_rejection",
    "find_audit",
    "find_audit_of",
)
VALUES: dict[str, Any] = {
    "now": LATER, "at": NOW, "before": LATER, "since": 0, "lease_until": LATER, "due_at": LATER, "received_at": NOW,
    "limit": 60, "keep": 10, "inline_body": 65_536, "poison_after": 3, "token": 1, "uncount": 0, "status": None,
    "destination": "ledger", "provider": "stripe", "external_id": "evt_7", "suspect_key": b"x", "subject": "x",
    "was": "DEAD", "reason": "x", "last_error": "x", "error_type": "x", "message": "x", "detail": "x", "fingerprint": "x",
    "worker": "x", "started_at": NOW, "failed_at": NOW, "after": UUID(int=0), "id": UUID(int=0), "row_id": UUID(int=0),
    "ids": [], "tokens": [1], "first": UUID(int=0), "last": UUID(int=1), "payload_id": UUID(int=0), "type": "x",
    "occurred_at": None, "part": None,
}  # fmt: skip
#: What a page is not restricted by.
OPEN: dict[str, dict[str, Any]] = {
    "find_rejections": {"before": None, "provider": None, "reason": None, "since": None}
}


class Plan:
    """How the server ran a statement."""

    def __init__(self, lines: list[str], entries: int) -> None:
        #: Of the index of due events that were looked at, whether their rows are still there or not.
        self.entries = entries
        self.text = "\n".join(lines)
        touched = re.search(r"Buffers: shared (.*)", self.text)
        #: Pages of tables and indexes, wherever they were.
        self.pages = sum(map(int, re.findall(r"(?:hit|read)=(\d+)", touched[1]))) if touched else 0
        self.slow = re.findall(
            r"Seq Scan on \w+|Hash Join|Merge Join|Bitmap Heap Scan|Sort Method", self.text
        )
        self.rows = int(re.findall(r"rows=(\d+) loops", self.text)[0])


ENTRIES = "SELECT pg_stat_get_xact_tuples_returned('inbox_events_due_index'::regclass)"


def literal(value: object) -> str:
    if value is None or isinstance(value, int):
        return "NULL" if value is None else str(value)
    if isinstance(value, list):
        return f"'{{{','.join(map(str, value))}}}'"
    return f"'\\x{value.hex()}'" if isinstance(value, bytes) else f"'{value}'"


@contextmanager
def session(url: str, settings: Mapping[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(for_session(settings).encode())
        yield connection


def explained(connection: psycopg.Connection, name: str, **changes: Any) -> Plan:
    """A statement is run and undone."""
    bound = TEXTS[name]
    values: Mapping[str, Any] = {**VALUES, **OPEN.get(name, {}), **row_for(connection, name), **changes}
    connection.execute(f"PREPARE this AS {bound.sql}".encode())
    arguments = ", ".join(literal(values[each]) for each in bound.names)
    try:
        connection.execute("BEGIN")
        [(before,)] = connection.execute(
            ENTRIES
        ).fetchall()  # what earlier transactions have not reported yet
        run = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE this{f' ({arguments})' if arguments else ''}"
        lines = [line for (line,) in connection.execute(run.encode()).fetchall()]
        [(entries,)] = connection.execute(ENTRIES).fetchall()
        return Plan(lines, entries - before)
    finally:
        connection.execute("ROLLBACK")
        connection.execute("DEALLOCATE this")


def row_for(connection: psycopg.Connection, name: str) -> dict[str, Any]:
    kind, _, state = OF_ROW.get(name, "").rpartition(" ")
    if not state:
        return {}
    table = "outbox_messages" if kind else "inbox_events"
    found = connection.execute(f"SELECT id FROM {table} WHERE state = '{state}' LIMIT 1".encode()).fetchone()
    id = found[0] if found else UUID(int=0)
    return {"id": id, "row_id": id, "ids": [id]}


@pytest.mark.parametrize("name", [*OF_ROW, *WRITING])
@pytest.mark.parametrize("place", ["empty", "stale", "few", "many"])
def test_a_plan_made_at_any_time_uses_indexes_only(
    request: pytest.FixtureRequest, place: str, name: str
) -> None:
    """Also where the statistics say that a table is empty: the plan is kept while it fills."""
    with session(request.getfixturevalue(place), SIMPLE_PLANS) as connection:
        plan = explained(connection, name)
    assert not plan.slow, plan.text


@pytest.mark.parametrize("name", ["process_event", "ignore_event"])
@pytest.mark.parametrize("place", ["empty", "stale", "few", "many"])
def test_so_does_one_that_is_made_on_a_connection_for_handlers(
    request: pytest.FixtureRequest, place: str, name: str
) -> None:
    with session(
        request.getfixturevalue(place), {**PLANS, "plan_cache_mode": "force_generic_plan"}
    ) as connection:
        plan = explained(connection, name)
    assert not plan.slow, plan.text
    assert plan.pages <= 60, plan.text


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, SIMPLE_PLANS) for name in (*OF_ROW, *WRITING)),
        *((name, PLANS_FOR_VALUES) for name in (*OF_ROW, *WRITING, *READING)),
    ],
)
def test_many_times_as_many_rows_cost_about_the_same(
    few: str, many: str, name: str, settings: dict[str, str]
) -> None:
    """Planned once, or for the values as behind a pooler: the trees of the indexes are a level higher, and that is all."""
    with session(few, settings) as small, session(many, settings) as large:
        before, after = explained(small, name), explained(large, name)
    assert before.rows == after.rows
    assert after.pages <= 1.5 * before.pages + 100, f"{before.text}\n\n{after.text}"
    assert not re.search(r"Seq Scan on (inbox_events|outbox_messages|inbox_payloads_20260921)\b", after.text)
    if name in OF_ROW:
        assert after.pages <= 60, after.text


@pytest.mark.parametrize("name", ["claim_events", "claim_named_events"])
def test_a_claim_opens_the_partitions_once(few: str, name: str) -> None:
    """Each look-up of a payload opens all of them, and after three months there are a hundred."""
    with session(few, SIMPLE_PLANS) as connection:
        waiting = connection.execute(
            "SELECT id FROM inbox_events WHERE due_at IS NOT NULL LIMIT 60"
        ).fetchall()
        plan = explained(connection, name, ids=[id for (id,) in waiting])
    assert plan.rows == 60
    assert plan.text.count("Append") == 1


@pytest.mark.parametrize("kind", ["events", "messages"])
def test_counting_costs_no_more_than_its_bound(many: str, kind: str) -> None:
    """At the worst each row that is counted is on a page of its own; there are six counts."""
    with session(many, PLANS_FOR_VALUES) as connection:
        some, named = (explained(connection, f"count_{each}{kind}", bound=1_000) for each in ("", "named_"))
    assert some.pages < 200, some.text
    assert named.pages < 6 * 1_100, named.text


SWITCHES = (
    "hashjoin",
    "mergejoin",
    "nestloop",
    "hashagg",
    "sort",
    "material",
    "indexscan",
    "bitmapscan",
    "seqscan",
)


@pytest.mark.parametrize("off", [*SWITCHES, " ".join(SWITCHES)])
@pytest.mark.parametrize("name", ["claim_events", "claim_messages", "rescue_events", "rescue_messages"])
def test_whatever_the_plan_no_more_rows_are_taken_than_were_asked_for(few: str, name: str, off: str) -> None:
    """PGX-07: an UPDATE that runs its subquery for each row takes more than its LIMIT."""
    with session(few, {f"enable_{each}": "off" for each in off.split()}) as connection:
        assert explained(connection, name, limit=7).rows == 7


# what happens over time


class Pages:
    """The pages that each statement touches, for each time it is run, by any connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        with session(url, {}) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            self.since_last()

    def since_last(self) -> dict[str, float]:
        """By the statement's name, of what has run since this was asked last."""
        with session(self._url, {"pg_stat_statements.track": "none"}) as connection:
            rows = connection.execute(
                "SELECT query, (shared_blks_hit + shared_blks_read) / calls FROM pg_stat_statements "
                "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchall()
            connection.execute("SELECT pg_stat_statements_reset()")
        names = {without_values(bound.sql): name for name, bound in TEXTS.items()}
        known = [(names.get(without_values(query)), float(count)) for query, count in rows]
        return {name: count for name, count in known if name is not None}


def without_values(sql: str) -> str:
    """The extension sometimes puts a parameter in the place of a constant; two ways to end an attempt are one then."""
    return re.sub(r"'[^']*'|\$\d+|\b\d+\b|\bNULL\b", "?", sql)


#: For 60 rows each; every other statement is for one row.
ALLOWED = {"claim_events": 2_400, "claim_messages": 1_800, "process_events": 2_400}


async def work(url: str, meanwhile: Callable[[str], None]) -> None:
    """A process stores, claims and completes, and touches few pages for each; after its first round something happens."""
    database = await open_postgres(url)
    storage, pages = database.storage, Pages(url)
    for at in map(Millis, range(NOW + LEASE, NOW + LEASE + 4)):
        await storage.accept([arrival(f"{at}-{n}", b"%d %d" % (at, n), now=at) for n in range(60)])
        claims = await storage.claim(60, at, Millis(at + LEASE))
        await storage.extend(claims, Millis(at + LEASE))
        await storage.settle([settlement(claim, now=at, messages=(message(now=at),)) for claim in claims])
        sent = await storage.claim_messages("ledger", 60, at, Millis(at + LEASE))
        ends = [MessageSettlement(each.id, each.token, MessageState.SENT, at) for each in sent]
        assert await storage.settle_messages(ends) == [True] * 60
        touched = pages.since_last()
        if at == NOW + LEASE:
            await asyncio.to_thread(meanwhile, url)
            continue
        assert {"claim_events", "claim_messages", "extend_event", "insert_event"} <= touched.keys()
        assert len(touched) == 8
        assert not {name: count for name, count in touched.items() if count > ALLOWED.get(name, 60)}
    await database.close()


def flood(url: str) -> None:
    """Thirty thousand events come, and nobody gathers statistics."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL.format(now=NOW + 2 * LEASE, count=30_000).encode())


def burn(url: str) -> None:
    """Twenty thousand events and messages come and go."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL.format(now=NOW - 20 * LEASE, count=60_000).encode())
        for table, end in (("inbox_events", "PROCESSED"), ("outbox_messages", "SENT")):
            connection.execute(
                f"UPDATE {table} SET state = '{end}', due_at = NULL, lease_until = NULL, finished_at = updated_at "
                "WHERE due_at IS NOT NULL OR lease_until IS NOT NULL".encode()
            )
        connection.execute("VACUUM ANALYZE inbox_events, outbox_messages")


def test_plans_made_while_everything_was_empty_are_good_when_it_is_full(
    server: PostgresServer, empty: str
) -> None:
    """The process that was there first keeps its plans through the flood that follows."""
    asyncio.run(work(filled(server, empty, 0, analyzed=True), flood))


def test_a_long_open_transaction_does_not_make_claims_slower(server: PostgresServer, empty: str) -> None:
    """PGX-06: nothing that was claimed since it began can be removed from the index of what is due."""
    url = filled(server, empty, 0, analyzed=True)
    with psycopg.connect(url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        asyncio.run(work(url, burn))
        with session(url, SIMPLE_PLANS) as connection:
            everything = explained(connection, "claim_events", now=NOW + LEASE, since=0)
            margin = explained(connection, "claim_events", now=NOW + LEASE, since=NOW + LEASE - MARGIN)
    assert everything.entries > 15_000, "the transaction has not kept what it should"
    assert margin.entries < 1_000
