"""How many pages a verb touches, whether they are in memory or not: unlike a time, the same on every machine.

A page that is touched twice counts twice, on both databases. Everything is undone afterwards.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

import apsw
import psycopg

from surehook.config import database_path, is_postgres
from surehook.storage.named import Call, drive
from surehook.storage.postgres.adapting import OwnBlockingCursor
from surehook.storage.postgres.statements import load_texts
from surehook.storage.sqlite import load_texts as load_texts_of_sqlite
from surehook.storage.verbs import Verb

Result = TypeVar("Result")

_EXPLAIN: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "


class Counting(ABC):
    """Statements, as the verbs want them, that count pages. None of their coroutines suspends."""

    def __init__(self) -> None:
        self.pages = 0

    def measure(self, verb: Verb[Result]) -> tuple[int, Result]:
        """The pages that a verb has touched, and its result."""
        before = self.pages
        result = drive(verb(self))
        return self.pages - before, result

    async def run(self, calls: Sequence[Call]) -> list[int]:
        """Statements.run."""
        return [self._one(call)[0] for call in calls]

    async def rows(self, calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        """Statements.rows."""
        return [self._one(call)[1] for call in calls]

    async def lock(self, names: Collection[str]) -> None:
        """Statements.lock. Raises NotImplementedError: what is measured locks nothing by name."""
        raise NotImplementedError(f"pages of a lock are not counted: {names}")

    @abstractmethod
    def _one(self, call: Call) -> tuple[int, list[tuple[Any, ...]]]:
        """Run a statement and count its pages; how many rows it wrote, and its rows."""


class _OnServer(Counting):
    """Explains each statement, undoes that, and runs it: what is explained yields no rows."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__()
        self._connection = connection
        self._texts = load_texts()

    def _one(self, call: Call) -> tuple[int, list[tuple[Any, ...]]]:
        name, parameters = call
        text = self._texts[name]
        values = text.values(parameters)
        with self._connection.transaction(force_rollback=True):
            [(plan,)] = self._execute(_EXPLAIN + text.sql, values)[1]
        [document] = json.loads(plan) if isinstance(plan, str | bytes) else plan
        self.pages += document["Plan"]["Shared Hit Blocks"] + document["Plan"]["Shared Read Blocks"]
        return self._execute(text.sql, values)

    def _execute(self, sql: str, values: Sequence[Any]) -> tuple[int, list[tuple[Any, ...]]]:
        with OwnBlockingCursor(self._connection) as cursor:
            cursor.execute(sql, values)
            return cursor.rowcount, cursor.fetchall() if cursor.description else []


class _OnFile(Counting):
    """Asks SQLite's cache how often it was asked for a page."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__()
        self._connection = connection
        self._texts = load_texts_of_sqlite()

    def _one(self, call: Call) -> tuple[int, list[tuple[Any, ...]]]:
        name, parameters = call
        text, before = self._texts[name], self._asked()
        found = self._connection.execute(text.sql, text.bound(parameters)).fetchall()
        self.pages += self._asked() - before
        return self._connection.changes(), found

    def _asked(self) -> int:
        kinds = (apsw.SQLITE_DBSTATUS_CACHE_HIT, apsw.SQLITE_DBSTATUS_CACHE_MISS)
        return sum(self._connection.status(kind)[0] for kind in kinds)


@contextmanager
def counting(url: str) -> Iterator[Counting]:
    """In one transaction, which is undone."""
    if is_postgres(url):
        with (
            psycopg.connect(url, autocommit=True, application_name="bench pages") as server,
            server.transaction(force_rollback=True),
        ):
            yield _OnServer(server)
        return
    with closing(apsw.Connection(str(database_path(url)))) as file:
        file.execute("PRAGMA cache_size = -16000; BEGIN IMMEDIATE")
        yield _OnFile(file)
        file.execute("ROLLBACK")
