"""Coinbase Commerce: one signature of the body, and the event inside an envelope of its delivery."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class CoinbaseCommerce(SignedPack):
    """The id is that of ``event``: the one beside it counts deliveries. A charge may be confirmed after it was delayed."""

    name = "coinbase-commerce"
    summary = "Coinbase Commerce charges and invoices"
    docs_url = "https://docs.cdp.coinbase.com/commerce/introduction/webhooks"
    certainty = "official library"
    credential = "the shared secret: Settings, Notifications, Webhook subscriptions, Show shared secret"
    layout = Layout(header="x-cc-webhook-signature")
    reads = Reads(
        id="body:/event/id",
        type="body:/event/type",
        occurred_at="body:/event/created_at",
        subject="body:/event/data/code",
    )
    sample_type = "charge:confirmed"
    sample_body = {
        "id": "b9b1d3d2-7e7a-4bb5-a4f3-0f1d8f8f3c9a",
        "scheduled_for": "2026-09-21T14:13:21Z",
        "attempt_number": 1,
        "event": {
            "id": "24934862-d980-46cb-9402-43c81b000001",
            "resource": "event",
            "type": "charge:confirmed",
            "api_version": "2018-03-22",
            "created_at": "2026-09-21T14:13:20Z",
            "data": {
                "code": "SAMPLE01",
                "name": "Copper lantern",
                "pricing_type": "fixed_price",
                "pricing": {"local": {"amount": "42.00", "currency": "EUR"}},
                "metadata": {},
            },
        },
    }


PACK: Final[Pack] = CoinbaseCommerce()
