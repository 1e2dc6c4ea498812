"""Airtable: a notification that something changed; what it was is fetched from the API."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.schemes.layout import Layout
from surehook.packs.signed import SignedPack, base64_key
from surehook.secrets import Secret


class Airtable(SignedPack):
    """A notification says only which webhook of which base has something new: fetch its payloads from your last cursor on.

    It has neither an id nor a type: the digest of the body, in which there is a time, is the id, the topic of the URL the
    type. The key is the base64 text decoded. Webhooks end after a week unless they are refreshed.
    """

    name = "airtable"
    summary = "Airtable webhook notifications"
    docs_url = "https://airtable.com/developers/web/api/webhooks-overview"
    certainty = "official formula"
    credential = "macSecretBase64, which the API answers with when the webhook is made, and never again"
    layout = Layout(header="x-airtable-content-mac")
    prefix = "hmac-sha256="
    reads = Reads(occurred_at="body:/timestamp", subject="body:/webhook/id")
    sample_type = "airtable"
    sample_body = {
        "base": {"id": "appSampleSurehook"},
        "webhook": {"id": "achSampleSurehook"},
        "timestamp": "2026-09-21T14:13:20.000Z",
    }

    def key_bytes(self, secret: Secret) -> bytes:
        return base64_key(secret)


PACK: Final[Pack] = Airtable()
