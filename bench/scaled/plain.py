"""The floor of processing on PostgreSQL: a loop over psycopg that leaves the same rows behind, one statement after another.

It claims nothing, renews no lease, times nothing out, isolates no failure and can be run by one process only. Run as
``python -m bench.scaled.plain DATABASE --batch N --limit M [--with-tx]`` over a database of received events.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from bench.application import TABLE
from bench.processes import cpu_seconds
from surehook.clock import SystemClock, isoformat
from surehook.ids import EVENT_PREFIX, typeid, uuid7

READ = """
SELECT inbox_events.id, body FROM inbox_events JOIN inbox_payloads ON inbox_payloads.id = payload_id
WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0 ORDER BY due_at, inbox_events.id LIMIT %s
"""
INSERT = "INSERT INTO bench_payments (event, invoice, cents) VALUES (%(event)s, %(invoice)s, %(cents)s)"
COMPLETE = """
UPDATE inbox_events SET state = 'PROCESSED', attempts = 1, due_at = NULL, finished_at = %(at)s, updated_at = %(at)s
WHERE id = %(id)s AND state = 'RECEIVED'
"""
PUBLISH = """
INSERT INTO outbox_messages (id, event_id, destination, type, body, state, due_at, created_at, updated_at)
VALUES (%(id)s, %(event)s, 'sink', %(type)s, %(body)s, 'PENDING', %(at)s, %(at)s, %(at)s)
"""


class Loop:
    """Does the work of ``bench/application.py`` by hand."""

    def __init__(self, connection: psycopg.Connection[Any], *, with_tx: bool) -> None:
        self._connection = connection
        self._with_tx = with_tx
        self._clock = SystemClock()

    def process(self, batch: int) -> int:
        """Up to ``batch`` events in one transaction; returns how many there were."""
        with self._connection.transaction():
            events = self._connection.execute(READ, (batch,)).fetchall()
            for id, body in events:
                self._one(id, body)
        return len(events)

    def _one(self, id: UUID, body: bytes) -> None:
        now, text = self._clock.now(), typeid(EVENT_PREFIX, id.bytes)
        invoice = msgspec.json.decode(body)["data"]["object"]
        data = {"event": text, "invoice": invoice["id"]}
        if self._with_tx:
            data |= {"cents": invoice["amount_paid"]}
            self._connection.execute(INSERT, data)
        kind = "payment.recorded" if self._with_tx else "payment.seen"
        message = msgspec.json.encode({"type": kind, "timestamp": isoformat(now), "data": data})
        row = {"id": UUID(bytes=uuid7(now)), "event": id, "type": kind, "body": message, "at": now}
        self._connection.execute(PUBLISH, row)
        self._connection.execute(COMPLETE, {"id": id, "at": now})


def measure(url: str, batch: int, limit: int, *, with_tx: bool) -> dict[str, float]:
    """Process ``limit`` of the events that were received, ``batch`` a transaction."""
    cpu, began = cpu_seconds(os.getpid()), time.perf_counter()
    with psycopg.connect(url, autocommit=True, application_name="bench plain") as connection:
        connection.execute(TABLE)
        loop, count = Loop(connection, with_tx=with_tx), 0
        while count < limit and (done := loop.process(min(batch, limit - count))):
            count += done
        seconds = time.perf_counter() - began
    return {"rate": count / seconds, "cpu_us": (cpu_seconds(os.getpid()) - cpu) / count * 1e6}


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", help="its URL")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--with-tx", action="store_true")
    arguments = parser.parse_args()
    measured = measure(arguments.database, arguments.batch, arguments.limit, with_tx=arguments.with_tx)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
