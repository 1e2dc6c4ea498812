"""PagerDuty webhooks v3: one signature for each secret that is live."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class PagerDuty(SignedPack):
    """The secret looks like base64 and is used as text. It is shown once only, when the subscription is made.

    No time is signed. A test of the subscription sends ``pagey.ping``, an event like others.
    """

    name = "pagerduty"
    summary = "PagerDuty webhooks v3"
    docs_url = "https://developer.pagerduty.com/docs/webhooks/webhook-signatures/"
    certainty = "official example"
    credential = "the subscription's secret: Integrations, Generic Webhooks (v3); shown when it is made"
    layout = Layout(header="x-pagerduty-signature", separator=",")
    prefix = "v1="
    reads = Reads(
        id="body:/event/id",
        type="body:/event/event_type",
        occurred_at="body:/event/occurred_at",
        subject="body:/event/data/id",
    )
    sample_type = "incident.triggered"
    sample_body = {
        "event": {
            "id": "01SAMPLESUREHOOK0000000001",
            "event_type": "incident.triggered",
            "resource_type": "incident",
            "occurred_at": "2026-09-21T14:13:20.000Z",
            "agent": {"id": "PSAMPLE", "type": "user_reference", "summary": "Ada Lovelace"},
            "client": None,
            "data": {
                "id": "PGR0VU2",
                "type": "incident",
                "number": 2,
                "status": "triggered",
                "title": "The build is red",
                "urgency": "high",
            },
        }
    }


PACK: Final[Pack] = PagerDuty()
