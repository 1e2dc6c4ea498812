"""FastAPI and PgQueuer, over asyncpg. The key keeps an event from waiting twice; when it is done, it may come again.

``work`` takes how many consumers there are and what each of them takes at once: 5 and 10 in its own benchmark.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import uvloop
from common import Verified, answer, await_start, begun, serve
from fastapi import FastAPI
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgPoolDriver
from pgqueuer.errors import DuplicateJobError
from pgqueuer.models import Job
from pgqueuer.queries import Queries

_, verb, url, *numbers = sys.argv


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The pool is the application's, as in its example for FastAPI."""
    async with asyncpg.create_pool(url) as pool:
        app.state.queries = Queries(AsyncpgPoolDriver(pool))
        await app.state.queries.install()
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/stripe")
async def receive(webhook: Verified) -> dict[str, bool]:
    """One job an event."""
    try:
        await app.state.queries.enqueue("webhook", webhook.body, dedupe_key=webhook.id)
    except DuplicateJobError:
        return answer(duplicate=True)
    return answer(duplicate=False)


async def work(consumers: int, batch_size: int) -> None:
    """A connection for each consumer."""
    queues = [PgQueuer.from_asyncpg_connection(await asyncpg.connect(url)) for _ in range(consumers)]
    for queue in queues:

        @queue.entrypoint("webhook")
        async def handle(job: Job) -> None:
            pass

    begun()
    await asyncio.gather(*(queue.run(batch_size=batch_size) for queue in queues))


if __name__ == "__main__":
    if verb == "serve":
        serve(app)
    else:
        await_start()
        uvloop.run(work(*map(int, numbers)))
