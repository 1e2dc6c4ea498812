"""A look into an installation's database from outside, past all of its own code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import psycopg
from psycopg.rows import dict_row

#: Seconds that a look may wait.
PATIENCE = 5


class Database(ABC):
    """Read-only, a new connection for each look. Statements have ``?`` for parameters; ids are bytes in and out."""

    @abstractmethod
    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """The rows of one SELECT, each by the names of its columns."""

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of one SELECT. Give each column a name of its own."""
        return [tuple(row.values()) for row in self.rows(sql, *parameters)]

    def value(self, sql: str, *parameters: Any) -> Any:
        """The only value of the only row."""
        ((value,),) = self.query(sql, *parameters)
        return value

    def event(self, external_id: str) -> dict[str, Any]:
        """One event's row by its external id, or an empty dict."""
        found = self.rows("SELECT * FROM inbox_events WHERE external_id = ?", external_id)
        return found[0] if found else {}

    def messages(self, event_id: bytes) -> list[dict[str, Any]]:
        """The messages that an event caused."""
        return self.rows("SELECT * FROM outbox_messages WHERE event_id = ? ORDER BY id", event_id)

    def failures(self, row_id: bytes) -> list[dict[str, Any]]:
        """The failed attempts of an event or message, oldest first."""
        return self.rows("SELECT * FROM failures WHERE row_id = ? ORDER BY failed_at, id", row_id)

    def effects(self, external_id: str) -> int:
        """How many rows handlers have written for an event."""
        return int(self.value("SELECT count(*) FROM effects WHERE external_id = ?", external_id))

    def unfinished(self) -> int:
        """Events and messages that are not at rest yet."""
        return int(
            self.value(
                "SELECT (SELECT count(*) FROM inbox_events WHERE finished_at IS NULL)"
                " + (SELECT count(*) FROM outbox_messages WHERE finished_at IS NULL) AS unfinished"
            )
        )


class SqliteDatabase(Database):
    """A file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Database.rows."""
        with closing(apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            connection.set_busy_timeout(PATIENCE * 1000)
            cursor = connection.execute(sql, parameters)
            return [
                dict(zip((name for name, _ in cursor.get_description()), row, strict=True)) for row in cursor
            ]


class PostgresDatabase(Database):
    """A database of a server. Looking at a server that is down raises psycopg.OperationalError."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Database.rows."""
        read_only = "-c default_transaction_read_only=on"
        with psycopg.connect(
            self.url, autocommit=True, connect_timeout=PATIENCE, options=read_only, row_factory=dict_row
        ) as connection:
            cursor = connection.execute(
                sql.replace("?", "%s").encode(), [_there(each) for each in parameters]
            )
            return [{name: _here(value) for name, value in row.items()} for row in cursor]


def _there(value: Any) -> Any:
    """The only bytes that anybody asks for are ids."""
    return UUID(bytes=value) if isinstance(value, bytes) else value


def _here(value: Any) -> Any:
    return value.bytes if isinstance(value, UUID) else value
