"""A receiver that notes when each message came, by the clock that all processes of a machine share.

``POST /`` is a delivery and answered 204. ``GET /`` tells the id, the handler's start and the arrival of each so far,
``GET /count`` only how many there are.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import cast

import httptools
import msgspec
import uvloop

from bench.receiver import NO_CONTENT

#: The external id, the handler's start and the arrival, both in nanoseconds.
Note = tuple[str, int, int]


class Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self, notes: list[Note]) -> None:
        self._notes = notes
        self._parser = httptools.HttpRequestParser(self)
        self._url = self._body = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        arrived, body, self._body = time.monotonic_ns(), self._body, b""
        if self._parser.get_method() == b"POST":
            self._transport.write(NO_CONTENT)
            data = msgspec.json.decode(body)["data"]
            self._notes.append((data["id"], data["started"], arrived))
            return
        answer = json.dumps(len(self._notes) if self._url == b"/count" else self._notes).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


async def main() -> None:
    """Listens until it is killed; prints its port first."""
    notes: list[Note] = []
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(notes), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
