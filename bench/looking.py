"""Looking into a database from outside of Surehook: what was stored, how much of it, and whether anything is left to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import apsw
import psycopg

from bench.processes import BenchError
from surehook.config import database_path, is_postgres


class Look(ABC):
    """One connection; every statement is a transaction of its own."""

    @abstractmethod
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""

    def number(self, sql: str) -> int:
        """The one number that a statement yields."""
        [[value]] = self.rows(sql)
        return int(value)

    def expect(self, numbers: dict[str, int]) -> None:
        """Raise BenchError unless every statement yields its number."""
        for sql, number in numbers.items():
            if (seen := self.number(sql)) != number:
                raise BenchError(f"a run lost or doubled something: {sql}: {seen}, expected {number}")


class FileLook(Look):
    """Into a file of SQLite."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        return self._connection.execute(sql).fetchall()


class ServerLook(Look):
    """Into a database of PostgreSQL."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        #: Statements so far: transactions that are none of Surehook's.
        self.asked = 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a statement; none where it yields nothing."""
        self.asked += 1
        cursor = self._connection.execute(sql.encode())
        return [] if cursor.description is None else cursor.fetchall()


@contextmanager
def looking(url: str) -> Iterator[Look]:
    """A look into the database at a URL."""
    if is_postgres(url):
        with looking_at_server(url) as look:
            yield look
        return
    with closing(apsw.Connection(str(database_path(url)))) as file:
        yield FileLook(file)


@contextmanager
def looking_at_server(url: str) -> Iterator[ServerLook]:
    """A look into a database of PostgreSQL."""
    with psycopg.connect(url, autocommit=True, application_name="bench") as connection:
        yield ServerLook(connection)
