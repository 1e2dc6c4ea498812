"""A POST and its answer on aiohttp's connections, without its session.

For each request a session makes a task, a timer, a request, a response and several dictionaries of headers, most of which a
delivery has no use for; together they cost more than all that a publisher does besides (docs/adr/0034). What is used
of aiohttp is its connector, which makes and keeps the connections, and its parser, as ``connections.py`` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage
from yarl import URL

from surehook.config import MIB
from surehook.publish.connections import CountingHandler
from surehook.publish.egress import connector

#: How long an idle connection is kept, in seconds: shorter than the usual 60 s and more of receivers.
_KEEP_ALIVE: Final = 15.0

#: A body of more than a MiB goes out in pieces of this size, each when those before it have left, since the socket's buffer
#: would hold it a second time.
_PIECE: Final = 64 * 1024


class Reply:
    """The head of an answer, and its connection for as long as the body is wanted."""

    def __init__(
        self,
        head: RawResponseMessage,
        payload: aiohttp.StreamReader,
        connection: Connection,
        sending: asyncio.Task[None] | None,
    ) -> None:
        self.status = head.code
        self.phrase = head.reason or ""
        self.headers = head.headers
        #: What was read of the body so far.
        self.body = bytearray()
        self._payload = payload
        self._connection = connection
        self._sending = sending

    @property
    def ended(self) -> bool:
        """There is nothing more to be read."""
        return self._payload.at_eof()

    @property
    def complete(self) -> bool:
        """The whole body has come: to read it does not wait."""
        return self._payload.is_eof()

    async def read(self, most: int) -> None:
        """Read the body to its end, or ``most`` bytes of it. Raises ClientError or OSError when it breaks off."""
        body, payload = self.body, self._payload
        while len(body) < most and not payload.at_eof():
            body += await payload.read(most - len(body))

    def close(self) -> None:
        """Keep the connection for the next request if this one has left nothing on it, else close it."""
        if self._payload.at_eof() and (self._sending is None or self._sending.done()):
            _let_go(self._connection)
        else:
            _break_off(self._connection, self._sending)


class Wire:
    """POSTs to one URL. Follows no redirect, knows no proxy and no cookie, and decompresses nothing."""

    def __init__(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        allow_private: bool,
        tls: ssl.SSLContext | bool,
        connect_timeout: float,
        read_ahead: int,
    ) -> None:
        """``headers`` go with every request; ``connect_timeout``, in seconds, is for a new connection.

        Of a body that nobody reads some ``read_ahead`` bytes are taken in. Needs a running loop.
        """
        self._target = Target("POST", url, loop=asyncio.get_running_loop(), ssl=tls)
        always = {"host": url.host_port_subcomponent or "", "accept": "*/*", **headers}
        self._start = f"POST {url.raw_path_qs} HTTP/1.1\r\n{_lines(always)}"
        self._connector = connector(allow_private=allow_private, keep_alive=_KEEP_ALIVE)
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout)
        self._read_ahead = read_ahead

    async def post(self, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send ``body``; returns when the head of the answer has come. The reply must be closed.

        Raises aiohttp's ClientError, or OSError, when no answer comes.
        """
        head = f"{self._start}{_lines(headers)}content-length: {len(body)}\r\n\r\n".encode("ascii")
        handler = None
        try:
            connection, handler = await self._connect()
            return await self._exchange(connection, handler, head, body)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A kept connection that the receiver closed just now says nothing about the receiver. To send again is
            # harmless: the id is the same.
            if handler is None or handler.requests == 1:
                raise
        connection, handler = await self._connect()
        return await self._exchange(connection, handler, head, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._connector.close()

    async def _connect(self) -> tuple[Connection, CountingHandler]:
        """A connection that is kept, or a new one."""
        try:
            connection = await self._connector.connect(self._target, [], self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError from error
        handler = connection.protocol
        if not isinstance(handler, CountingHandler):  # never: the connector makes no others
            raise TypeError(f"a connection of {type(handler).__name__}")
        return connection, handler

    async def _exchange(
        self, connection: Connection, handler: CountingHandler, head: bytes, body: bytes
    ) -> Reply:
        sending: asyncio.Task[None] | None = None
        try:
            handler.set_response_params(
                read_until_eof=True, auto_decompress=False, read_bufsize=self._read_ahead
            )
            sending = _send(handler, head, body)
            answer, payload = await handler.read()
            while answer.code < 200 and answer.code != 101:  # interim
                answer, payload = await handler.read()
        except HttpProcessingError as error:
            _break_off(connection, sending)
            raise aiohttp.ClientResponseError(
                self._target.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            _break_off(connection, sending)
            raise
        return Reply(answer, payload, connection, sending)


class Target(aiohttp.ClientRequest):
    """Where a destination is, in the form in which the connector asks: one for all requests, and never sent itself."""

    _key: ConnectionKey | None = None

    @property
    def connection_key(self) -> ConnectionKey:
        """What connections are kept under; put together once."""
        if self._key is None:
            self._key = super().connection_key
        return self._key


def _lines(headers: Mapping[str, str]) -> str:
    """Headers as they are sent. Raises ValueError when one of them would begin another line."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise ValueError("a header holds the end of a line")
    return lines


def _send(handler: CountingHandler, head: bytes, body: bytes) -> asyncio.Task[None] | None:
    """Hand a request to the socket. What is large goes on by itself: an answer may come before its end."""
    transport = handler.transport
    if transport is None:
        raise aiohttp.ServerDisconnectedError
    if len(body) <= MIB:
        transport.write(head + body)
        return None
    transport.write(head)
    return asyncio.create_task(_send_in_pieces(handler, memoryview(body)))


async def _send_in_pieces(handler: CountingHandler, body: memoryview) -> None:
    # who waits for the answer is told of a connection that breaks
    with contextlib.suppress(OSError):
        for start in range(0, len(body), _PIECE):
            await handler.drained()
            if handler.transport is None:
                return
            handler.transport.write(body[start : start + _PIECE])


def _let_go(connection: Connection) -> None:
    """Give it back to be used again, unless something of the request has not even left."""
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        _break_off(connection, None)
    else:
        connection.release()


def _break_off(connection: Connection, sending: asyncio.Task[None] | None) -> None:
    """Close it at once: what waits to be sent is not worth waiting for, nor may a receiver that reads nothing keep it."""
    if sending is not None:
        sending.cancel()
    transport = connection.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()
    connection.close()
