"""A receiver that costs little: raw sockets, httptools, 204 to everything, and a set of the message ids it saw."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import httptools
import uvloop

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection. ``POST /`` is a delivery, ``GET /`` tells how many there were and forgets them."""

    def __init__(self, seen: set[bytes]) -> None:
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"webhook-id":
            self._seen.add(value)

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"POST":
            self._transport.write(NO_CONTENT)
            return
        body = json.dumps({"distinct": len(self._seen)}).encode()
        self._seen.clear()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


async def main() -> None:
    """Listens until it is killed; prints its port first."""
    seen: set[bytes] = set()
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(seen), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
