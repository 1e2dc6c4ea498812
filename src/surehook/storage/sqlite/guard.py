"""What a handler's statement may not do: end the transaction it runs in, leave the file, or write Surehook's own tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import apsw

from surehook.errors import TransactionError
from surehook.storage import Parameters
from surehook.storage.dialect import OWN_TABLES

Result = TypeVar("Result")

_REFUSED = {
    apsw.SQLITE_TRANSACTION: "begins or ends a transaction; Surehook commits it together with the event",
    apsw.SQLITE_SAVEPOINT: "uses savepoints, which Surehook needs for itself",
    apsw.SQLITE_ATTACH: "attaches another file, which the transaction would not cover",
    apsw.SQLITE_DETACH: "detaches a file",
    apsw.SQLITE_PRAGMA: "is a PRAGMA, which would change the connection for everyone",
}
_WRITES = frozenset(
    {
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_TEMP_TRIGGER,
        apsw.SQLITE_CREATE_INDEX,
        # a temporary table or view of the same name would stand before ours
        apsw.SQLITE_CREATE_TEMP_TABLE,
        apsw.SQLITE_CREATE_TEMP_VIEW,
        apsw.SQLITE_DROP_INDEX,
    }
)


class Guard:
    """The connection's authorizer; it judges only while a handler's statement is being prepared."""

    def __init__(self) -> None:
        self._active = False
        self._why = ""

    def run(
        self,
        statement: Callable[[apsw.Connection, str, Parameters], Result],
        connection: apsw.Connection,
        sql: str,
        parameters: Parameters,
    ) -> Result:
        """Judge what ``statement`` prepares. Raises TransactionError, saying why, when it is refused."""
        self._active = True
        try:
            return statement(connection, sql, parameters)
        except apsw.AuthError as error:
            raise TransactionError(f"the statement {sql.strip()[:80]!r} {self._why or error}") from error
        finally:
            self._active = False

    def authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        """SQLite asks once for every table and column that a statement touches, when it is prepared."""
        del database, trigger
        if not self._active:
            return apsw.SQLITE_OK
        self._why = _REFUSED.get(action, "")
        # for ALTER TABLE, indexes and triggers the table's name is the second one
        names = {name.lower() for name in (first, second) if name}
        if not self._why and action in _WRITES and not OWN_TABLES.isdisjoint(names):
            self._why = "writes one of Surehook's own tables"
        return apsw.SQLITE_DENY if self._why else apsw.SQLITE_OK
