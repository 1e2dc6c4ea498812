"""Payments with the Django ORM: the event completes inside of Django's own transaction."""

from __future__ import annotations

import os

import django

from surehook import App, Event
from surehook.contrib.django import atomic

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

# models can be imported when Django is set up, and type checkers do not know that this folder is where it runs
from payments.models import Payment  # type: ignore[import-not-found]  # noqa: E402

app = App()


@app.on("stripe", "invoice.paid")
@atomic
def paid(event: Event) -> None:
    invoice = event.data["data"]["object"]
    Payment.objects.update_or_create(
        invoice=invoice["id"], defaults={"cents": invoice["amount_paid"], "raw": invoice}
    )
    event.publish("ledger", type="payment.recorded", data={"invoice": invoice["id"]})


@app.on("stripe", "invoice.voided")
@atomic
def voided(event: Event) -> None:
    Payment.objects.filter(invoice=event.data["data"]["object"]["id"]).delete()
