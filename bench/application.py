"""The handlers that are measured: one effect and one message, with a transaction; one message, without; nothing."""

from __future__ import annotations

from surehook import App, Event, Transaction

TABLE = "CREATE TABLE IF NOT EXISTS bench_payments (event TEXT, invoice TEXT, cents INTEGER)"
INSERT = "INSERT INTO bench_payments (event, invoice, cents) VALUES (:event, :invoice, :cents)"

with_tx = App()
without_tx = App()
no_op = App()


@with_tx.setup
async def table(tx: Transaction) -> None:
    """One effect a row."""
    await tx.execute(TABLE)


@with_tx.on("stripe", "invoice.paid")
async def record(event: Event, tx: Transaction) -> None:
    """What most handlers do: look into the body, write, tell someone."""
    invoice = event.data["data"]["object"]
    payment = {"event": event.id, "invoice": invoice["id"], "cents": invoice["amount_paid"]}
    await tx.execute(INSERT, payment)
    tx.publish("sink", type="payment.recorded", data=payment)


@without_tx.on("stripe", "invoice.paid")
async def tell(event: Event) -> None:
    """Only tells someone."""
    invoice = event.data["data"]["object"]
    event.publish("sink", type="payment.seen", data={"event": event.id, "invoice": invoice["id"]})


@no_op.on("stripe", "invoice.paid")
async def ignore(event: Event) -> None:
    """Does nothing: what is left is the queue's own cost."""
