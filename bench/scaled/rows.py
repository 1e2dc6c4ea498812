"""A backlog and a history, made by statements over whole sets, in minutes for millions of rows.

What waits looks as Stripe's invoices do when nobody works for a while: one event after the other, with its request of about
1 KB, and one message each from the events before. What is finished is spread over the days before; its requests and messages
are short, for nothing that is measured reads them. External ids are random, as senders' are, so that their index is touched
all over.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final

import apsw
import msgspec
import psycopg
from examples.demo.samples import stripe_body

from surehook.config import database_path, is_postgres

#: Rows of one statement and one commit.
BATCH: Final = 250_000
#: Milliseconds from one waiting event to the next: 500 a second have come in.
STEP: Final = 2
#: The days over which finished events are spread, in milliseconds; their end, so long before the first that waits.
HISTORY: Final = 6 * 86_400_000
GAP: Final = 2 * 3_600_000
OLD: Final = 60_000


class Words(msgspec.Struct, frozen=True):
    """What one database calls things. ``{kind}`` is three hexadecimal digits, so that ids of different kinds differ."""

    #: A UUIDv7 of the moment ``at`` and the number ``n``.
    id: str
    random: str
    numbers: str
    body: str


POSTGRESQL: Final = Words(
    id="CAST(lpad(to_hex(at), 12, '0') || '7{kind}8' || lpad(to_hex(n), 15, '0') AS uuid)",
    random="replace(CAST(gen_random_uuid() AS text), '-', '')",
    numbers="SELECT n FROM generate_series(CAST({first} AS bigint), {last}) AS numbers (n)",
    body="CAST('\\x{hex}' AS bytea)",
)
SQLITE: Final = Words(
    id="unhex(printf('%012x7{kind}8%015x', at, n))",
    random="lower(hex(randomblob(16)))",
    numbers="WITH RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) "
    "SELECT n FROM numbers",
    body="x'{hex}'",
)

_EVENTS: Final = """
INSERT INTO inbox_events (id, provider, topic, external_id, type, payload_id, body_sha256, received_at, state, reason,
    attempts, due_at, lease_token, updated_at, finished_at)
SELECT {event}, {provider}, '', 'evt_' || {random}, 'invoice.paid', {payload}, {hash}, at, {state}, {reason}, {attempts},
    {due_at}, {attempts}, at, {finished_at}
FROM (SELECT n, {start} + n * {step} AS at FROM ({numbers}) AS numbered) AS moments
"""
_PAYLOADS: Final = """
INSERT INTO inbox_payloads (id, provider, topic, body, headers, content_type, sha256, received_at, secret)
SELECT {payload}, {provider}, '', {body}, '[["content-type","application/json"]]', 'application/json', {hash}, at,
    'env:SECRET'
FROM (SELECT n, {start} + n * {step} AS at FROM ({numbers}) AS numbered) AS moments
"""
_MESSAGES: Final = """
INSERT INTO outbox_messages (id, event_id, destination, type, body, state, attempts, due_at, lease_token, created_at,
    updated_at, finished_at)
SELECT {message}, {event}, 'sink', 'payment.recorded', {body}, {state}, {attempts}, {due_at}, {attempts}, at,
    at, {finished_at}
FROM (SELECT n, {start} + n * {step} AS at FROM ({numbers}) AS numbered) AS moments
"""

#: A few in each hundred did not go well.
_FINISHED_STATE: Final = """
CASE WHEN n - n / 100 * 100 = 0 THEN 'IGNORED' WHEN n - n / 1000 * 1000 = 1 THEN 'DEAD' ELSE 'PROCESSED' END
"""
_FINISHED_REASON: Final = "CASE WHEN n - n / 1000 * 1000 = 1 THEN 'EXHAUSTED' END"


class Rows:
    """Makes rows in one migrated database, which nobody uses meanwhile."""

    def __init__(self, url: str, now: int, most: int, providers: int = 1) -> None:
        """``now``: the time, in milliseconds; ``most``: how many events wait at the most, all through the measurement;
        ``providers``: by how many they were sent, in turn.
        """
        self._provider = f"'stripe_' || (n - n / {providers} * {providers})" if providers > 1 else "'stripe'"
        self.url = url
        self._words = POSTGRESQL if is_postgres(url) else SQLITE
        #: When the first waiting event came; the last one is old enough for the sweep to care.
        self._start = now - most * STEP - OLD
        self.finished = 0
        self.waiting = 0

    def finish(self, count: int) -> None:
        """A history of so many events, each with its message."""
        if not count:
            return
        step = max(1, HISTORY // count)
        start = self._start - GAP - count * step
        event = {
            "state": _FINISHED_STATE,
            "reason": _FINISHED_REASON,
            "attempts": "1",
            "due_at": "CAST(NULL AS bigint)",
            "finished_at": "at + 50",
        }
        message = {**event, "state": "'SENT'"}
        self._make(0, count, {"start": start, "step": step}, (event, message, b"{}", b"{}"))
        self.finished = count

    def wait(self, count: int) -> None:
        """So many more events that are due, and as many messages."""
        event = {
            "state": "'RECEIVED'",
            "reason": "CAST(NULL AS text)",
            "attempts": "0",
            "due_at": "at",
            "finished_at": "CAST(NULL AS bigint)",
        }
        message = {**event, "state": "'PENDING'"}
        texts = (event, message, stripe_body("invoice.paid", 0, {}), b"m" * 250)
        self._make(self.waiting, count, {"start": self._start, "step": STEP}, texts)
        self.waiting += count

    def _make(
        self,
        first: int,
        count: int,
        moments: Mapping[str, int],
        texts: tuple[Mapping[str, str], Mapping[str, str], bytes, bytes],
    ) -> None:
        event, message, request, body = texts
        with _writing(self.url) as write:
            for start in range(first, first + count, BATCH):
                last = min(start + BATCH, first + count) - 1
                common = {**self._common(start, last), **moments}
                write(_EVENTS.format(**common, **event))
                write(_PAYLOADS.format(**common, body=self._words.body.format(hex=request.hex())))
                write(_MESSAGES.format(**common, **message, body=self._words.body.format(hex=body.hex())))

    def _common(self, first: int, last: int) -> dict[str, str]:
        words = self._words
        return {
            "event": words.id.format(kind="000"),
            "payload": words.id.format(kind="001"),
            "message": words.id.format(kind="002"),
            "random": words.random,
            "numbers": words.numbers.format(first=first, last=last),
            "provider": self._provider,
            "hash": words.body.format(hex=secrets.token_hex(32)),
        }


@contextmanager
def _writing(url: str) -> Iterator[Callable[[str], None]]:
    """Runs statements, each with a commit that need not be durable: a crash now would only end the benchmark."""
    if is_postgres(url):
        with psycopg.connect(url, autocommit=True, application_name="bench rows") as connection:
            connection.execute("SET synchronous_commit = off")
            yield lambda sql: _run_on_server(connection, sql)
        return
    with closing(apsw.Connection(str(database_path(url)))) as file:
        file.execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000").fetchall()
        yield lambda sql: _run_on_file(file, sql)
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _run_on_server(connection: psycopg.Connection[Any], sql: str) -> None:
    connection.execute(sql.encode())


def _run_on_file(file: apsw.Connection, sql: str) -> None:
    file.execute(sql).fetchall()
