"""GoCardless: many events in one request, under one signature of the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Joined, Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class GoCardless(SignedPack):
    """Each event of a request is one here, with its own id. The types are resource and action, e.g. ``payments.confirmed``.

    Events may come out of order: fetch the resource where its state matters. GoCardless suggests the status 498 for a bad
    signature; 401 tells it the same.
    """

    name = "gocardless"
    summary = "GoCardless events, up to 250 a request"
    docs_url = "https://developer.gocardless.com/api-reference/#webhooks-overview"
    certainty = "official library"
    credential = "the endpoint's secret: Developers, Webhook endpoints, the endpoint"
    layout = Layout(header="webhook-signature")
    items = "/events"
    item = Reads(
        id="body:/id",
        type=Joined(("body:/resource_type", "body:/action")),
        occurred_at="body:/created_at",
        subject=(
            "body:/links/refund",
            "body:/links/payment",
            "body:/links/subscription",
            "body:/links/instalment_schedule",
            "body:/links/payout",
            "body:/links/mandate",
            "body:/links/billing_request",
            "body:/links/customer",
            "body:/links/creditor",
        ),
    )
    sample_type = "payments.confirmed"
    sample_body = {
        "events": [
            {
                "id": "EVSAMPLE000001",
                "created_at": "2026-09-21T14:13:20.000Z",
                "resource_type": "payments",
                "action": "confirmed",
                "links": {"payment": "PMSAMPLE000001"},
                "details": {
                    "origin": "gocardless",
                    "cause": "payment_confirmed",
                    "description": "Enough time has passed since the payment was submitted.",
                },
                "metadata": {},
                "resource_metadata": {},
            }
        ],
        "meta": {"webhook_id": "WBSAMPLE000001"},
    }


PACK: Final[Pack] = GoCardless()
