"""FastAPI and Procrastinate. The queueing lock lets an event wait once only; when its job has begun, it may wait again."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from common import Verified, answer, await_start, begun, serve
from fastapi import FastAPI
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued

_, verb, url, *_ = sys.argv
#: What its documentation launches many sub-workers with.
CONCURRENCY = 30
# it warns of an application in the main module; its tasks have names of their own
logging.getLogger("procrastinate").setLevel(logging.ERROR)
queue = App(connector=PsycopgConnector(conninfo=url))


@queue.task(name="webhook")
async def handle(event: dict[str, Any]) -> None:
    """Does nothing."""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The connections are those of the application's life."""
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/webhooks/stripe")
async def receive(webhook: Verified) -> dict[str, bool]:
    """One job an event."""
    try:
        await handle.configure(queueing_lock=webhook.id).defer_async(event=webhook.data)
    except AlreadyEnqueued:
        return answer(duplicate=True)
    return answer(duplicate=False)


async def work() -> None:
    """One worker."""
    async with queue.open_async():
        begun()
        await queue.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)


if __name__ == "__main__":
    if verb == "serve":
        serve(app)
    else:
        await_start()
        asyncio.run(work())
