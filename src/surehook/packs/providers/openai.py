"""OpenAI: Standard Webhooks, but the event's own id stands in the body."""

from __future__ import annotations

from typing import Final

from surehook.packs.pack import Pack
from surehook.packs.places import Reads
from surehook.packs.providers.standard_webhooks import StandardWebhooks
from surehook.packs.schemes.keys import HmacKey, Key
from surehook.packs.signed import base64_key
from surehook.secrets import Secret


class OpenAI(StandardWebhooks):
    """``webhook-id`` (wh_...) names the delivery and ``id`` of the body (evt_...) the event, which is the external id.

    A secret without ``whsec_`` is used as text, as OpenAI's own library does.
    """

    name = "openai"
    summary = "OpenAI webhooks of responses, batches, fine-tuning and evaluations"
    docs_url = "https://platform.openai.com/docs/guides/webhooks"
    credential = "the webhook's signing secret (whsec_...), shown once: project settings, Webhooks"
    reads = Reads(id="body:/id", type="body:/type", subject="body:/data/id", occurred_at="body:/created_at")
    sample_type = "response.completed"
    sample_body = {
        "id": "evt_sample0surehook0000000001",
        "object": "event",
        "created_at": 1_790_000_000,
        "type": "response.completed",
        "data": {"id": "resp_sample0surehook0000000001"},
    }

    def key(self, secret: Secret) -> Key:
        text = secret.reveal()
        key = base64_key(secret, "whsec_") if text.startswith("whsec_") else secret.encode()
        return HmacKey(secret.reference, key, encoding="base64", prefix="v1,")


PACK: Final[Pack] = OpenAI()
