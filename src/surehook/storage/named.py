"""How the verbs run named statements, on every database.

Verbs are coroutines so that an adapter whose driver waits (PostgreSQL) can await its statements. On SQLite no statement ever
suspends, and ``drive`` runs such a coroutine to its end in one step, on the thread that owns the connection.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

Result = TypeVar("Result")

#: A named statement and its parameters; a list of ids is one parameter, which each adapter writes as its database reads it.
Call = tuple[str, Mapping[str, Any]]


class Statements(Protocol):
    """Runs named statements in one open transaction. A database on the network answers several of them in one round trip."""

    async def run(self, calls: Sequence[Call]) -> list[int]:
        """Run statements one after another; how many rows each wrote."""
        ...

    async def rows(self, calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        """Run statements one after another; the rows of each."""
        ...

    async def lock(self, names: Collection[str]) -> None:
        """Until the end of the transaction nobody else holds one of these names; where one writer writes, nothing to do."""
        ...


async def rows(db: Statements, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run one statement; its rows."""
    [found] = await db.rows([(name, parameters)])
    return found


def drive(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise RuntimeError("a statement suspended where none may")
