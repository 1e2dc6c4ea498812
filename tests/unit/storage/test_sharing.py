"""Which statements may share a transaction with other events', and which kinds of events are kept apart."""

from __future__ import annotations

import pytest

from surehook.ids import EventId, uuid7
from surehook.storage.postgres.habits import APART, LONGEST_APART, REMEMBERED, Habits
from surehook.storage.postgres.sharing import may_share
from tests.builders import NOW


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO payments (invoice) VALUES (:invoice)",
        'insert into "Payments" ("Invoice") values (:invoice) ON CONFLICT (invoice) DO NOTHING',
        "INSERT INTO shop.payments(invoice, cents) VALUES (lower(:invoice), coalesce(:cents, 0)) RETURNING *",
        "/* why */ UPDATE payments SET (a, b) = (1, 2), at = now() WHERE id = ANY (:ids) -- set_config('a', 'b')",
        "DELETE FROM payments WHERE note = 'SET LOCAL x; select set_config()'",
        "SELECT count(*), max(at)::timestamptz(3) FROM payments WHERE a IN (1, 2) FOR UPDATE SKIP LOCKED",
        "WITH one AS (SELECT 1), two AS MATERIALIZED (SELECT 2) SELECT * FROM one, two",
        "MERGE INTO payments USING new ON payments.id = new.id WHEN MATCHED THEN DO NOTHING",
        "(SELECT 1) UNION (SELECT 2)",
        "VALUES (1), (2)",
        "SELECT data->>'id', row_number() OVER (PARTITION BY kind ORDER BY at) FROM events",
        "INSERT INTO t (a) SELECT x FROM unnest(:xs::text[]) AS new (x)",
    ],
)
def test_statements_on_rows_share(sql: str) -> None:
    assert may_share(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SET LOCAL app.tenant = 'a'",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "LOCK TABLE payments",
        "DECLARE rows CURSOR FOR SELECT 1",
        "CREATE TEMPORARY TABLE t (n integer) ON COMMIT DROP",
        "NOTIFY news",
        "CALL pay()",
        "DO $$ BEGIN PERFORM set_config('a', 'b', true); END $$",
        "EXPLAIN ANALYZE SELECT 1",
        "COPY payments FROM '/dev/null'",
        "TABLE payments",
        "SHOW lock_timeout",
        "",
        "SELECT set_config('app.tenant', :tenant, true)",
        "select PG_CATALOG . Set_Config ('a', 'b', true)",
        "SELECT /* lower( */ set_tenant (:tenant)",
        'SELECT "set_tenant"(:tenant)',
        'SELECT U&"set\\005ftenant"(:tenant)',
        "SELECT shop.lower(:name)",
        "SELECT pg_advisory_xact_lock(7)",
        "SELECT pg_notify('news', 'x')",
        "SELECT lo_create(0)",
        "SELECT pg_export_snapshot()",
        "SELECT pg_current_xact_id(), txid_current()",
        "SELECT current_setting('app.tenant')",
        "INSERT INTO payments (id) VALUES (next_id(:kind))",
        "UPDATE payments SET id = set_tenant(:tenant)",
        "SELECT * INTO TEMPORARY t FROM payments",
        "WITH x AS (SELECT 1) SELECT * INTO t FROM x",
        "SELECT query_to_xml('SELECT set_config(''a'', ''b'', true)', true, false, '')",
        "DELETE FROM payments WHERE set_tenant\n(:tenant) IS NULL",
    ],
)
def test_what_could_reach_the_next_event_does_not(sql: str) -> None:
    assert not may_share(sql)


class Clock:
    """A steady clock, in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def event() -> EventId:
    return EventId(uuid7(NOW))


def test_a_kind_that_does_harm_is_alone_for_a_while_and_longer_each_time() -> None:
    clock, id = Clock(), event()
    habits = Habits(clock)
    length = APART
    while length < LONGEST_APART:
        assert not habits.is_alone("stripe invoice.paid", id)
        habits.saw_harm("stripe invoice.paid")
        assert not habits.is_alone("stripe charge.failed", id)
        clock.now += length - 1
        assert habits.is_alone("stripe invoice.paid", id)
        clock.now += 1
        length *= 2
    habits.saw_harm("stripe invoice.paid")
    clock.now += LONGEST_APART
    assert not habits.is_alone("stripe invoice.paid", id)


def test_what_was_harmless_for_long_begins_anew() -> None:
    clock, id = Clock(), event()
    habits = Habits(clock)
    habits.saw_harm("a")
    clock.now += 3 * APART
    habits.saw_harm("a")
    clock.now += APART
    assert not habits.is_alone("a", id)


def test_an_event_whose_turn_was_lost_is_alone_once() -> None:
    habits, id = Habits(Clock()), event()
    habits.saw_loss(id)
    assert not habits.is_alone("a", event())
    assert habits.is_alone("a", id)
    assert not habits.is_alone("a", id)


def test_what_comes_from_outside_does_not_fill_the_memory() -> None:
    habits, first = Habits(Clock()), event()
    habits.saw_harm("first")
    habits.saw_loss(first)
    for number in range(REMEMBERED):
        habits.saw_harm(f"kind {number}")
        habits.saw_loss(event())
    assert not habits.is_alone("first", first)
    assert habits.is_alone(f"kind {REMEMBERED - 1}", first)
