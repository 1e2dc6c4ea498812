"""What a handler's statement may not do: end the transaction it runs in, or write Surehook's own tables.

PostgreSQL has no authorizer to ask, so the text is looked at. It keeps from mistakes, not from intent: who wants to can hide
a statement in a function; rights of the database's user are the place for that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from surehook.errors import TransactionError
from surehook.storage.dialect import OWN_TABLES

_COMMENTS: Final = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_ENDING: Final = re.compile(
    _COMMENTS + r"(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION|SAVEPOINT|RELEASE)\b",
    re.IGNORECASE | re.DOTALL,
)
_WRITING: Final = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE(?:\s+TABLE)?|LOCK(?:\s+TABLE)?|COPY"
    r"|(?:ALTER|DROP)\s+TABLE(?:\s+IF\s+EXISTS)?|(?:CREATE|DROP)\s+(?:UNIQUE\s+)?INDEX\b[^;]*?\bON|TRIGGER\b[^;]*?\bON)"
    rf"\s+(?:ONLY\s+)?(?:\w+\.)?\"?(?:{'|'.join(sorted(OWN_TABLES))})(?:_\w+)?\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=2_000)
def why_refused(sql: str) -> str | None:
    """Why a handler cannot run this, or None."""
    if _ENDING.match(sql):
        return (
            "begins, ends or divides the transaction; Surehook commits it together with the event's completion and its "
            "messages: raise an exception to undo it"
        )
    return "writes one of Surehook's own tables" if _WRITING.search(sql) else None


def refuse(sql: str) -> None:
    """Raises TransactionError, saying why, for a statement that a handler cannot run."""
    if why := why_refused(sql):
        raise TransactionError(f"the statement {sql.strip()[:80]!r} {why}")
