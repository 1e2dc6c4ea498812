"""Clerk: Standard Webhooks under Svix's header names."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.providers.standard_webhooks import StandardWebhooks
from surehook.packs.providers.svix import SVIX


class Clerk(StandardWebhooks):
    """The body has no id of its own: that of the message, in a signed header, stays over retries."""

    name = "clerk"
    summary = "Clerk webhooks of users, sessions and organisations"
    docs_url = "https://clerk.com/docs/webhooks/overview"
    credential = "the endpoint's signing secret (whsec_...): Dashboard, Webhooks, the endpoint"
    layout = SVIX
    reads = Reads(
        id="header:svix-id", type="body:/type", subject="body:/data/id", occurred_at="body:/timestamp"
    )
    sample_type = "user.created"
    sample_body = {
        "data": {
            "id": "user_2SampleSurehook0000001",
            "object": "user",
            "first_name": "Ada",
            "last_name": "Lovelace",
            "email_addresses": [{"id": "idn_2Sample", "email_address": "ada@example.com"}],
            "created_at": 1_790_000_000_000,
        },
        "event_attributes": {"http_request": {"client_ip": "203.0.113.7", "user_agent": "sample"}},
        "instance_id": "ins_2SampleSurehook",
        "object": "event",
        "timestamp": 1_790_000_000_000,
        "type": "user.created",
    }


PACK: Final[Pack] = Clerk()
