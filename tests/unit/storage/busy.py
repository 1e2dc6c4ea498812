"""A process that stores, claims and completes without a pause, for a test that stops it: ``python -m ... URL``."""

from __future__ import annotations

import asyncio
import itertools
import sys

from surehook.clock import Millis
from surehook.storage.postgres import open_postgres
from tests.builders import NOW, arrival, message, settlement


async def work(url: str) -> None:
    database = await open_postgres(url)
    storage = database.storage
    for turn in itertools.count():
        await storage.accept([arrival(f"{turn}-{n}", b"%d %d" % (turn, n)) for n in range(60)])
        claims = await storage.claim(60, NOW, Millis(NOW + 60_000))
        unit = storage.begin(claims[0])
        for _ in range(10):
            await unit.execute("UPDATE mine SET n = n + 1")
        await unit.complete(settlement(claims[0]))
        await storage.settle([settlement(claim, messages=(message(),)) for claim in claims[1:]])


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
