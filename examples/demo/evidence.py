"""What was seen: in the answers, in the database and in the receiver's own log."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import aiohttp
import apsw
import msgspec
import psycopg
from examples.demo.receiver import LOG
from examples.demo.signing import Request

#: Requests in flight at once.
CONNECTIONS = 16


class Answers:
    """Counts the answers to what was sent."""

    def __init__(self) -> None:
        self.sent = 0
        self.accepted = 0
        self.duplicates = 0
        self.rejected = 0
        #: Answers that nothing in the plan leads to.
        self.unexpected: list[str] = []

    def count(self, request: Request, status: int, body: bytes) -> None:
        """Sort one answer."""
        self.sent += 1
        if status == 401:
            self.rejected += 1
        elif status == 200:
            for event in json.loads(body)["events"]:
                self.duplicates += event["duplicate"]
                self.accepted += not event["duplicate"]
        else:
            self.unexpected.append(f"{request.provider}: {status} {body[:200]!r}")


async def send(url: str, requests: Sequence[Request], answers: Answers) -> None:
    """Send them all, ``CONNECTIONS`` at a time."""
    waiting = iter(requests)

    async def sender(session: aiohttp.ClientSession) -> None:
        for request in waiting:
            address = f"{url}/webhooks/{request.provider}"
            async with session.post(address, data=request.body, headers=request.headers) as answer:
                answers.count(request, answer.status, await answer.read())

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as senders:
        for _ in range(CONNECTIONS):
            senders.create_task(sender(session))


class Progress(msgspec.Struct, frozen=True):
    """How far the events and messages are."""

    stored: int
    #: Events that wait, run, or will be tried again.
    moving: int
    dead: int
    messages: int
    sent: int


class Database:
    """A reader of the shop's database, beside Surehook."""

    def __init__(self, ask: Callable[[str], Iterable[tuple[Any, ...]]], close: Callable[[], object]) -> None:
        self._ask = ask
        #: Let go of the file, or of the server.
        self.close = close

    def progress(self) -> Progress:
        """For the waiting and for the live display; the verdict rests on the command line's answers."""
        events = self._counts("SELECT state, COUNT(*) FROM inbox_events GROUP BY state")
        messages = self._counts("SELECT state, COUNT(*) FROM outbox_messages GROUP BY state")
        return Progress(
            stored=sum(events.values()),
            moving=sum(events.get(state, 0) for state in ("RECEIVED", "PROCESSING", "RETRYING")),
            dead=events.get("DEAD", 0),
            messages=sum(messages.values()),
            sent=messages.get("SENT", 0),
        )

    def effects(self, table: str) -> dict[str, int]:
        """How many rows each event has left in one of the shop's tables."""
        return self._counts(f"SELECT event, COUNT(*) FROM {table} GROUP BY event")

    def _counts(self, sql: str) -> dict[str, int]:
        return dict(cast("Iterable[tuple[str, int]]", self._ask(sql)))


def open_file(path: Path) -> Database:
    """The shop's SQLite database, read-only."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5_000)
    return Database(connection.execute, connection.close)


def open_server(url: str) -> Database:
    """The shop's PostgreSQL database, read-only."""
    connection = psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=on")
    return Database(lambda sql: connection.execute(sql.encode()), connection.close)


class Received(msgspec.Struct, frozen=True):
    """What the receiver's own log says."""

    #: Distinct message ids that were verified and answered with 2xx.
    delivered: frozenset[str]
    #: Distinct message ids that were verified and answered with 503.
    refused: frozenset[str]
    #: Deliveries whose signature was wrong.
    unverified: int
    #: Message ids whose body was not the same on every try.
    changed: frozenset[str]


def received(folder: Path) -> Received:
    """Read the log."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    bodies: dict[str, set[str]] = {}
    for line in lines:
        bodies.setdefault(line["id"], set()).add(line["body"])
    statuses = Counter(line["status"] for line in lines)
    return Received(
        delivered=frozenset(line["id"] for line in lines if line["status"] == 204),
        refused=frozenset(line["id"] for line in lines if line["status"] == 503),
        unverified=statuses[401],
        changed=frozenset(name for name, seen in bodies.items() if len(seen) > 1),
    )


def rows(output: str) -> list[dict[str, Any]]:
    """What a command printed with ``--json``."""
    found: list[dict[str, Any]] = json.loads(output)
    return found
