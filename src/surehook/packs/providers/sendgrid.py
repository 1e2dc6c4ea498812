"""SendGrid: time and body are signed with a key of its own for each webhook; a request holds many events."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.keys import Key
from surehook.packs.schemes.layout import Layout
from surehook.packs.schemes.public_keys import ecdsa_key
from surehook.packs.signed import SignedPack
from surehook.secrets import Secret


class SendGrid(SignedPack):
    """Signing must be switched on in SendGrid. The body ends with a line break, which is signed too: let no proxy trim it.

    SendGrid names no tolerance and tries again for 24 hours, and does not say that it signs anew, so a signed time may
    differ by 25 hours. A repetition within them is known by its events' ids; ``tolerance`` narrows it. The inbound
    parse webhook is another thing: it sends mail, not events, and is not read here.
    """

    name = "sendgrid"
    summary = "SendGrid's Event Webhook, signed"
    docs_url = "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features"
    certainty = "official library"
    proof = "`x-twilio-email-event-webhook-signature`: ECDSA with SHA-256 over time and body, base64"
    credential = (
        "the webhook's verification key (base64): Settings, Mail Settings, Event Webhooks, the webhook, "
        "Signed Event Webhook Requests"
    )
    tolerance = 90_000
    layout = Layout(
        header="x-twilio-email-event-webhook-signature",
        signed="{timestamp}{body}",
        timestamp_header="x-twilio-email-event-webhook-timestamp",
    )
    items = ""
    item = Reads(
        id="body:/sg_event_id",
        type="body:/event",
        subject="body:/sg_message_id",
        occurred_at="body:/timestamp",
    )
    #: Where a sample's id and type go.
    reads = Reads(id="body:/0/sg_event_id", type="body:/0/event")
    sample_type = "delivered"
    sample_body = [
        {
            "email": "reader@example.com",
            "timestamp": 1_790_000_000,
            "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
            "event": "delivered",
            "category": ["newsletter"],
            "sg_event_id": "ZGVsaXZlcmVkLTAtMS1TYW1wbGUtMA",
            "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
            "response": "250 OK",
        }
    ]

    def key(self, secret: Secret) -> Key:
        return ecdsa_key(secret)


PACK: Final[Pack] = SendGrid()
