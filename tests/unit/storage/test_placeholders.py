"""Parameters in handlers' statements on PostgreSQL, and what such a statement may not do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surehook.errors import TransactionError
from surehook.storage.placeholders import bind, pieces
from surehook.storage.postgres.guard import refuse, why_refused


@pytest.mark.parametrize(
    ("sql", "bound", "names"),
    [
        ("SELECT :a, :b, :a", "SELECT $1, $2, $1", ("a", "b")),
        ("SELECT :a::text", "SELECT $1::text", ("a",)),
        ("SELECT x::int FROM t WHERE y=:y", "SELECT x::int FROM t WHERE y=$1", ("y",)),
        ('SELECT \':a\', ":b", \'it\'\'s :c\', "say "":d"""', None, ()),
        (r"SELECT E'\':a', :b", r"SELECT E'\':a', $1", ("b",)),
        (r"SELECT '\', :b", r"SELECT '\', $1", ("b",)),
        ("SELECT $$ :a $$, $tag$ :b $$ $tag$, $é$ :c $é$", None, ()),
        (
            "SELECT a$b$ FROM t WHERE c = :c AND d$b$ = 1",
            "SELECT a$b$ FROM t WHERE c = $1 AND d$b$ = 1",
            ("c",),
        ),
        ("SELECT 1 -- :a\n, :b", "SELECT 1 -- :a\n, $1", ("b",)),
        ("SELECT /* :a /* :b */ :c */ :d", "SELECT /* :a /* :b */ :c */ $1", ("d",)),
        ("SELECT a[1:2], a[:low]", "SELECT a[1:2], a[$1]", ("low",)),
        ("SELECT f(x := :x)", "SELECT f(x := $1)", ("x",)),
        ("SELECT data ? 'key' AND data ?| :keys", "SELECT data ? 'key' AND data ?| $1", ("keys",)),
        ("SELECT '100%', 5 % :n", "SELECT '100%', 5 % $1", ("n",)),
        ("SELECT 'never closed :a", None, ("a",)),
    ],
)
def test_names_become_numbers_outside_of_quotes(sql: str, bound: str | None, names: tuple[str, ...]) -> None:
    found = bind(sql, False)
    assert found.names == names
    if bound is not None:
        assert found.sql == bound
    elif not names:
        assert found.sql == sql


@pytest.mark.parametrize(
    ("sql", "bound", "positions"),
    [
        ("SELECT ?, ?", "SELECT $1, $2", 2),
        ("SELECT '?', \"?\", ? -- ?", "SELECT '?', \"?\", $1 -- ?", 1),
        ("SELECT ?::text", "SELECT $1::text", 1),
    ],
)
def test_question_marks_become_numbers_outside_of_quotes(sql: str, bound: str, positions: int) -> None:
    found = bind(sql, True)
    assert (found.sql, found.positions) == (bound, positions)


@pytest.mark.parametrize(
    ("sql", "parameters", "why"),
    [
        ("SELECT :a, :b", {"a": 1}, "not given: b"),
        ("SELECT :a", [1], "named parameters: give a mapping"),
        ("SELECT ?", [1, 2], "has 1 parameters"),
        ("SELECT ?, ?", [1], "has 2 parameters"),
        ("SELECT $1", [1], "has 0 parameters: write a '\\?' for each"),
        ("SELECT :a", (), "named parameters"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(sql: str, parameters: Any, why: str) -> None:
    with pytest.raises(TransactionError, match=why):
        bind(sql, bool(parameters) and not isinstance(parameters, dict)).values(parameters)


def test_a_mapping_may_hold_more_than_is_needed() -> None:
    assert bind("SELECT :a", False).values({"a": 1, "b": 2}) == [1]


@given(st.text(alphabet="ab:?'\"$E\\-/*\n ;", max_size=40))
def test_cutting_a_statement_loses_nothing(sql: str) -> None:
    assert "".join(piece for _, piece in pieces(sql)) == sql


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "  commit;",
        ";COMMIT",
        "; ; ROLLBACK",
        "/* a /* b */ c */ COMMIT",
        "-- why\nEND",
        "BEGIN",
        "START TRANSACTION",
        "ABORT",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO a",
        "PREPARE TRANSACTION 'a'",
    ],
)
def test_a_statement_that_ends_the_transaction_is_refused(sql: str) -> None:
    with pytest.raises(TransactionError, match="begins, ends or divides"):
        refuse(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SET search_path TO other",
        "set role nobody",
        "SET SESSION statement_timeout = 1",
        "RESET ALL",
        "DISCARD ALL",
        "LISTEN news",
        "PREPARE a AS SELECT 1",
        "DEALLOCATE ALL",
    ],
)
def test_a_statement_that_outlasts_the_transaction_is_refused(sql: str) -> None:
    with pytest.raises(TransactionError, match="SET LOCAL"):
        refuse(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO inbox_events (id) VALUES (1)",
        "insert into public.inbox_events values (1)",
        'UPDATE "outbox_messages" SET state = 1',
        'UPDATE "public"."outbox_messages" SET state = 1',
        "UPDATE ONLY inbox_events SET state = 1",
        "DELETE/* */FROM/**/audit_log",
        "WITH gone AS (DELETE FROM failures RETURNING *) SELECT * FROM gone",
        "TRUNCATE mine, rejections",
        "TRUNCATE TABLE inbox_payloads_20260920",
        "INSERT INTO inbox_payloads_default VALUES (1)",
        "DROP TABLE IF EXISTS mine, inbox_payloads",
        "ALTER TABLE inbox_events ADD COLUMN mine text",
        "CREATE UNIQUE INDEX IF NOT EXISTS mine ON inbox_events (id)",
        "CREATE TRIGGER mine AFTER INSERT ON outbox_messages FOR EACH ROW EXECUTE FUNCTION f()",
        "LOCK TABLE schema_migrations",
        "MERGE INTO inbox_events USING a ON true WHEN MATCHED THEN DELETE",
        "COPY inbox_events FROM STDIN",
    ],
)
def test_a_statement_that_writes_own_tables_is_refused(sql: str) -> None:
    with pytest.raises(TransactionError, match="own tables"):
        refuse(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM inbox_events",
        "SELECT state FROM inbox_events FOR UPDATE",
        "INSERT INTO mine SELECT id FROM inbox_events",
        "INSERT INTO notes VALUES ('please UPDATE inbox_events; COMMIT')",
        "INSERT INTO notes VALUES ($$DELETE FROM audit_log$$)",
        "UPDATE mine SET note = 'x' -- UPDATE inbox_events",
        "INSERT INTO failures_by_day VALUES (1)",
        "UPDATE my_failures SET a = 1",
        "UPDATE billing.failures SET a = 1",
        "UPDATE failures.items SET a = 1",
        "INSERT INTO mine (rejections) VALUES (1)",
        "CREATE TABLE mine (event uuid REFERENCES inbox_events)",
        "SET LOCAL statement_timeout = 1",
        "SET CONSTRAINTS ALL DEFERRED",
        "UPDATE mine SET begin = 1",
        "SELECT 1 AS commit",
        "CREATE INDEX mine ON payments (failures)",
    ],
)
def test_what_is_harmless_is_not_refused(sql: str) -> None:
    assert why_refused(sql) is None
