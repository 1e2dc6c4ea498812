"""Calendly: time and signature in one header, and no id."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Calendly(SignedPack):
    """Only subscriptions that were made with a signing key are signed.

    Events have no id: the digest of the body stands for it. Calendly wants a signed time to be three minutes old at most.
    """

    name = "calendly"
    summary = "Calendly webhook subscriptions"
    docs_url = "https://developer.calendly.com/api-docs/ZG9jOjE2OTU3-webhook-signatures"
    certainty = "official formula"
    credential = (
        "the signing_key that the subscription was made with; an OAuth app's own stands beside the app"
    )
    layout = Layout(
        header="calendly-webhook-signature", signed="{timestamp}.{body}", separator=",", timestamp_item="t="
    )
    prefix = "v1="
    tolerance = 180
    reads = Reads(type="body:/event", occurred_at="body:/created_at", subject="body:/payload/uri")
    sample_type = "invitee.created"
    sample_body = {
        "event": "invitee.created",
        "created_at": "2026-09-21T14:13:20.000000Z",
        "created_by": "https://api.calendly.com/users/SAMPLEUSER000001",
        "payload": {
            "uri": "https://api.calendly.com/scheduled_events/SAMPLEEVENT00001/invitees/SAMPLEINVITEE001",
            "email": "ada@example.com",
            "name": "Ada Lovelace",
            "status": "active",
            "timezone": "Europe/London",
            "rescheduled": False,
            "scheduled_event": {
                "uri": "https://api.calendly.com/scheduled_events/SAMPLEEVENT00001",
                "start_time": "2026-09-24T09:00:00.000000Z",
                "end_time": "2026-09-24T09:30:00.000000Z",
            },
        },
    }


PACK: Final[Pack] = Calendly()
