"""Lemon Squeezy: one signature of the body, and no id."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class LemonSqueezy(SignedPack):
    """Events have no id: the digest of the body stands for it. ``meta.webhook_id`` is the same for every event of a webhook.

    The type is read in the body, which is signed, and not in the header ``X-Event-Name``, which says the same.
    """

    name = "lemonsqueezy"
    summary = "Lemon Squeezy webhooks"
    docs_url = "https://docs.lemonsqueezy.com/help/webhooks/signing-requests"
    certainty = "official formula"
    credential = "the webhook's signing secret: Settings, Webhooks, the webhook"
    layout = Layout(header="x-signature")
    #: Its sample code decodes the digits before it compares.
    any_case = True
    reads = Reads(
        type="body:/meta/event_name",
        occurred_at=("body:/data/attributes/updated_at", "body:/data/attributes/created_at"),
        subject="body:/data/id",
    )
    sample_type = "order_created"
    sample_body = {
        "meta": {
            "event_name": "order_created",
            "test_mode": True,
            "webhook_id": "f8a9b7c6-5d4e-4f3a-8b2c-1d0e9f8a7b6c",
            "custom_data": {"user_id": "4711"},
        },
        "data": {
            "type": "orders",
            "id": "1",
            "attributes": {
                "store_id": 1,
                "customer_id": 1,
                "identifier": "104e18a2-d755-4d4b-80c4-a6c1dcbe1c10",
                "status": "paid",
                "total": 4200,
                "currency": "EUR",
                "created_at": "2026-09-21T14:13:20.000000Z",
                "updated_at": "2026-09-21T14:13:20.000000Z",
            },
        },
    }

    def headers(self, settings: ProviderSettings, external_id: str, type: str) -> dict[str, str]:
        return {"x-event-name": type}


PACK: Final[Pack] = LemonSqueezy()
