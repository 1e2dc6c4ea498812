"""Resend: Standard Webhooks under Svix's header names."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.providers.standard_webhooks import StandardWebhooks
from surehook.packs.providers.svix import SVIX


class Resend(StandardWebhooks):
    """``email_id`` names the e-mail, which has many events: it is the subject. The event's id stands in a signed header."""

    name = "resend"
    summary = "Resend webhooks of e-mails, domains and contacts"
    docs_url = "https://resend.com/docs/dashboard/webhooks/introduction"
    credential = "the webhook's signing secret (whsec_...): Webhooks, the webhook"
    layout = SVIX
    reads = Reads(
        id="header:svix-id",
        type="body:/type",
        subject=("body:/data/email_id", "body:/data/id"),
        occurred_at="body:/created_at",
    )
    sample_type = "email.delivered"
    sample_body = {
        "type": "email.delivered",
        "created_at": "2026-09-21T14:13:20.000Z",
        "data": {
            "created_at": "2026-09-21T14:13:18.000Z",
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "from": "Acme <onboarding@example.com>",
            "to": ["ada@example.com"],
            "subject": "Your order",
        },
    }


PACK: Final[Pack] = Resend()
