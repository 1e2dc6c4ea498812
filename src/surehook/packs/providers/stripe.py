"""Stripe: time and signatures in one header, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.errors import ConfigurationError
from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack
from surehook.secrets import Secret


class Stripe(SignedPack):
    """The secret is used as it is pasted, ``whsec_`` included. The time in the header is signed."""

    name = "stripe"
    summary = "Stripe events, snapshot and thin"
    docs_url = "https://docs.stripe.com/webhooks"
    certainty = "official library"
    credential = "the endpoint's signing secret (whsec_...): Developers, Webhooks, the endpoint"
    layout = Layout(
        header="stripe-signature", signed="{timestamp}.{body}", separator=",", timestamp_item="t="
    )
    prefix = "v1="
    #: ``created`` is unix seconds in snapshot events, ISO 8601 in thin ones (``v2.core.event``).
    reads = Reads(
        id="body:/id",
        type="body:/type",
        occurred_at="body:/created",
        subject=("body:/data/object/id", "body:/related_object/id"),
    )
    sample_type = "invoice.paid"
    sample_body = {
        "id": "evt_1SampleSurehook000001",
        "object": "event",
        "api_version": "2026-06-30.basil",
        "created": 1_790_000_000,
        "data": {
            "object": {
                "id": "in_1SampleSurehook000001",
                "object": "invoice",
                "amount_paid": 4200,
                "currency": "eur",
                "customer": "cus_SampleSurehook",
            }
        },
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": "invoice.paid",
    }

    def key_bytes(self, secret: Secret) -> bytes:
        if secret.reveal().startswith(("sk_", "rk_", "pk_")):
            raise ConfigurationError(
                f"the secret {secret.reference} is a Stripe API key: the endpoint's signing secret (whsec_...) is needed"
            )
        return secret.encode()


PACK: Final[Pack] = Stripe()
