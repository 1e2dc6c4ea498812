"""Postmark: HTTP Basic authentication, written into the webhook's address."""

from __future__ import annotations

from typing import Final

from surehook.config import ProviderSettings
from surehook.packs.pack import Pack, Setup
from surehook.packs.places import Reads
from surehook.packs.schemes import Scheme
from surehook.packs.schemes.shared import BasicScheme


class Postmark(Pack):
    """Postmark signs nothing: give the webhook an address with user and password, ``https://user:password@hooks...``.

    ``MessageID`` names the e-mail, which has many events, so it is the subject. Events have no id: one that comes again
    with the same body is known by that. Inbound e-mails have no ``RecordType``; their type is the topic.
    """

    name = "postmark"
    summary = "Postmark webhooks of deliveries, bounces, opens, clicks and inbound e-mail"
    docs_url = "https://postmarkapp.com/developer/webhooks/webhooks-overview"
    certainty = "quoted formula"
    proof = "HTTP Basic"
    credential = "user:password as in the webhook's address: the server, the message stream, Webhooks"
    reads = Reads(
        type="body:/RecordType",
        subject="body:/MessageID",
        occurred_at=("body:/DeliveredAt", "body:/BouncedAt", "body:/ReceivedAt", "body:/ChangedAt"),
    )
    sample_type = "Delivery"
    sample_body = {
        "RecordType": "Delivery",
        "MessageStream": "outbound",
        "ServerID": 23,
        "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
        "Recipient": "ada@example.com",
        "Tag": "welcome",
        "DeliveredAt": "2026-09-21T14:13:20Z",
        "Details": "250 2.0.0 OK",
        "Metadata": {"order": "4711"},
    }

    def scheme(self, setup: Setup) -> Scheme:
        return BasicScheme(setup.secrets)

    def proof_headers(self, settings: ProviderSettings) -> frozenset[str]:
        return frozenset({"authorization"})


PACK: Final[Pack] = Postmark()
