"""The handler whose start is timed, and what it leaves: one effect and one message."""

from __future__ import annotations

import time

from bench.application import INSERT, TABLE
from surehook import App, Event, Transaction

timed = App()


@timed.setup
async def table(tx: Transaction) -> None:
    """One effect a row."""
    await tx.execute(TABLE)


@timed.on("stripe", "invoice.paid")
async def record(event: Event, tx: Transaction) -> None:
    """The message carries when this began, by the clock that all processes of a machine share."""
    started = time.monotonic_ns()
    invoice = event.data["data"]["object"]
    await tx.execute(INSERT, {"event": event.id, "invoice": invoice["id"], "cents": invoice["amount_paid"]})
    tx.publish("sink", type="payment.recorded", data={"id": event.external_id, "started": started})
