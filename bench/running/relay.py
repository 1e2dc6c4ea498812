"""The floor of the pipeline: the same server, passing each event on with aiohttp's client before it answers.

``python -m bench.running.relay DATABASE --sink PORT``. Nothing is stored, handled, signed, timed out or tried again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import aiohttp
import uvloop

from bench.node import CONCURRENCY
from bench.server import GROUP, listen
from surehook.clock import SystemClock
from surehook.config import Settings
from surehook.ingest.intake import Done
from surehook.model import Accepted, Arrival
from surehook.states import EventState
from surehook.wiring.database import open_unmigrated


class Relay:
    """Stands where the inbox stands."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, arrival: Arrival, done: Done) -> None:
        """As many at once as connections are open."""
        task = asyncio.get_running_loop().create_task(self._pass(arrival, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass(self, arrival: Arrival, done: Done) -> None:
        for event in arrival.events:
            data = {"id": event.external_id, "started": time.monotonic_ns()}
            body = json.dumps({"type": "payment.recorded", "data": data}).encode()
            headers = {"content-type": "application/json"}
            async with self._session.post(self._url, data=body, headers=headers) as answer:
                await answer.read()
                answer.raise_for_status()
        done([Accepted(event.id, False, EventState.RECEIVED) for event in arrival.events])


async def serve(url: str, sink: int) -> None:
    """Listen on a free port until the process is killed."""
    clock = SystemClock()
    database = await open_unmigrated(Settings(database=url))
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector) as session:
        await listen(Relay(session, f"http://127.0.0.1:{sink}/"), database.storage, clock, GROUP)


def main() -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", help="its URL")
    parser.add_argument("--sink", type=int, required=True)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(arguments.database, arguments.sink))


if __name__ == "__main__":
    main()
