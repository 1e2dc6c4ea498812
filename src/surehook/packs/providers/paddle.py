"""Paddle Billing: time and signatures in one header, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Paddle(SignedPack):
    """The secret is used as it is pasted, ``pdl_ntfset_`` included. While keys rotate there are several signatures.

    A signed time may differ by five seconds only, as in Paddle's own libraries. Where a slow network, a proxy that holds
    requests back or a clock that is off makes Paddle's notifications stale, set ``tolerance = 60`` for this provider: the
    seconds in which a captured request could be sent again, which the external id makes a duplicate anyway. Paddle Classic
    signs otherwise and is not meant here.
    """

    name = "paddle"
    summary = "Paddle Billing notifications"
    docs_url = "https://developer.paddle.com/webhooks/signature-verification"
    certainty = "official library"
    credential = (
        "the destination's secret key (pdl_ntfset_...): Developer Tools, Notifications, the destination"
    )
    layout = Layout(
        header="paddle-signature", signed="{timestamp}:{body}", separator=";", timestamp_item="ts="
    )
    prefix = "h1="
    tolerance = 5
    #: ``notification_id`` differs for every destination that gets the event, and for every replay.
    reads = Reads(
        id="body:/event_id", type="body:/event_type", occurred_at="body:/occurred_at", subject="body:/data/id"
    )
    sample_type = "transaction.completed"
    sample_body = {
        "event_id": "evt_01samplesurehook00000000001",
        "event_type": "transaction.completed",
        "occurred_at": "2026-09-21T14:13:20.000000Z",
        "notification_id": "ntf_01samplesurehook00000000001",
        "data": {
            "id": "txn_01samplesurehook00000000001",
            "status": "completed",
            "customer_id": "ctm_01samplesurehook00000000001",
            "currency_code": "EUR",
            "origin": "web",
            "items": [],
        },
    }


PACK: Final[Pack] = Paddle()
