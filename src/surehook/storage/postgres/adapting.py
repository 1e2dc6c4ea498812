"""How Surehook's own values travel: ids as 16 bytes, every number and text for the server to type by its place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor, pq
from psycopg import adapters as defaults
from psycopg._queries import PostgresQuery
from psycopg.abc import Params, PQGen, Query
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.rows import Row, TupleRow, tuple_row


def encoded(text: str) -> bytes:
    """PostgreSQL cannot hold NUL in a text, and a sender can write one; the body keeps what was really sent."""
    return text.replace("\0", "\ufffd").encode("utf-8", "backslashreplace")


class _Bytes(Dumper):
    """Bytes are an id where the place is a uuid and a body where it is a bytea: the server knows which."""

    format = pq.Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        value: bytes = obj
        return value


class _Number(Dumper):
    """One type for every number, so that a statement is prepared once and not once for each size of its numbers."""

    def dump(self, obj: Any) -> Buffer | None:
        return b"%d" % obj


class _Text(Dumper):
    """As ``encoded`` says."""

    def dump(self, obj: Any) -> Buffer | None:
        return encoded(obj)


class _List(Dumper):
    """A list of ids, or of numbers, as the text of an array."""

    def dump(self, obj: Any) -> Buffer | None:
        items: list[bytes | int] = obj
        texts = [item.hex() if isinstance(item, bytes) else str(item) for item in items]
        return b"{%s}" % ",".join(texts).encode()


class _Id(Loader):
    """A uuid as the 16 bytes that ids are in code."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def _own_adapters() -> AdaptersMap:
    own = AdaptersMap(defaults)
    own.register_dumper(bytes, _Bytes)
    own.register_dumper(int, _Number)
    own.register_dumper(str, _Text)
    own.register_dumper(list, _List)
    own.register_loader("uuid", _Id)
    return own


_OWN = _own_adapters()


class PromptCursor(AsyncRawCursor[Row]):
    """In a pipeline each statement leaves in one piece with a Sync of its own.

    Until a Sync the server waits for us as if a statement ran: no timeout of its own counts, and a process that stands still
    or vanishes there would keep its locks. idle_in_transaction_session_timeout counts from a Sync. psycopg sends piece by
    piece, and a Sync for all of them at the end: a busy process would be in between for a third of its time.
    """

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        if self._conn._pipeline is None:
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)
            return
        yield from self._start_query(query)
        yield from self._maybe_prepare_gen(self._convert_query(query, params), prepare=prepare, binary=binary)
        yield from self._leave()
        self._last_query = query
        yield from self._conn._prepared.maintain_gen(self._conn)

    def _executemany_gen_pipeline(
        self, query: Query, params_seq: Iterable[Params], returning: bool
    ) -> PQGen[None]:
        pipeline = self._conn._pipeline
        assert pipeline is not None  # noqa: S101 - psycopg calls this in a pipeline only
        yield from self._start_query(query)
        if not returning:
            self._rowcount = 0
        self._execmany_returning = returning
        converted: PostgresQuery | None = None
        for params in params_seq:
            if converted is None:
                converted = self._query = self._convert_query(query, params)
            else:
                converted.dump(params)
            yield from self._maybe_prepare_gen(converted, prepare=True)
            yield from self._leave()
        self._last_query = query
        if returning:
            yield from pipeline._fetch_gen(flush=False)
        yield from self._conn._prepared.maintain_gen(self._conn)

    def _leave(self) -> PQGen[None]:
        """Send what psycopg has queued of one statement, and the Sync, before anything is waited for."""
        pipeline = self._conn._pipeline
        assert pipeline is not None  # noqa: S101 - as above
        while pipeline.command_queue:
            pipeline.command_queue.popleft()()
        self._pgconn.pipeline_sync()
        pipeline.result_queue.append(None)
        yield from pipeline._communicate_gen()


class OwnCursor(PromptCursor[TupleRow]):
    """Surehook's own statements, on whatever connection: a handler's connection keeps psycopg's adapters for the handler."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        self.format = pq.Format.BINARY

    @property
    def adapters(self) -> AdaptersMap:
        return _OWN


class OwnBlockingCursor(RawCursor[TupleRow]):
    """The same on a connection that blocks, such as Django's."""

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        self.format = pq.Format.BINARY

    @property
    def adapters(self) -> AdaptersMap:
        return _OWN
