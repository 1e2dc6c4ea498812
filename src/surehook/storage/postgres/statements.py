"""Named statements on a PostgreSQL connection; those that are given together are one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from psycopg import AsyncConnection, Connection

from surehook.storage.dialect import POSTGRESQL, load_statements
from surehook.storage.named import Call
from surehook.storage.placeholders import Bound, bind
from surehook.storage.postgres.adapting import OwnBlockingCursor, OwnCursor

Texts = Mapping[str, Bound]

# Locks by name live until the end of the transaction, so that they work behind a pooler and die with their holder.
_LOCK = "SELECT pg_advisory_xact_lock($1::bigint)"
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1::bigint)"


def load_texts() -> Texts:
    """Every statement of the package, in PostgreSQL's words."""
    return {name: bind(sql, False) for name, sql in load_statements(POSTGRESQL).items()}


def lock_number(name: str) -> int:
    """The advisory lock of a name: 64 bits of its hash, so that two names share one about never, and then only wait."""
    return int.from_bytes(hashlib.sha256(f"surehook {name}".encode()).digest()[:8], signed=True)


class PostgresStatements:
    """Statements on a connection of the loop."""

    def __init__(self, connection: AsyncConnection[Any], texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    async def run(self, calls: Sequence[Call]) -> list[int]:
        """Statements.run."""
        return [result.rowcount async for result in self._results(calls)]

    async def rows(self, calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        """Statements.rows."""
        return [await result.fetchall() async for result in self._results(calls)]

    async def lock(self, names: Collection[str]) -> None:
        """Statements.lock; in one order for everybody, so that nobody waits in a circle.

        In a pipeline the answer is not waited for: the next statement runs when the locks are there.
        """
        numbers = sorted(lock_number(name) for name in names)
        async with OwnCursor(self._connection) as cursor:
            await cursor.executemany(_LOCK, [(number,) for number in numbers])

    async def try_lock(self, name: str) -> bool:
        """Take the lock if it is free."""
        async with OwnCursor(self._connection) as cursor:
            await cursor.execute(_TRY_LOCK, (lock_number(name),))
            return bool(await cursor.fetchone() == (True,))

    async def _results(self, calls: Sequence[Call]) -> AsyncIterator[OwnCursor]:
        """The result of each call, in their order; one round trip for all of them in a pipeline, or for one alone."""
        if not calls:
            return
        *before, (text, values) = _batches(self._texts, calls)
        if len(calls) == 1 and not self._connection.pgconn.pipeline_status:
            yield await OwnCursor(self._connection).execute(text, values[0], prepare=True)
            return
        results = [
            await OwnCursor(self._connection).execute(earlier, each, prepare=True)
            for earlier, many in before
            for each in many
        ]
        async with OwnCursor(self._connection) as last:
            await last.executemany(text, values, returning=True)  # waits for the others' results as well
            for result in results:
                yield result
            async for result in last.results():
                yield result


class BlockingStatements:
    """Statements on a connection that blocks its thread: coroutines that never suspend, for ``named.drive``."""

    def __init__(self, connection: Connection[Any], texts: Texts) -> None:
        self._connection = connection
        self._texts = texts

    async def run(self, calls: Sequence[Call]) -> list[int]:
        """Statements.run."""
        changes: list[int] = []
        for text, values in _batches(self._texts, calls):
            with OwnBlockingCursor(self._connection) as cursor:
                cursor.executemany(text, values, returning=True)
                changes += [each.rowcount for each in cursor.results()]
        return changes

    async def rows(self, calls: Sequence[Call]) -> list[list[tuple[Any, ...]]]:
        """Statements.rows."""
        found: list[list[tuple[Any, ...]]] = []
        for text, values in _batches(self._texts, calls):
            with OwnBlockingCursor(self._connection) as cursor:
                cursor.executemany(text, values, returning=True)
                found += [each.fetchall() for each in cursor.results()]
        return found

    async def lock(self, names: Collection[str]) -> None:
        """Statements.lock."""
        numbers = sorted(lock_number(name) for name in names)
        with OwnBlockingCursor(self._connection) as cursor:
            cursor.executemany(_LOCK, [(number,) for number in numbers])


def _batches(texts: Texts, calls: Sequence[Call]) -> Iterator[tuple[str, list[Sequence[Any]]]]:
    """Runs of the same statement, each with the parameters of its calls."""
    for name, group in groupby(calls, key=itemgetter(0)):
        text = texts[name]
        yield text.sql, [[parameters[each] for each in text.names] for _, parameters in group]
