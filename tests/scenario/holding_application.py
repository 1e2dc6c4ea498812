"""The application of the scenarios that pause workers: attempts at an event stop at the place that it names.

They say so by making a file with their process id, and go on when the test has made another one. The steps have no unique
key, so that what happens twice is seen twice, and each names the attempt that wrote it.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from surehook import App, Event, SyncTransaction, Transaction

app = App()

FOLDER = Path(os.environ["HOLDING_FOLDER"])
TABLE = "CREATE TABLE IF NOT EXISTS steps (external_id text NOT NULL, step integer NOT NULL, attempt integer NOT NULL)"
STEP = "INSERT INTO steps (external_id, step, attempt) VALUES (:external_id, :step, :attempt)"


def step(event: Event, number: int) -> dict[str, object]:
    return {"external_id": event.external_id, "step": number, "attempt": event.attempt}


def holds(event: Event, place: str) -> bool:
    """Whether this is where the attempt is to stop; tells the test."""
    if event.attempt > event.data["stops"] or event.data["place"] != place:
        return False
    told = file_of(event, "told")
    told.write_text(str(os.getpid()))
    told.rename(file_of(event, "held"))
    return True


def is_open(event: Event) -> bool:
    return file_of(event, "open").exists()


def file_of(event: Event, name: str) -> Path:
    return FOLDER / f"{event.external_id}.{event.attempt}.{name}"


async def stop_at(place: str, event: Event) -> None:
    if holds(event, place):
        while not is_open(event):
            await asyncio.sleep(0.005)


def stop_thread_at(place: str, event: Event) -> None:
    if holds(event, place):
        while not is_open(event):
            time.sleep(0.005)


def message(event: Event) -> dict[str, Any]:
    return {"type": "order.recorded", "data": {"order": event.external_id, "attempt": event.attempt}}


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute(TABLE)


@app.on("acme", "holding.loop", timeout="10m")
async def in_loop(event: Event, tx: Transaction) -> None:
    await stop_at("before", event)
    await tx.execute(STEP, step(event, 1))
    await stop_at("between", event)
    await tx.execute(STEP, step(event, 2))
    tx.publish("ledger", **message(event))
    await stop_at("after", event)


@app.on("acme", "holding.thread", timeout="10m")
def in_thread(event: Event, tx: SyncTransaction) -> None:
    stop_thread_at("before", event)
    tx.execute(STEP, step(event, 1))
    stop_thread_at("between", event)
    tx.execute(STEP, step(event, 2))
    tx.publish("ledger", **message(event))
    stop_thread_at("after", event)


@app.on("acme", "holding.own_tools", timeout="10m")
async def with_own_tools(event: Event, tx: Transaction) -> None:
    """The same on the connection itself, which Surehook does not watch."""
    connection = await tx.connection()
    sql = "INSERT INTO steps (external_id, step, attempt) VALUES (%(external_id)s, %(step)s, %(attempt)s)"
    await connection.execute(sql, step(event, 1))
    await stop_at("between", event)
    await connection.execute(sql, step(event, 2))
    tx.publish("ledger", **message(event))


@app.on("acme", "holding.plain", timeout="10m")
async def without_transaction(event: Event) -> None:
    await stop_at("before", event)
    event.publish("ledger", **message(event))
    await stop_at("after", event)


@app.on("acme", "holding.plain_thread", timeout="10m")
def without_transaction_in_thread(event: Event) -> None:
    event.publish("ledger", **message(event))
    stop_thread_at("after", event)
