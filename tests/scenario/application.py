"""The application that the scenarios run, copied into each installation's folder.

Its table of effects has no unique key, so that an effect that happens twice is seen twice. What its handlers do
outside their transactions they note in files beside it, and some of them wait for a file that the test makes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surehook import App, Event, Reject, SyncTransaction, Transaction
from surehook.clock import SystemClock

app = App()

FOLDER = Path(__file__).parent
TABLE = "CREATE TABLE IF NOT EXISTS effects (event_id text NOT NULL, external_id text NOT NULL)"
EFFECT = "INSERT INTO effects (event_id, external_id) VALUES (:event, :external)"


def note(name: str, event: Event) -> int:
    """Append a line to a file; returns how many lines it has for this event."""
    path = FOLDER / f"{name}.notes"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{SystemClock().now()} {event.external_id}\n".encode())
    os.close(descriptor)
    return sum(line.split()[1] == event.external_id for line in path.read_text().splitlines())


def exists(name: str) -> bool:
    return (FOLDER / name).exists()


async def gate(name: str = "gate") -> None:
    """Wait until the test makes the file."""
    while not exists(name):
        await asyncio.sleep(0.01)


def gate_in_thread(name: str = "gate") -> None:
    while not exists(name):
        time.sleep(0.01)


def effect(event: Event) -> dict[str, str]:
    return {"event": event.id, "external": event.external_id}


def message(event: Event) -> dict[str, Any]:
    data: Mapping[str, Any] = event.data
    return {
        "destination": data.get("to", "ledger"),
        "type": "order.recorded",
        "data": {"order": event.external_id},
    }


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute(TABLE)


@app.on("github", "push")
@app.on("stripe", "invoice.paid")
@app.on("acme", "order.paid")
async def paid(event: Event, tx: Transaction) -> None:
    await tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))


@app.on("acme", "order.packed")
def packed(event: Event, tx: SyncTransaction) -> None:
    tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))


@app.on("acme", "order.seen")
async def seen(event: Event) -> None:
    event.publish(**message(event))


@app.on("acme", "order.filed")
def filed(event: Event) -> None:
    event.publish(**message(event))


@app.on("acme", "order.held", timeout="1m")
async def held(event: Event, tx: Transaction) -> None:
    """Stops within its work, before or inside its transaction, until the gate is open."""
    if event.data["hold"] == "before":
        note("held", event)
        await gate()
    await tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    if event.data["hold"] == "inside":
        note("held", event)
        await gate()


@app.on("acme", "order.held_in_thread", timeout="1m")
def held_in_thread(event: Event, tx: SyncTransaction) -> None:
    if event.data["hold"] == "before":
        note("held", event)
        gate_in_thread()
    tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    if event.data["hold"] == "inside":
        note("held", event)
        gate_in_thread()


@app.on("acme", "order.pondered")
async def pondered(event: Event, tx: Transaction) -> None:
    """Does its slow work first, as a handler should."""
    await asyncio.sleep(event.data["pause"])
    await tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))


@app.on("acme", "order.slow")
async def slow(event: Event, tx: Transaction) -> None:
    """Takes its time, before its transaction and inside."""
    await asyncio.sleep(event.data["pause"])
    await tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    await asyncio.sleep(event.data["pause"])


@app.on("acme", "order.slow_in_thread")
def slow_in_thread(event: Event, tx: SyncTransaction) -> None:
    time.sleep(event.data["pause"])
    tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    time.sleep(event.data["pause"])


@app.on("acme", "order.failing")
async def failing(event: Event, tx: Transaction) -> None:
    """Fails so many times, each time after it has written and published."""
    run = note("run", event)
    await tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    if run <= event.data["failures"]:
        raise RuntimeError(f"failure {run} of {event.data['failures']}")


@app.on("acme", "order.broken")
def broken(event: Event, tx: SyncTransaction) -> None:
    """Fails until somebody mends it."""
    note("run", event)
    tx.execute(EFFECT, effect(event))
    tx.publish(**message(event))
    if not exists("mended"):
        raise RuntimeError("not mended yet")


@app.on("acme", "order.refused")
async def refused(event: Event) -> None:
    note("run", event)
    raise Reject("this order is not ours")


@app.on("acme", "order.deadly")
async def deadly(event: Event) -> None:
    """Takes the whole process with it."""
    note("run", event)
    os.kill(os.getpid(), signal.SIGKILL)


@app.on("acme", "order.sleeping")
async def sleeping(event: Event) -> None:
    note("held", event)
    await asyncio.sleep(30)
    note("woken", event)


@app.on("acme", "order.blocking")
def blocking(event: Event) -> None:
    note("held", event)
    time.sleep(30)
    note("woken", event)


@app.on("acme", "order.hoarding")
async def hoarding(event: Event, tx: Transaction) -> None:
    """Keeps its transaction open while it does something else, which nobody should."""
    await tx.execute(EFFECT, effect(event))
    note("held", event)
    await asyncio.sleep(30)


@app.on("acme", "order.hoarding_in_thread")
def hoarding_in_thread(event: Event, tx: SyncTransaction) -> None:
    tx.execute(EFFECT, effect(event))
    note("held", event)
    time.sleep(30)
