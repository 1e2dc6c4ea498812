"""What a handler's statement may not do: end the transaction it runs in, change the connection, or write Surehook's tables.

PostgreSQL has no authorizer to ask, so the text is looked at. It keeps from mistakes, not from intent: who wants to can hide
a statement in a function; rights of the database's user are the place for that.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from surehook.errors import TransactionError
from surehook.storage.dialect import OWN_TABLES
from surehook.storage.placeholders import pieces

_ENDING: Final = re.compile(
    r"[\s;]*(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION|SAVEPOINT|RELEASE)\b",
    re.IGNORECASE,
)
_OUTLASTING: Final = re.compile(
    r"[\s;]*(?:SET\s+(?!LOCAL\b|CONSTRAINTS\b|TRANSACTION\b)|(?:RESET|DISCARD|PREPARE|DEALLOCATE|LISTEN|UNLISTEN|LOAD)\b)",
    re.IGNORECASE,
)
_OTHERS: Final = r"(?:[\w.\"]+\s*,\s*)*"
_OWN: Final = "|".join(sorted(OWN_TABLES - {"inbox_payloads"})) + r"|inbox_payloads(?:_\w+)?"
_WRITING: Final = re.compile(
    r"\b(?:INSERT\s+INTO|UPDATE|DELETE\s+FROM|MERGE\s+INTO|COPY|ALTER\s+TABLE(?:\s+IF\s+EXISTS)?"
    rf"|(?:TRUNCATE|LOCK)(?:\s+TABLE)?\s+{_OTHERS}|DROP\s+TABLE(?:\s+IF\s+EXISTS)?\s+{_OTHERS}"
    r"|(?:INDEX|TRIGGER|POLICY|RULE)\b[^;]*?\b(?:ON|TO))"
    rf"\s*(?:\bONLY\b)?\s*(?:\"?\bpublic\b\"?\s*\.\s*)?\"?\b(?:{_OWN})\b\"?(?!\s*\.)",
    re.IGNORECASE,
)


@lru_cache(maxsize=2_000)
def why_refused(sql: str) -> str | None:
    """Why a handler cannot run this, or None."""
    # what is quoted is a value and may say anything; a comment separates words as a blank does
    blanked = {"text": "''", "comment": " "}
    code = "".join(blanked.get(kind, piece) for kind, piece in pieces(sql))
    if _ENDING.match(code):
        return (
            "begins, ends or divides the transaction; Surehook commits it together with the event's completion and its "
            "messages: raise an exception to undo it"
        )
    if _OUTLASTING.match(code):
        return (
            "changes the connection for whoever uses it after this transaction: write SET LOCAL, which ends with it, or "
            "set it for the database's user (ALTER ROLE ... SET)"
        )
    return "writes one of Surehook's own tables" if _WRITING.search(code) else None


def refuse(sql: str) -> None:
    """Raises TransactionError, saying why, for a statement that a handler cannot run."""
    if why := why_refused(sql):
        raise TransactionError(f"the statement {sql.strip()[:80]!r} {why}")
