"""Payments with psycopg, on the connection of the event's own transaction."""

from __future__ import annotations

from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb

from surehook import App, Event, SyncTransaction, Transaction

app = App()


@app.setup
async def tables(tx: Transaction) -> None:
    await tx.execute(
        "CREATE TABLE IF NOT EXISTS payments (invoice text PRIMARY KEY, cents bigint NOT NULL, raw jsonb)"
    )


@app.on("stripe", "invoice.paid")
async def paid(event: Event, tx: Transaction) -> None:
    connection: AsyncConnection = await tx.connection()
    invoice = event.data["data"]["object"]
    await connection.execute(
        "INSERT INTO payments (invoice, cents, raw) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        [invoice["id"], invoice["amount_paid"], Jsonb(invoice)],
    )
    tx.publish("ledger", type="payment.recorded", data={"invoice": invoice["id"]})


@app.on("stripe", "invoice.voided")
def voided(event: Event, tx: SyncTransaction) -> None:
    connection: Connection = tx.connection()
    connection.execute("DELETE FROM payments WHERE invoice = %s", [event.data["data"]["object"]["id"]])
