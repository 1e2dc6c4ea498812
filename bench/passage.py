"""The way of events through Surehook: sent one at a time, handled, delivered to a local receiver that notes when."""

from __future__ import annotations

import json
import random
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import apsw
import msgspec
import psycopg
from tests.services import until

from bench.load import percentile
from bench.looking import Look, looking
from bench.processes import BenchError, run
from surehook.config import database_path, is_postgres

#: How long messages may be on their way after the last request, in seconds: several polls.
PATIENCE: Final = 30.0


class Span(msgspec.Struct, frozen=True):
    """Milliseconds since the request was sent."""

    p50_ms: float
    p99_ms: float


def send(port: int, rate: float, count: int) -> dict[str, Any]:
    """So many requests at random moments, and what the sender has noted of each."""
    seen = run("bench.scaled.sender", "--port", port, "--rate", rate, "--count", count)
    if seen["wrong"] or len(seen["notes"]) != count:
        raise BenchError(f"wrong answers: {seen['wrong']}")
    return seen


def received(port: int, count: int, within: float = PATIENCE) -> dict[str, tuple[int, int]]:
    """The handler's start and the arrival of each message, when so many have come."""
    until(lambda: ask(port, "/count") >= count, f"{count} messages have arrived", within=within)
    notes = ask(port, "/")
    found = {id: (started, arrived) for id, started, arrived in notes}
    if len(notes) != count or len(found) != count:
        raise BenchError(f"{len(notes)} deliveries of {count} messages, {len(found)} of them distinct")
    return found


def ask(port: int, path: str) -> Any:
    """What a receiver tells."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def expect_delivered(look: Look, total: int) -> None:
    """Raise BenchError unless so many events were stored, handled and delivered, each once."""
    look.expect(
        {
            "SELECT count(*) FROM inbox_events": total,
            "SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'": total,
            "SELECT count(DISTINCT event) FROM bench_payments": total,
            "SELECT count(*) FROM bench_payments": total,
            "SELECT count(*) FROM outbox_messages": total,
            "SELECT count(*) FROM outbox_messages WHERE state = 'SENT'": total,
        }
    )


def spans_of(
    warm: dict[str, Any], sent: dict[str, Any], found: Mapping[str, tuple[int, int]]
) -> dict[str, Span]:
    """Of what was sent against the clock. Raises BenchError when something else has arrived than was sent."""
    if {id for id, _, _ in [*warm["notes"], *sent["notes"]]} != set(found):
        raise BenchError("the destination has received other messages than were caused")
    return {
        "answered": span_of([(answered - began) / 1e6 for _, began, answered in sent["notes"]]),
        "started": span_of([(found[id][0] - began) / 1e6 for id, began, _ in sent["notes"]]),
        "delivered": span_of([(found[id][1] - began) / 1e6 for id, began, _ in sent["notes"]]),
    }


def span_of(milliseconds: Sequence[float]) -> Span:
    """Of some latencies."""
    return Span(percentile(milliseconds, 0.5), percentile(milliseconds, 0.99))


def commits(url: str, rate: float, count: int) -> list[float]:
    """What an INSERT of 1 KB and its commit take, one at a time at random moments, in milliseconds."""
    milliseconds = []
    with _inserting(url) as insert:
        for number in range(count):
            time.sleep(random.expovariate(rate))
            start = time.perf_counter()
            insert(number)
            milliseconds.append((time.perf_counter() - start) * 1_000)
    with looking(url) as look:
        look.expect({"SELECT count(*) FROM bench_commits": count})
    return milliseconds


@contextmanager
def _inserting(url: str) -> Iterator[Callable[[int], object]]:
    """Inserts a row and commits it durably."""
    table, text = "CREATE TABLE bench_commits (number integer PRIMARY KEY, text text)", "x" * 1_000
    if is_postgres(url):
        with psycopg.connect(url, autocommit=True, application_name="bench commits") as connection:
            connection.execute(table)
            yield lambda number: connection.execute(
                "INSERT INTO bench_commits VALUES (%s, %s)", (number, text)
            )
        return
    with closing(apsw.Connection(str(database_path(url)))) as file:
        file.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").fetchall()
        file.execute(table)
        yield lambda number: file.execute("INSERT INTO bench_commits VALUES (?, ?)", (number, text))
