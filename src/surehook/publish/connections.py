"""The connections of one destination: aiohttp's pool, with two gaps closed that a hostile or broken receiver could use.

This and ``wire.py`` rest on names inside aiohttp that are not public (``TCPConnector._get`` and ``_factory``, what a
``ResponseHandler`` offers, what a connector asks of a ``ClientRequest``), so its minor version is bounded in pyproject.toml;
``tests/unit/publish/test_connections.py`` fails when they change their meaning.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import ServerDisconnectedError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

#: The most bytes that a receiver may send for one request, headers and interim answers (1xx) included: aiohttp itself
#: reads interim answers without end.
MAX_RECEIVED: Final = 512 * 1024


class CountingHandler(ResponseHandler):
    """A connection that gives up on a receiver which sends too much for one request."""

    #: How many requests it was used for, the present one included.
    requests = 0
    _received = 0

    def set_response_params(self, **parameters: Any) -> None:
        """A new request: the count of bytes begins anew."""
        self.requests += 1
        self._received = 0
        super().set_response_params(**parameters)

    async def drained(self) -> None:
        """Wait until the socket takes more. Raises ConnectionError when it was closed."""
        await self._drain_helper()

    def data_received(self, data: bytes) -> None:
        """Count, and break the connection off past the limit."""
        self._received += len(data)
        if self._received <= MAX_RECEIVED:
            super().data_received(data)
            return
        transport = self.transport
        self.set_exception(ServerDisconnectedError(f"the receiver sent more than {MAX_RECEIVED} bytes"))
        if transport is not None:
            transport.abort()


class SoberConnector(TCPConnector):
    """A pool that reuses no connection on which something came that nobody had asked for.

    An answer that waits there would pass for the answer to the next message, and a message would count as delivered that
    never was.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: partial[Any] = partial(CountingHandler, loop=self._loop)
        self._factory = factory

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (found := await super()._get(key, traces)) is not None:
            if found.protocol is not None and not found.protocol.should_close:
                return found
            found.close()
        return None
