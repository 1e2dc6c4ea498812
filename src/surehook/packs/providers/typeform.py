"""Typeform: one signature of the body, everything else in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack


class Typeform(SignedPack):
    """The prefix is ``sha256=`` as with others, but base64 follows it. Only webhooks that were given a secret are signed."""

    name = "typeform"
    summary = "Typeform form responses"
    docs_url = "https://www.typeform.com/developers/webhooks/secure-your-webhooks/"
    certainty = "official formula"
    credential = "the webhook's secret: the form, Connect, Webhooks, the webhook, Edit"
    layout = Layout(header="typeform-signature")
    prefix = "sha256="
    encoding = "base64"
    reads = Reads(
        id="body:/event_id",
        type="body:/event_type",
        occurred_at="body:/form_response/submitted_at",
        subject="body:/form_response/form_id",
    )
    sample_type = "form_response"
    sample_body = {
        "event_id": "01SAMPLESUREHOOK0000000001",
        "event_type": "form_response",
        "form_response": {
            "form_id": "sampl001",
            "token": "a3a12ec67a1365927098a606107fac15",
            "landed_at": "2026-09-21T14:12:50Z",
            "submitted_at": "2026-09-21T14:13:20Z",
            "definition": {
                "id": "sampl001",
                "title": "Lunch",
                "fields": [{"id": "DlXFaesGBpoF", "title": "What would you like?", "type": "short_text"}],
            },
            "answers": [
                {"type": "text", "text": "Soup", "field": {"id": "DlXFaesGBpoF", "type": "short_text"}}
            ],
        },
    }


PACK: Final[Pack] = Typeform()
