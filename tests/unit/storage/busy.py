"""A process that stores, claims and completes without a pause, for a test that stops it: ``python -m ... URL``."""

from __future__ import annotations

import asyncio
import itertools
import sys

from surehook.clock import Millis
from surehook.model import Claim
from surehook.storage import Storage
from surehook.storage.postgres import open_postgres
from tests.builders import NOW, arrival, message, settlement


async def work(url: str) -> None:
    database = await open_postgres(url)
    storage = database.storage
    for turn in itertools.count():
        await storage.accept([arrival(f"{turn}-{n}", b"%d %d" % (turn, n)) for n in range(60)])
        claims = await storage.claim(60, NOW, Millis(NOW + 60_000))
        await asyncio.gather(*(handle(storage, claim) for claim in claims[:6]), return_exceptions=True)
        await storage.settle([settlement(claim, messages=(message(),)) for claim in claims[6:]])


async def handle(storage: Storage, claim: Claim) -> None:
    unit = storage.begin(claim)  # in one transaction with the others
    try:
        for number in range(3):
            await unit.execute("INSERT INTO mine (n) VALUES (:n)", {"n": number})
        await unit.complete(settlement(claim, messages=(message(),)))
    finally:
        await unit.rollback()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
