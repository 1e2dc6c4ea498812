"""Schemas: however a database came to the newest one it is the same, and the code of the one before goes on working."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import psycopg
import pytest

from surehook.clock import ManualClock
from surehook.storage.dialect import POSTGRESQL, SQLITE, Dialect, split_statements
from surehook.storage.migrate import LEDGER, load_migrations, split_script
from surehook.storage.postgres import open_postgres
from surehook.storage.sqlite import open_sqlite
from tests.builders import NOW
from tests.services import PostgresServer

OLD = Path(__file__).parents[2] / "data" / "schema-1"

Execute = Callable[[str], list[tuple[Any, ...]]]


def in_file(path: Path) -> Execute:
    def execute(sql: str) -> list[tuple[Any, ...]]:
        with closing(apsw.Connection(str(path))) as connection:
            return connection.execute(sql).fetchall()

    return execute


def in_server(url: str) -> Execute:
    def execute(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    return execute


def bring_to_schema_1(execute: Execute, dialect: Dialect) -> None:
    """As the version did that knew only this one."""
    [first, *_] = load_migrations(dialect.name)
    for statement in [LEDGER, *split_script(dialect.render(first.sql))]:
        execute(statement)
    execute(f"INSERT INTO schema_migrations VALUES (1, '{first.name}', '{first.checksum}', 1)")


@pytest.fixture
def empty_url(postgres: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database without a table."""
    with postgres.database() as url:
        yield url


# one schema


CATALOG = """
SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), '' FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
UNION ALL
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), true, NULL, '' FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT tablename, indexname, indexdef, true, NULL, '' FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT relname, 'options', array_to_string(reloptions, ' '), relispartition, pg_get_expr(relpartbound, oid), relkind::text
FROM pg_class WHERE relnamespace = 'public'::regnamespace
ORDER BY 1, 2, 3
"""


async def test_a_fresh_postgresql_is_the_same_as_one_that_was_migrated_step_by_step(
    postgres: PostgresServer, clock: ManualClock
) -> None:
    catalogs = []
    for stepwise in (False, True):
        with postgres.database() as url:
            if stepwise:
                bring_to_schema_1(in_server(url), POSTGRESQL)
            database = await open_postgres(url)
            applied = await database.migrate(clock)
            await database.close()
            assert [each.version for each in applied] == ([2, 3, 4] if stepwise else [1, 2, 3, 4])
            catalogs.append(in_server(url)(CATALOG))
    assert len(catalogs[0]) > 100
    assert catalogs[0] == catalogs[1]


async def test_a_fresh_file_is_the_same_as_one_that_was_migrated_step_by_step(
    tmp_path: Path, clock: ManualClock
) -> None:
    catalogs = []
    for stepwise in (False, True):
        path = tmp_path / f"{stepwise}.db"
        if stepwise:
            bring_to_schema_1(in_file(path), SQLITE)
        database = await open_sqlite(f"sqlite:///{path}")
        await database.migrate(clock)
        await database.close()
        catalogs.append(in_file(path)("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2"))
    assert len(catalogs[0]) > 20
    assert catalogs[0] == catalogs[1]


class Table:
    """What both databases can say of a table: its columns, its checks, its indexes."""

    def __init__(self) -> None:
        self.columns: dict[str, tuple[str, bool]] = {}
        self.indexes: dict[str, str] = {}
        self.checks = 0


async def test_both_databases_have_the_same_tables(
    tmp_path: Path, server_url: str, clock: ManualClock
) -> None:
    """But for the partitions of the payloads."""
    database = await open_sqlite(f"sqlite:///{tmp_path}/a.db")
    await database.migrate(clock)
    await database.close()
    file = tables_of_file(in_file(tmp_path / "a.db"))
    server = tables_of_server(in_server(server_url))
    assert file.keys() == server.keys()
    assert len(file) == 7
    for name, table in file.items():
        assert table.columns == server[name].columns, name
        assert table.indexes == server[name].indexes, name
        assert table.checks == server[name].checks, name


