"""Square: the address and the body are signed, so the address must be known exactly as Square has it."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Square(SignedPack):
    """``url`` must equal the notification URL in Square's pages to the letter, a slash at its end included.

    The older header ``x-square-signature`` (SHA-1) is not taken.
    """

    name = "square"
    summary = "Square webhooks of payments, orders and customers"
    docs_url = "https://developer.squareup.com/docs/webhooks/step3validate"
    certainty = "official library"
    credential = "the subscription's signature key: Developer Console, the app, Webhooks, Subscriptions"
    signs_url = True
    layout = Layout(header="x-square-hmacsha256-signature", signed="{url}{body}")
    encoding = "base64"
    reads = Reads(
        id="body:/event_id", type="body:/type", subject="body:/data/id", occurred_at="body:/created_at"
    )
    example = ProviderSettings(url="https://hooks.example.com/webhooks/square")
    sample_type = "payment.updated"
    sample_body = {
        "merchant_id": "6SSW7HV8K2ST5",
        "type": "payment.updated",
        "event_id": "6a8f5f28-54a1-4eb0-a98a-3111513fd4fc",
        "created_at": "2026-09-21T14:13:20.673Z",
        "data": {
            "type": "payment",
            "id": "hYy9pRFVxpDsO1FB05SunFWUe9JZY",
            "object": {
                "payment": {
                    "id": "hYy9pRFVxpDsO1FB05SunFWUe9JZY",
                    "amount_money": {"amount": 4200, "currency": "EUR"},
                    "status": "COMPLETED",
                }
            },
        },
    }


PACK: Final[Pack] = Square()
