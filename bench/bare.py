"""The floor of publishing: aiohttp's client alone, sending the same bodies to the same receiver, keeping no account.

``python -m bench.bare DATABASE --port N``. Nothing is claimed, signed, timed out or written down.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from uuid import UUID

import aiohttp
import uvloop

from bench.looking import looking
from bench.node import CONCURRENCY
from bench.processes import BenchError, cpu_seconds
from surehook.ids import MESSAGE_PREFIX, typeid

Messages = Iterator[tuple[str, bytes]]


def read(url: str) -> list[tuple[str, bytes]]:
    """Ids and bodies of all messages."""
    with looking(url) as look:
        rows = look.rows("SELECT id, body FROM outbox_messages")
    return [(typeid(MESSAGE_PREFIX, id.bytes if isinstance(id, UUID) else id), body) for id, body in rows]


async def send(session: aiohttp.ClientSession, url: str, messages: Messages) -> None:
    """Send messages one after another until none is left."""
    for id, body in messages:
        headers = {"content-type": "application/json", "webhook-id": id}
        async with session.post(url, data=body, headers=headers) as answer:
            await answer.read()
            if answer.status != 204:
                raise BenchError(f"the receiver answered {answer.status}")


async def measure(url: str, port: int) -> dict[str, float]:
    """Send everything, ``CONCURRENCY`` at once."""
    messages = read(url)
    waiting = iter(messages)
    cpu, began = cpu_seconds(os.getpid()), time.perf_counter()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session,
        asyncio.TaskGroup() as senders,
    ):
        for _ in range(CONCURRENCY):
            senders.create_task(send(session, f"http://127.0.0.1:{port}/", waiting))
    seconds = time.perf_counter() - began
    count = len(messages)
    return {"rate": count / seconds, "cpu_us": (cpu_seconds(os.getpid()) - cpu) / count * 1e6}


def main() -> None:
    """Prints the measurements as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", help="its URL")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(arguments.database, arguments.port))))


if __name__ == "__main__":
    main()