def tables_of_file(execute: Execute) -> dict[str, Table]:
    found: dict[str, Table] = {}
    kinds = {"blob": "blob", "text": "text", "bigint": "bigint", "integer": "integer", "smallint": "smallint"}
    for name, sql in execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ):
        table = found[name] = Table()
        for _, column, kind, required, _, key in execute(f"PRAGMA table_info({name})"):
            table.columns[column] = (kinds[kind.lower()], bool(required))
            table.checks += bool(key)  # PostgreSQL counts the primary key among the constraints
        table.checks += len(re.findall(r"\bCHECK\b|\bUNIQUE\b", sql))
    for name, sql in execute(
        "SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ):
        found[name].indexes |= dict([index_of(sql)])
    return found


def tables_of_server(execute: Execute) -> dict[str, Table]:
    found: dict[str, Table] = {}
    kinds = {"uuid": "blob", "bytea": "blob"}
    tables = "relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    for name, column, kind, required in execute(
        "SELECT relname, attname, format_type(atttypid, NULL), attnotnull FROM pg_class JOIN pg_attribute "
        f"ON attrelid = pg_class.oid AND attnum > 0 WHERE {tables}"
    ):
        found.setdefault(name, Table()).columns[column] = (str(kinds.get(kind, kind)), bool(required))
    for name, count in execute(
        f"SELECT relname, count(*) FROM pg_constraint JOIN pg_class ON conrelid = pg_class.oid WHERE {tables} GROUP BY 1"
    ):
        found[name].checks = count
    for name, sql in execute(
        "SELECT tablename, indexdef FROM pg_indexes LEFT JOIN pg_constraint ON conname = indexname "
        f"WHERE conname IS NULL AND tablename IN (SELECT relname FROM pg_class WHERE {tables})"
    ):
        found[name].indexes |= dict([index_of(sql)])
    return found


def index_of(sql: str) -> tuple[str, str]:
    """Its name, and its columns and condition as both databases write them."""
    text = re.sub(r"\s+", " ", sql)
    match = re.search(r"INDEX (\w+) ON (?:public\.)?\w+ (?:USING btree )?\(([^)]*)\)(?: WHERE (.*))?$", text)
    assert match, sql
    states = ",".join(sorted(re.findall(r"'(\w+)'", match[3] or "")))
    return match[1], f"{match[2]} {states} {'NOT NULL' if 'IS NOT NULL' in text else ''}"


# the code of the schema before


LIFE = (
    "insert_event", "insert_payload", "count_duplicate", "find_suspect", "claim_events", "extend_event", "retry_event",
    "claim_event", "bury_event", "insert_event_failure", "replay_event", "claim_events", "insert_message",
    "process_event", "claim_messages", "extend_message", "retry_message", "claim_messages", "send_message",
    "get_event", "find_events", "get_message", "find_messages", "find_failures", "count_events", "count_messages",
    "find_due", "find_ignored",
)  # fmt: skip


def old_statements(dialect: Dialect) -> dict[str, str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(OLD.glob("*.sql"))]
    return {name: dialect.render(sql) for text in texts for name, sql in split_statements(text).items()}


def some_values() -> dict[str, Any]:
    """One value for every parameter that the old statements have, for one event with one message."""
    same = dict.fromkeys(
        ("provider", "topic", "external_id", "type", "headers", "content_type", "secret"), "x"
    )
    failed = dict.fromkeys(
        ("error_type", "message", "detail", "fingerprint", "worker", "last_error", "reason"), "x"
    )
    times = dict.fromkeys(("now", "at", "received_at", "due_at", "started_at", "failed_at", "before"), NOW)
    ids = dict.fromkeys(("id", "payload_id", "row_id", "event_id"), b"\1" * 16)
    nothing = dict.fromkeys(
        ("subject", "order_key", "occurred_at", "traceparent", "finished_at", "status", "type_prefix"), None
    )
    numbers = {"weak": 0, "item": 0, "limit": 9, "since": 0, "uncount": 0, "inline_body": 9}
    return {
        **same, **failed, **times, **ids, **nothing, **numbers,
        "body": b"x", "sha256": b"x", "body_sha256": b"x", "suspect_key": b"x", "after": b"\0" * 16,
        "state": "RECEIVED", "was": "DEAD", "destination": "x", "lease_until": NOW + 1,
    }  # fmt: skip


async def test_the_code_of_schema_1_works_on_the_newest_schema(tmp_path: Path, clock: ManualClock) -> None:
    """It knew SQLite only. The life of an event in its own SQL: every statement finds the row that it is for."""
    path = tmp_path / "a.db"
    bring_to_schema_1(in_file(path), SQLITE)
    database = await open_sqlite(f"sqlite:///{path}")
    await database.migrate(clock)
    await database.close()
    statements, values = old_statements(SQLITE), some_values()
    with closing(apsw.Connection(str(path))) as connection:
        for name in statements:
            connection.execute(
                "EXPLAIN " + statements[name], dict.fromkeys(re.findall(r":(\w+)", statements[name]))
            )
        tokens = {"inbox_events": 0, "outbox_messages": 0}
        for name in LIFE:
            table = "outbox_messages" if "message" in name else "inbox_events"
            tokens[table] += name.startswith("claim")
            given = {
                **values,
                "token": tokens[table],
                **({"before": None, "state": None} if "find_" in name else {}),
            }
            rows = connection.execute(statements[name], given).fetchall()
            changed = (
                connection.changes()
                if statements[name].startswith(("INSERT", "UPDATE", "WITH"))
                else len(rows)
            )
            assert changed == (0 if name in {"find_suspect", "find_due", "find_ignored"} else 1), name
