"""Sends signed webhooks at random moments, whether the ones before are answered or not, and notes when each was answered.

``python -m bench.scaled.sender --port N --rate R --count N``. Unlike ``bench.load``, which keeps a server busy, it leaves it
idle in between: the gaps are exponential with a mean of ``1 / R`` seconds, as independent senders make them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from asyncio import StreamReader, StreamWriter

import uvloop

from bench.load import content_length, make_requests

#: A connection that was idle for so many seconds is not used again: the server ends it after 5.
STALE = 3.0

#: The external id, when it was sent and when it was answered, both in nanoseconds.
Note = tuple[str, int, int]


class Sender:
    """Keeps connections open, as many as are needed at once."""

    def __init__(self, port: int) -> None:
        self._port = port
        #: With the moment of the last answer; the one that was used last is used first.
        self._idle: list[tuple[float, StreamReader, StreamWriter]] = []
        self.wrong: list[str] = []
        self.notes: list[Note] = []

    async def post(self, id: str, request: bytes) -> None:
        """Send one and wait for its answer: right is 200 and not a duplicate."""
        reader, writer = self._take() or await self._connect()
        sent = time.monotonic_ns()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(content_length(head[:-4]))
        self.notes.append((id, sent, time.monotonic_ns()))
        if not (head.startswith(b"HTTP/1.1 200") and b'"duplicate":false' in body):
            self.wrong.append((head + body)[:300].decode(errors="replace"))
        self._idle.append((time.monotonic(), reader, writer))

    def _take(self) -> tuple[StreamReader, StreamWriter] | None:
        """The freshest idle connection; if that is stale, all are."""
        if self._idle:
            since, reader, writer = self._idle.pop()
            if time.monotonic() - since < STALE:
                return reader, writer
        for _, _, writer in self._idle:
            writer.close()
        self._idle.clear()
        return None

    async def _connect(self) -> tuple[StreamReader, StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


async def measure(port: int, rate: float, count: int) -> dict[str, object]:
    """Send ``count`` requests, ``rate`` a second on average."""
    run = str(os.getpid())
    sender, began, due = Sender(port), time.perf_counter(), 0.0
    async with asyncio.TaskGroup() as posts:
        for number, request in enumerate(make_requests(count, run)):
            due += random.expovariate(rate)
            await asyncio.sleep(began + due - time.perf_counter())
            posts.create_task(sender.post(f"evt_{run}_{number}", request))
    return {"notes": sender.notes, "wrong": sender.wrong[:3], "seconds": time.perf_counter() - began}


def main() -> None:
    """Prints the notes as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--count", type=int, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments.port, arguments.rate, arguments.count))))


if __name__ == "__main__":
    main()
