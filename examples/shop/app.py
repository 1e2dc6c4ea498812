"""A tea shop. GitHub, Stripe and Shopify tell it what happened; it keeps its books and tells three other services.

Nothing here asks whether an event came twice, and no table needs a unique key against it: a handler's rows, the messages
it publishes and the event's completion commit together, once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import aiohttp

from surehook import App, Event, SyncTransaction, Transaction

app = App()

TABLES = (
    "CREATE TABLE IF NOT EXISTS shop_activity (event TEXT, kind TEXT, repository TEXT, actor TEXT)",
    "CREATE TABLE IF NOT EXISTS shop_payments (event TEXT, invoice TEXT, currency TEXT, cents INTEGER, tax INTEGER)",
    "CREATE TABLE IF NOT EXISTS shop_refunds (event TEXT, charge TEXT, currency TEXT, cents INTEGER)",
    "CREATE TABLE IF NOT EXISTS shop_orders (event TEXT, number INTEGER, email TEXT, label TEXT)",
)


@app.setup
async def tables(tx: Transaction) -> None:
    """Runs at start, before the first event."""
    for statement in TABLES:
        await tx.execute(statement)


@app.on("github", "*")
async def activity(event: Event, tx: Transaction) -> None:
    """Everything that happens on GitHub is one row."""
    await tx.execute(
        "INSERT INTO shop_activity (event, kind, repository, actor) VALUES (:event, :kind, :repository, :actor)",
        {
            "event": event.id,
            "kind": event.type,
            "repository": event.data.get("repository", {}).get("full_name"),
            "actor": event.data.get("sender", {}).get("login"),
        },
    )


@app.on("github", "release.*")
async def announce_release(event: Event, tx: Transaction) -> None:
    """A second handler for some of the same events: both run in one transaction, or neither does."""
    release = event.data["release"]
    text = f"{event.data['repository']['full_name']} {release['tag_name']}: {event.data['action']}"
    tx.publish("chat", type="release", data={"text": text, "url": release["html_url"]})


@app.on("stripe", "invoice.paid")
def record_payment(event: Event, tx: SyncTransaction) -> None:
    """A plain ``def`` handler runs in a thread, so it may read a file.

    An invoice in a currency whose rate is missing raises KeyError. Once the retries are used up the event is DEAD: add the
    rate to the file and replay it.
    """
    invoice = event.data["data"]["object"]
    rates: dict[str, float] = json.loads(Path("tax_rates.json").read_text())
    tax = round(invoice["amount_paid"] * rates[invoice["currency"]])
    payment = {
        "event": event.id,
        "invoice": invoice["id"],
        "currency": invoice["currency"],
        "cents": invoice["amount_paid"],
        "tax": tax,
    }
    tx.execute(
        "INSERT INTO shop_payments (event, invoice, currency, cents, tax)"
        " VALUES (:event, :invoice, :currency, :cents, :tax)",
        payment,
    )
    tx.publish("ledger", type="payment.recorded", data=payment, subject=invoice["id"])


@app.on("stripe", "charge.refunded")
async def record_refund(event: Event, tx: Transaction) -> None:
    """What was paid back leaves the books."""
    charge = event.data["data"]["object"]
    refund = (event.id, charge["id"], charge["currency"], charge["amount_refunded"])
    await tx.execute("INSERT INTO shop_refunds (event, charge, currency, cents) VALUES (?, ?, ?, ?)", refund)
    tx.publish(
        "ledger",
        type="refund.recorded",
        data={"charge": charge["id"], "cents": refund[3]},
        subject=charge["id"],
    )


@app.on("stripe", "customer.subscription.*")
async def tell_the_team(event: Event) -> None:
    """A handler without a transaction still publishes with the event's completion, or not at all."""
    subscription = event.data["data"]["object"]
    event.publish(
        "chat", type="subscription", data={"text": f"{subscription['customer']}: {subscription['status']}"}
    )


@app.on("shopify", "orders/create")
async def pack_order(event: Event, tx: Transaction) -> None:
    """Slow work first, the database last: the transaction opens at its first statement, after the carrier's answer.

    While the carrier is down this raises, and the event is tried again later. The event's id is the idempotency key, so a
    second try cannot order a second label.
    """
    order = event.data
    label = await buy_label(event.id, order["shipping_address"])
    await tx.execute(
        "INSERT INTO shop_orders (event, number, email, label) VALUES (?, ?, ?, ?)",
        (event.id, order["order_number"], order["email"], label),
    )
    tx.publish(
        "warehouse", type="order.pack", data={"order": order["name"], "label": label}, subject=order["name"]
    )


async def buy_label(key: str, address: dict[str, Any]) -> str:
    """Order a shipping label from the carrier; raises ``aiohttp.ClientResponseError`` while it cannot give one."""
    headers = {"Idempotency-Key": key}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(os.environ["SHOP_CARRIER_URL"], json=address, headers=headers) as answer,
    ):
        return str((await answer.json())["label"])
