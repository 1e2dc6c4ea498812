"""An example: what was paid is written down, and told to the ledger, in one transaction."""

from __future__ import annotations

from surehook import App, Event, Transaction

app = App()

TABLE = "CREATE TABLE IF NOT EXISTS paid_invoices (invoice TEXT PRIMARY KEY, event TEXT NOT NULL)"
INSERT = "INSERT INTO paid_invoices (invoice, event) VALUES (:invoice, :event) ON CONFLICT DO NOTHING"


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute(TABLE)


@app.on("stripe", "invoice.paid")
async def record(event: Event, tx: Transaction) -> None:
    invoice = event.data["data"]["object"]["id"]
    await tx.execute(INSERT, {"invoice": invoice, "event": event.id})
    tx.publish("ledger", type="invoice.recorded", data={"invoice": invoice})
