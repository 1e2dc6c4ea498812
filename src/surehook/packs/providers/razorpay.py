"""Razorpay: the signature covers the body alone; the id travels in a header beside it."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Razorpay(SignedPack):
    """The secret is the webhook's own, not that of the API keys. A retry keeps its event id, which is not signed."""

    name = "razorpay"
    summary = "Razorpay webhooks"
    docs_url = "https://razorpay.com/docs/webhooks/validate-test/"
    certainty = "official library"
    credential = "the webhook's secret: Account & Settings, Webhooks, the webhook"
    id_is_signed = False
    layout = Layout(header="x-razorpay-signature")
    reads = Reads(
        id="header:x-razorpay-event-id",
        type="body:/event",
        occurred_at="body:/created_at",
        subject=(
            "body:/payload/refund/entity/id",
            "body:/payload/subscription/entity/id",
            "body:/payload/invoice/entity/id",
            "body:/payload/payment/entity/id",
            "body:/payload/order/entity/id",
        ),
    )
    sample_type = "payment.captured"
    sample_body = {
        "entity": "event",
        "account_id": "acc_SampleSurehook",
        "event": "payment.captured",
        "contains": ["payment"],
        "payload": {
            "payment": {
                "entity": {
                    "id": "pay_SampleSurehook",
                    "entity": "payment",
                    "amount": 4200,
                    "currency": "INR",
                    "status": "captured",
                    "order_id": "order_SampleSurehook",
                    "method": "upi",
                }
            }
        },
        "created_at": 1_790_000_000,
    }


PACK: Final[Pack] = Razorpay()
