"""The floor of processing: a loop over apsw that leaves the same rows behind, and nothing else of Surehook's work.

It claims nothing, renews no lease, times nothing out, isolates no failure and can be run by one process only. Run as
``python -m bench.plain FILE --batch N --limit M [--with-tx]`` over a database of received events.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import apsw
import msgspec

from bench.application import INSERT, TABLE
from bench.processes import cpu_seconds
from surehook.clock import SystemClock, isoformat
from surehook.ids import EVENT_PREFIX, typeid, uuid7

# States and due_at are named as in the partial index, which SQLite uses only so; without it each read would scan the table.
READ = """
SELECT inbox_events.id, body FROM inbox_events JOIN inbox_payloads ON inbox_payloads.id = payload_id
WHERE state IN ('RECEIVED', 'RETRYING') AND due_at > 0 ORDER BY due_at, inbox_events.id LIMIT :batch
"""
COMPLETE = """
UPDATE inbox_events SET state = 'PROCESSED', attempts = 1, due_at = NULL, finished_at = :at, updated_at = :at
WHERE id = :id AND state = 'RECEIVED'
"""
PUBLISH = """
INSERT INTO outbox_messages (id, event_id, destination, type, body, state, due_at, created_at, updated_at)
VALUES (:id, :event, 'sink', :type, :body, 'PENDING', :at, :at, :at)
"""


class Loop:
    """Does the work of ``application.py`` by hand."""

    def __init__(self, connection: apsw.Connection, *, with_tx: bool) -> None:
        self._connection = connection
        self._with_tx = with_tx
        self._clock = SystemClock()

    def process(self, batch: int) -> int:
        """Up to ``batch`` events in one transaction; returns how many there were."""
        self._connection.execute("BEGIN IMMEDIATE")
        events = self._connection.execute(READ, {"batch": batch}).fetchall()
        for id, body in events:
            self._one(id, body)
        self._connection.execute("COMMIT")
        return len(events)

    def _one(self, id: Any, body: Any) -> None:
        now, text = self._clock.now(), typeid(EVENT_PREFIX, id)
        invoice = msgspec.json.decode(body)["data"]["object"]
        data = {"event": text, "invoice": invoice["id"]}
        if self._with_tx:
            data |= {"cents": invoice["amount_paid"]}
            self._connection.execute(INSERT, data)
        kind = "payment.recorded" if self._with_tx else "payment.seen"
        message = msgspec.json.encode({"type": kind, "timestamp": isoformat(now), "data": data})
        row = {"id": uuid7(now), "event": id, "type": kind, "body": message, "at": now}
        self._connection.execute(PUBLISH, row)
        self._connection.execute(COMPLETE, {"id": id, "at": now})


def measure(path: Path, batch: int, limit: int, *, with_tx: bool) -> dict[str, float]:
    """Process ``limit`` of the events that were received, ``batch`` a transaction."""
    cpu, began = cpu_seconds(os.getpid()), time.perf_counter()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    loop, count = Loop(connection, with_tx=with_tx), 0
    while count < limit and (done := loop.process(min(batch, limit - count))):
        count += done
    seconds = time.perf_counter() - began
    return {"rate": count / seconds, "cpu_us": (cpu_seconds(os.getpid()) - cpu) / count * 1e6}


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--with-tx", action="store_true")
    arguments = parser.parse_args()
    measured = measure(arguments.file, arguments.batch, arguments.limit, with_tx=arguments.with_tx)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
